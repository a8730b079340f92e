"""Orders about tasks: to complete, fail, reset or unblock one by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prefect_acms.canonical.errors import GuardRefused, InvalidValue
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.patch import PatchState, PatchTrigger
from prefect_acms.canonical.task import TaskState, TaskTrigger
from prefect_acms.canonical.verdicts import patch_trigger_on_run_end
from prefect_acms.canonical.workstream import WorkstreamState
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.attempts import free_worker
from prefect_acms.tasks.branch_moves import BranchMove
from prefect_acms.tasks.captures import on_branch
from prefect_acms.tasks.ending import end_gate_early, end_patches
from prefect_acms.tasks.orders import Order, drive_in_hand, take_in_hand
from prefect_acms.tasks.take_backs import take_back

SUCCESS = 0
"""The exit code of work that an operator says is done."""

_KEPT_METADATA = ("key", "gaps", "order_only", "affinity")


def complete_task(dao: UnitOfWork, order: Order) -> None:
    """Complete a task that runs or is being judged: its gates and patches must allow it, as they must always."""
    task = dao.tasks.get(order.entity_id)
    run = take_in_hand(dao, task.run_id)
    _require_on_branch(dao, task, run)
    if task.state == TaskState.RUNNING:
        expected = {"expected_exit_codes": (SUCCESS,)}
        dao.tasks.advance(task.id, TaskTrigger.EXECUTION_COMPLETED, facts=expected, exit_code=SUCCESS, **order.by)
        free_worker(dao, task.worker_id, **order.by)
    dao.tasks.advance(task.id, TaskTrigger.VALIDATION_PASSED, **order.by)
    order.note(dao.tasks, task.id)


def _require_on_branch(dao: UnitOfWork, task: TaskRow, run: RunRow) -> None:
    """Raise InvalidValue for a task with a verified patch that was not committed; a commit is recorded when found."""
    verified = [row for row in dao.ledger.of_task(task.id) if row.state == PatchState.VERIFIED]
    if not verified or task.state not in {TaskState.RUNNING, TaskState.VALIDATING}:
        return
    found = on_branch(dao, drive_in_hand(dao, run), task, verified)
    if any(entry.id not in found for entry in verified):
        expected = f"one whose patch is on its branch: this one's is not yet; `acms resume {run.id}` judges it again"
        raise InvalidValue(field=f"task {task.id}", value=task.state, expected=expected)
    for entry_id, commit in found.items():
        dao.ledger.change(entry_id, metadata={"commit": commit})


def fail_task_by_hand(dao: UnitOfWork, order: Order) -> BranchMove | None:
    """Fail a task that has not ended; its gates are ended, and patches that nobody goes on with are settled.

    What it has on its workstream's branch already is to be taken off it.
    """
    task = dao.tasks.get(order.entity_id)
    run = take_in_hand(dao, task.run_id)
    move = None
    if task.state not in MACHINES["task"].terminal:
        verified = [row for row in dao.ledger.of_task(task.id) if row.state == PatchState.VERIFIED]
        move = take_back(dao, drive_in_hand(dao, run), task, verified) if verified else None
        end_work(dao, run, [task], order)
    match task.state:
        case TaskState.RUNNING:
            never = {"retryable": False}
            dao.tasks.advance(task.id, TaskTrigger.EXECUTION_FAILED, facts=never, last_error=order.reason, **order.by)
            free_worker(dao, task.worker_id, **order.by)
        case TaskState.PENDING | TaskState.QUEUED | TaskState.RETRYING | TaskState.BLOCKED:
            _block(dao, task, order)
            dao.tasks.advance(task.id, TaskTrigger.DEPENDENCY_UNSATISFIABLE, last_error=order.reason, **order.by)
        case _:
            dao.tasks.advance(task.id, TaskTrigger.VALIDATION_FAILED, last_error=order.reason, **order.by)
    order.note(dao.tasks, task.id)
    return move


def _block(dao: UnitOfWork, task: TaskRow, order: Order) -> None:
    """The only way to failed for a task that does not run is by blocked."""
    held: dict[str, Any] = {"blocked_by": [f"operator {order.operator}"], **order.by}
    if task.state == TaskState.RETRYING:
        dao.tasks.advance(task.id, TaskTrigger.RETRY_DELAY_ELAPSED, **order.by)
    if task.state == TaskState.PENDING:
        try:
            dao.tasks.advance(task.id, TaskTrigger.DEPENDENCY_CHECK_FAILED, **held)
        except GuardRefused:
            # nothing holds it up, so it may be queued, and a queued one may be blocked; else that is refused
            dao.tasks.advance(task.id, TaskTrigger.SCHEDULER_ASSIGNED, **order.by)
    if dao.tasks.get(task.id).state == TaskState.QUEUED:
        dao.tasks.advance(task.id, TaskTrigger.DEPENDENCY_CHECK_FAILED, **held)


def end_work(dao: UnitOfWork, run: RunRow, tasks: Iterable[TaskRow], order: Order) -> None:
    """End the gates and settle the patches of tasks that nobody goes on with.

    Their worktrees belong to a driver that is gone: nobody builds on what is applied there.
    """
    entries: list[LedgerRow] = []
    for task in tasks:
        for gate in dao.test_gates.of_task(task.id):
            end_gate_early(dao, gate, order.reason, operator=order.operator)
        entries += [row for row in dao.ledger.of_task(task.id) if patch_trigger_on_run_end(row.state)]
    if entries:
        end_patches(dao, drive_in_hand(dao, run), entries, order.reason, operator=order.operator)


def reset_task(dao: UnitOfWork, order: Order) -> BranchMove | None:
    """Put a new task in the place of one that has ended, and let all who still wait for the old one wait for it.

    A quarantined patch of the old one is to be taken off its branch, should it be on it.
    """
    task = dao.tasks.get(order.entity_id)
    run = take_in_hand(dao, task.run_id)
    _require_resettable(dao, task, run)
    new = _copy(dao, task, order)
    dao.task_links.take_place(new.id, task.id)
    for waiting in dao.task_links.dependents(new.id):
        _wait_again(dao, waiting, new, order)
    rejected = [row for row in dao.ledger.of_task(task.id) if _is_committed_in_vain(row)]
    move = take_back(dao, drive_in_hand(dao, run), task, rejected) if rejected else None
    _clear_patches(dao, task, order)
    order.note(dao.tasks, task.id, retry=new.id)
    return move


def _is_committed_in_vain(entry: LedgerRow) -> bool:
    return entry.state == PatchState.QUARANTINED and entry.info.get("commit") is not None


def _require_resettable(dao: UnitOfWork, task: TaskRow, run: RunRow) -> None:
    field = f"task {task.id}"
    if task.state not in MACHINES["task"].terminal:
        raise InvalidValue(field=field, value=task.state, expected="one that has ended: only that is done again")
    if (later := dao.task_links.replacement(task.id)) is not None:
        raise InvalidValue(field=field, value=f"reset as {later.id}", expected=f"to reset {later.id} instead")
    stream = dao.workstreams.get(task.workstream_id)
    if stream.state == WorkstreamState.VALIDATING:
        expected = f"one whose tasks are still being done: `acms resume {run.id}` merges this one"
        raise InvalidValue(field=f"the workstream of {field}", value=stream.state, expected=expected)
    for what, row in (("run", run), ("workstream", stream)):
        if row.state in MACHINES[what].terminal:
            expected = "one that has not ended: in an ended one nothing is done any more"
            raise InvalidValue(field=f"the {what} of {field}", value=row.state, expected=expected)


def _copy(dao: UnitOfWork, task: TaskRow, order: Order) -> TaskRow:
    return dao.tasks.create(
        run_id=task.run_id,
        workstream_id=task.workstream_id,
        kind=task.kind,
        description=task.description,
        pattern_id=task.pattern_id,
        tool_id=task.tool_id,
        file_scope=task.file_scope,
        is_critical=task.is_critical,
        required_capabilities=task.required_capabilities,
        max_retries=task.max_retries,
        timeout_sec=task.timeout_sec,
        retry_of=task.id,
        reason=order.reason,
        metadata={name: task.info[name] for name in _KEPT_METADATA if name in task.info},
    )


def _wait_again(dao: UnitOfWork, waiting: TaskRow, new: TaskRow, order: Order) -> None:
    """A dependent that had its turn, or that the old task held up, waits for its turn again."""
    if waiting.state == TaskState.QUEUED:
        dao.tasks.advance(waiting.id, TaskTrigger.DEPENDENCY_CHECK_FAILED, blocked_by=[new.id], **order.by)
    if waiting.state in {TaskState.QUEUED, TaskState.BLOCKED}:
        try:
            dao.tasks.advance(waiting.id, TaskTrigger.DEPENDENCY_SATISFIED, **order.by)
        except GuardRefused:
            # something else holds it up as well
            return


def _clear_patches(dao: UnitOfWork, task: TaskRow, order: Order) -> None:
    """What the old task could not bring in is dropped, so that it speaks against nothing any more; it stays stored."""
    for entry in dao.ledger.of_task(task.id):
        if entry.state in {PatchState.QUARANTINED, PatchState.APPLY_FAILED}:
            dao.ledger.advance(entry.id, PatchTrigger.DISCARDED, **order.by)
        elif entry.state in {PatchState.CREATED, PatchState.VALIDATED, PatchState.QUEUED}:
            dao.ledger.advance(entry.id, PatchTrigger.SUPERSEDED, **order.by)


def unblock_task(dao: UnitOfWork, order: Order) -> None:
    """Let a blocked task wait for its turn again; what still blocks it refuses."""
    task = dao.tasks.get(order.entity_id)
    take_in_hand(dao, task.run_id)
    dao.tasks.advance(task.id, TaskTrigger.DEPENDENCY_SATISFIED, **order.by)
    order.note(dao.tasks, task.id)
