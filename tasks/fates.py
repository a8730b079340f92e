"""The fate of each gap: resolved when a re-scan of the merged tree no longer finds it, else deferred with a reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from prefect_acms.canonical.gap import GapState, GapTrigger
from prefect_acms.dao.gaps import GapRow
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.dao.tasks import TaskRow

QUARANTINED = "is quarantined"
"""What becomes of a patch as a rule that can't be kept."""


def resolve_gaps(
    dao: UnitOfWork, workstream_id: str, *, remaining: Collection[str], merged_into: str, **said: Any
) -> None:
    """Resolve the gaps that the re-scan no longer finds; the commit that was scanned is kept with each.

    `said` is who wants it, and why, as below.
    """
    rescan = {"rescan_fingerprints": frozenset(remaining)}
    for gap in dao.gaps.of_workstream(workstream_id):
        if gap.state == GapState.IN_PROGRESS and gap.fingerprint not in remaining:
            dao.gaps.change(gap.id, metadata={"proved_at": merged_into})
            dao.gaps.advance(gap.id, GapTrigger.RESCAN_CLEAN, facts=rescan, **said)


def defer_gaps(dao: UnitOfWork, workstream_id: str, **said: Any) -> None:
    """Defer what is left of a workstream that has ended, each gap with the reason that its tasks give."""
    tasks_of: dict[str, list[TaskRow]] = defaultdict(list)
    for task in dao.tasks.standing(workstream_id):
        for fingerprint in task.info.get("gaps", ()):
            tasks_of[fingerprint].append(task)
    ended = dao.workstreams.get(workstream_id)
    for gap in dao.gaps.of_workstream(workstream_id):
        own = tasks_of[gap.fingerprint]
        if gap.state == GapState.PLANNED:
            errors = errors_of(own) or "its task was not run"
            dao.gaps.advance(gap.id, GapTrigger.TASK_NOT_RUN, deferred_reason=errors, **said)
        elif gap.state == GapState.IN_PROGRESS:
            trigger, reason = _left_over(gap, own, ended.error)
            dao.gaps.advance(gap.id, trigger, deferred_reason=reason, **said)


def _left_over(gap: GapRow, tasks: Iterable[TaskRow], workstream_error: str | None) -> tuple[GapTrigger, str]:
    for rejected in _rejected(tasks):
        if set(rejected["files"]) & set(gap.file_paths):
            return GapTrigger.PATCH_QUARANTINED, f"its patch {rejected.get('fate', QUARANTINED)}: {rejected['reason']}"
    if errors := errors_of(tasks):
        return GapTrigger.TASK_FAILED, errors
    if workstream_error is not None:
        return GapTrigger.PATCH_QUARANTINED, workstream_error
    return GapTrigger.STILL_PRESENT, "a re-scan of the result still finds it"


def _rejected(tasks: Iterable[TaskRow]) -> list[dict[str, Any]]:
    return [rejected for task in tasks for rejected in task.info.get("rejected", ())]


def errors_of(tasks: Iterable[TaskRow]) -> str:
    """What went wrong with some tasks; what never ran has only to tell of the others, and is left out beside them."""
    failed = [task for task in tasks if task.last_error]
    own = [task for task in failed if task.started_at is not None] or failed
    return "; ".join(dict.fromkeys(task.last_error for task in own if task.last_error))
