"""Orders about workstreams: to skip, fail or validate one by hand."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.canonical.events import Event
from prefect_acms.canonical.gap import GapState, GapTrigger
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.task import TaskTrigger
from prefect_acms.canonical.workstream import WorkstreamState, WorkstreamTrigger
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.dao.workstreams import WorkstreamRow
from prefect_acms.tasks.attempts import free_worker
from prefect_acms.tasks.driving import Drive, drive_run, release_run
from prefect_acms.tasks.ending import remove_worktrees
from prefect_acms.tasks.fates import defer_gaps
from prefect_acms.tasks.merging import complete, is_merged, remaining_gaps, verified_patches
from prefect_acms.tasks.orders import Order, drive_in_hand, take_in_hand
from prefect_acms.tasks.task_overrides import end_work


def skip_workstream(dao: UnitOfWork, order: Order) -> None:
    """Skip a workstream that nothing has been done for yet: its tasks are cancelled, its gaps deferred."""
    row = dao.workstreams.get(order.entity_id)
    run = take_in_hand(dao, row.run_id)
    _end_tasks(dao, run, row, order)
    for gap in dao.gaps.of_workstream(row.id):
        if gap.state in _SKIPPED:
            dao.gaps.advance(gap.id, _SKIPPED[GapState(gap.state)], deferred_reason=order.reason, **order.by)
    dao.workstreams.advance(row.id, WorkstreamTrigger.DISABLED, **order.by)
    order.note(dao.workstreams, row.id)


_SKIPPED = {
    GapState.CLUSTERED: GapTrigger.DISABLED,
    GapState.PLANNED: GapTrigger.TASK_NOT_RUN,
    GapState.IN_PROGRESS: GapTrigger.TASK_FAILED,
}


def fail_workstream(dao: UnitOfWork, order: Order) -> None:
    """Fail a workstream: tasks are cancelled, patches kept out, workers freed, gaps deferred.

    Raises InvalidValue when its branch has been merged already: then it has not failed.
    """
    row = dao.workstreams.get(order.entity_id)
    run = take_in_hand(dao, row.run_id)
    trigger = _FAILING.get(WorkstreamState(row.state), WorkstreamTrigger.INCOMPLETE)
    if row.state == WorkstreamState.VALIDATING and _has_merged(dao, drive_in_hand(dao, run), row):
        expected = "one that is not on the run's branch: this one can only be validated"
        raise InvalidValue(field=f"workstream {row.id}", value="merged", expected=expected)
    _end_tasks(dao, run, row, order)
    dao.workstreams.advance(row.id, trigger, error=order.reason, **order.by)
    defer_gaps(dao, row.id, **order.by)
    order.note(dao.workstreams, row.id)


_FAILING = {
    WorkstreamState.BLOCKED: WorkstreamTrigger.DEPENDENCY_UNSATISFIABLE,
    WorkstreamState.VALIDATING: WorkstreamTrigger.VALIDATION_FAILED,
}


def _end_tasks(dao: UnitOfWork, run: RunRow, row: WorkstreamRow, order: Order) -> None:
    """Children first: what judges and was made for the tasks, then the tasks, then who worked on them."""
    if row.state in MACHINES["workstream"].terminal:
        return
    tasks = dao.tasks.of_workstream(row.id)
    end_work(dao, run, tasks, order)
    for task in tasks:
        if task.state not in MACHINES["task"].terminal:
            dao.tasks.advance(task.id, TaskTrigger.USER_CANCELLED, **order.by)
            free_worker(dao, task.worker_id, **order.by)


def validate_workstream(store: Store, order: Order) -> Sequence[Event]:
    """Complete a workstream whose branch is on the run's branch, though nobody had time to record it.

    Its gaps are looked for again in the result: what is no longer found is resolved, the rest deferred. One that is not
    merged is refused by the guard, as ever: resuming the run merges it.
    """
    with store.begin(read_only=True) as dao:
        row = dao.workstreams.get(order.entity_id)
    _rehearse(store, row, order)
    drive = drive_run(row.run_id, database=store.url)
    try:
        with drive.leased():
            remaining = remaining_gaps(drive, row)
            with drive.begin() as dao:
                _to_validating(dao, row, order)
                complete(dao, drive, row, remaining, **order.by)
                defer_gaps(dao, row.id, **order.by)
                order.note(dao.workstreams, row.id)
                return tuple(dao.trail.events)
    finally:
        remove_worktrees(drive, only_own=True)
        release_run(drive)


class _Rehearsed(Exception):
    """Undoes a unit of work that was only to show that nothing in it is refused."""


def _rehearse(store: Store, row: WorkstreamRow, order: Order) -> None:
    """Raise what would be refused, before anything is done."""
    with suppress(_Rehearsed), store.begin() as dao:
        run = take_in_hand(dao, row.run_id)
        _to_validating(dao, row, order)
        complete(dao, drive_in_hand(dao, run), row, frozenset(), **order.by)
        raise _Rehearsed


def _to_validating(dao: UnitOfWork, row: WorkstreamRow, order: Order) -> None:
    if dao.workstreams.get(row.id).state == WorkstreamState.EXECUTING:
        dao.workstreams.advance(row.id, WorkstreamTrigger.ALL_TASKS_COMPLETED, **order.by)


def _has_merged(dao: UnitOfWork, drive: Drive, row: WorkstreamRow) -> bool:
    """Whether there is something of it on the run's branch; one that has made nothing may be failed."""
    verified = verified_patches(dao, row)
    return bool(verified) and is_merged(drive, row, verified)
