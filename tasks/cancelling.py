"""Cancel a run, whoever drives it: taken over, so that its driver is fenced off, and ended children first."""

from __future__ import annotations

from prefect_acms.canonical.errors import RunEnded
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store
from prefect_acms.tasks.closing import close_run
from prefect_acms.tasks.driving import drive_run, release_run
from prefect_acms.tasks.ending import end_run


def cancel_run(store: Store, run_id: str, reason: str, *, operator: str | None = None) -> RunRow:
    """Cancel a run now: its tools are stopped, its patches that are not committed reverted; its row as it ended.

    A driver on another machine hears of it within a second; one on this machine loses its tools at once. Raises
    NotFound for an unknown run, and RunEnded for one that has ended.
    """
    with store.begin(read_only=True) as dao:
        run = dao.runs.get(run_id)
    if run.state in MACHINES["run"].terminal:
        raise RunEnded(run_id=run.id, state=run.state)
    drive = drive_run(run_id, database=store.url, force=True, to_end_it=True)
    try:
        end_run(drive, RunTrigger.USER_CANCELLED, reason, operator=operator)
        if drive.repository.common_dir.is_dir():
            drive.folder.mkdir(parents=True, exist_ok=True)
            close_run(drive)
        with store.begin(read_only=True) as dao:
            return dao.runs.get(run_id)
    finally:
        release_run(drive)


def cancel_unless_ended(store: Store, run: RunRow, reason: str) -> None:
    """Cancel a run, which is no news for one that has ended; safe to be told more than once."""
    if run.state not in MACHINES["run"].terminal:
        cancel_run(store, run.id, reason)
