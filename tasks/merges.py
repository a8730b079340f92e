"""Merges: by which commit a run came into a branch of the user's, and what that branch was before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect_acms.blocks.watch import WatchSettings
from prefect_acms.canonical.patch import PatchState
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.git import run_git, text_of
from prefect_acms.tasks.orders import drive_in_hand
from prefect_acms.tasks.rollback_sites import HEADS, whole_run
from prefect_acms.tasks.whereabouts import Whereabouts


@dataclass(frozen=True, slots=True)
class Merge:
    """A run's way into a branch: the commit that brought it, the one before, and where the branch is now."""

    run: RunRow
    branch: str
    commit: str
    before: str
    head: str
    whole: str | None
    """All that the run has made, as one commit, if that is still known."""
    settings: WatchSettings


def merge_of(store: Store, run: RunRow, given: Mapping[str, Any]) -> Merge | None:
    """The merge of a run into the branch that is watched, if there is one within the window; none without patches.

    `given` goes before what the run was configured with. Raises NotARepository once the repository is gone.
    """
    with store.begin(read_only=True) as dao:
        states = {PatchState.COMMITTED, PatchState.ROLLED_BACK}
        entries = [row for row in dao.ledger.of_run(run.id) if row.state in states]
        if not entries:
            return None
        drive = drive_in_hand(dao, run)
    settings = WatchSettings.model_validate({**drive.config.watch.model_dump(), **given})
    branch = settings.branch or run.info.get("branch")
    head = drive.repository.ref(f"{HEADS}{branch}")
    if branch is None or head is None:
        return None
    whole = whole_run(drive, entries)
    commit = _landing(drive, entries, head, whole)
    if commit is None or not _is_recent(drive, commit, settings):
        return None
    return Merge(run, branch, commit, drive.repository.resolve(f"{commit}^1"), head, whole, settings)


def _landing(drive: Drive, entries: Sequence[LedgerRow], head: str, whole: str | None) -> str | None:
    """The first commit on the branch's own line that has something of the run behind it."""
    places = Whereabouts(drive.repository, drive.base_commit, head, whole)
    holders = {holder for entry in entries if (holder := places.holder_of(entry))}
    return places.landing_of(holders) if holders else None


def _is_recent(drive: Drive, commit: str, settings: WatchSettings) -> bool:
    """Whether the commit is of the window; one that a fast-forward has brought is as old as the run."""
    asked = run_git(["log", "-1", "--format=%ct", commit], cwd=drive.repository.top)
    made = datetime.fromtimestamp(int(text_of(asked)), UTC)
    return drive.store.clock() - made <= timedelta(seconds=settings.window_sec)
