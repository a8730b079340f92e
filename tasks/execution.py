"""The Prefect tasks of the execution phase: one for each task of the plan, one that settles each workstream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.runtime import task_run
from prefect.states import Cancelled, Completed, Failed

from prefect_acms.blocks.tool_spec import TaskKind
from prefect_acms.canonical.errors import RunEnding, TransitionError
from prefect_acms.canonical.task import TaskState, TaskTrigger
from prefect_acms.canonical.verdicts import ENDED_TASK
from prefect_acms.canonical.workstream import WorkstreamState
from prefect_acms.dao.error_redaction import clean_error, clean_errors
from prefect_acms.dao.redaction import redact
from prefect_acms.tasks.attempts import fail_task, give_up_task, perform
from prefect_acms.tasks.bridge import on_task_failed, task_state
from prefect_acms.tasks.driving import Drive, drive_run
from prefect_acms.tasks.faults import stops_run
from prefect_acms.tasks.merging import settle
from prefect_acms.tasks.preparation import baseline_of
from prefect_acms.tasks.run_quarantine import require_sound
from prefect_acms.tasks.works import JUDGES, WORKS


@task(name="judge-base", task_run_name="judge the base commit", cache_policy=NO_CACHE, persist_result=False)
def judge_base(run_id: str, epoch: int) -> None:
    """Run the gates at the base commit: only what is new since then will count."""
    with clean_errors():
        baseline_of(drive_run(run_id, epoch=epoch))


@task(
    name="task",
    task_run_name="{label}",
    cache_policy=NO_CACHE,
    persist_result=False,
    on_failure=[on_task_failed],
)
def run_task(run_id: str, epoch: int, task_id: str, label: str) -> State[Any]:
    """Do one task of the plan; the Prefect state is made from the canonical one. A refused start does no work."""
    drive = drive_run(run_id, epoch=epoch)
    try:
        return _performed(drive, task_id, label)
    except Exception as error:
        clean_error(error)
        if stops_run(error):
            drive.fault = error
        raise


def _performed(drive: Drive, task_id: str, label: str) -> State[Any]:
    with drive.reading() as dao:
        kind = TaskKind(dao.tasks.get(task_id).kind)
    try:
        row = perform(
            drive,
            task_id,
            lambda claimed: WORKS[kind](drive, claimed),
            judge=lambda left: JUDGES[kind](drive, left),
            task_run_id=task_run.id,
        )
    except TransitionError as refusal:
        with drive.reading() as dao:
            cancelled = isinstance(refusal, RunEnding) or dao.tasks.get(task_id).state == TaskState.CANCELLED
        message = redact(f"{label}: {refusal}")
        return Cancelled(message=message) if cancelled else Failed(name="Refused", message=message)
    return task_state(row)


@task(name="settle", task_run_name="merge {label}", cache_policy=NO_CACHE, persist_result=False)
def settle_workstream(run_id: str, epoch: int, workstream_id: str, label: str) -> State[Any]:
    """Merge a workstream whose tasks have ended, and give each of its gaps its fate."""
    drive = drive_run(run_id, epoch=epoch)
    try:
        with clean_errors():
            settle(drive, workstream_id)
    except RunEnding as refusal:
        return Cancelled(message=f"{label}: {refusal}")
    with drive.reading() as dao:
        row = dao.workstreams.get(workstream_id)
    if row.state == WorkstreamState.COMPLETED:
        return Completed(message=f"{label}: merged")
    if row.state == WorkstreamState.CANCELLED:
        return Cancelled(message=f"{label}: cancelled")
    return Failed(message=f"{label}: {row.error or row.state}")


def queue_task(drive: Drive, task_id: str) -> None:
    """Assign a task whose turn has come; one that a driver before this one has begun stays as it is."""
    with drive.begin() as dao:
        if dao.tasks.get(task_id).state == TaskState.PENDING:
            dao.tasks.advance(task_id, TaskTrigger.SCHEDULER_ASSIGNED)


def end_task(drive: Drive, task_id: str, future: PrefectFuture[Any]) -> str:
    """The state of a task that Prefect is done with; one that did not come to its end fails, with Prefect's reason.

    Raises RunUnsafe when the run is to be quarantined for what the task has found.
    """
    future.wait()
    if drive.fault is not None:
        # Nothing about the task: the run stops here, and goes on from its rows.
        raise drive.fault
    with drive.begin() as dao:
        fail_task(dao, task_id, f"it did not come to its end: {future.state.message or future.state.name}")
        state = dao.tasks.get(task_id).state
    require_sound(drive)
    return state


def lose_tasks(drive: Drive, task_ids: Iterable[str], *, because: str) -> None:
    """Fail the tasks that can never start, because something that they need did not end well."""
    with drive.begin() as dao:
        for task_id in task_ids:
            state = dao.tasks.get(task_id).state
            if state in ENDED_TASK:
                continue
            upstream = [row for row in dao.tasks.dependencies(task_id) if row.state != TaskState.COMPLETED]
            names = [row.info["key"] for row in upstream] or [because]
            reason = f"what it needs did not end well: {', '.join(names)}"
            if not upstream and state == TaskState.PENDING:
                # What it needs is completed, but the merge of its workstream failed: only a queued task may say so.
                dao.tasks.advance(task_id, TaskTrigger.SCHEDULER_ASSIGNED, reason=reason)
            give_up_task(dao, task_id, reason, names)
