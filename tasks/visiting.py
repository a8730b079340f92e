"""A run that nobody drives any more, in hand for one piece of work: to take patches back, or to look at its commits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from prefect_acms.dao.store import Store
from prefect_acms.tasks.driving import Drive, drive_run, release_run
from prefect_acms.tasks.ending import remove_worktrees


@contextmanager
def visited(store: Store, run_id: str) -> Iterator[Drive]:
    """A block in which this process drives a run, ended or not; the worktrees made in it are gone afterwards.

    Raises RunDriven while a living process drives it.
    """
    drive = drive_run(run_id, database=store.url)
    try:
        with drive.leased():
            yield drive
    finally:
        with suppress(Exception):
            remove_worktrees(drive, only_own=True)
        release_run(drive)
