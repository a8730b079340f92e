"""After a take-over: what the driver before has left half done is put right, so that the run goes on from its rows."""

from __future__ import annotations

from prefect_acms.canonical.clock import utc_text
from prefect_acms.canonical.events import Notice
from prefect_acms.canonical.machine import Severity
from prefect_acms.canonical.run import RunState, RunTrigger
from prefect_acms.canonical.task import TaskState, TaskTrigger
from prefect_acms.canonical.verdicts import ENDED_WORKSTREAM
from prefect_acms.canonical.workstream import WorkstreamState
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.documents import report_of, write_document
from prefect_acms.tasks.driving import COMPLETED, Drive
from prefect_acms.tasks.ending import clear_leavings, end_gate_early, end_phases, release_workers, remove_worktrees
from prefect_acms.tasks.fates import defer_gaps
from prefect_acms.tasks.gap_rows import gap_of
from prefect_acms.tasks.plans import Plan, WorkstreamList

LOST = "its driver was lost"


def recover(drive: Drive) -> None:
    """Make a run that was taken over fit to go on: its worktrees away, its rows as they are without a driver.

    Tasks that were running leave by `worker_lost`, within their limits to be tried again; those that were being judged
    stay, and so do patches: they are judged again when their task's turn comes. Safe to be done twice.
    """
    remove_worktrees(drive)
    clear_leavings(drive)
    _restore_result(drive)
    with drive.begin() as dao:
        run = dao.runs.get(drive.run_id)
        if run.state == RunState.PENDING:
            dao.runs.advance(run.id, RunTrigger.RUN_STARTED)
        end_phases(dao, run.id)
        for gate in dao.test_gates.of_run(run.id):
            end_gate_early(dao, gate, LOST)
        for task in dao.tasks.of_run(run.id):
            if task.state == TaskState.RUNNING:
                lose_worker(dao, task, LOST, now=utc_text(drive.store.clock()))
        release_workers(dao, run.id)
        for workstream in dao.workstreams.of_run(run.id):
            if workstream.state in ENDED_WORKSTREAM:
                defer_gaps(dao, workstream.id)
            else:
                dao.workstreams.change(workstream.id, worktree=str(drive.worktree(workstream.info["key"])))
        if run.state == RunState.RUNNING:
            reason = f"driver {drive.epoch} goes on where driver {drive.epoch - 1} was lost"
            dao.runs.note(run.id, Notice.RUN_RESUMED, reason=reason, severity=Severity.INFO)
    export_again(drive)


def _restore_result(drive: Drive) -> None:
    """Put the run's branch back where the last merge left it, if somebody has deleted it: the rest builds on that."""
    with drive.reading() as dao:
        rows = [row for row in dao.workstreams.of_run(drive.run_id) if row.state == WorkstreamState.COMPLETED]
    merges = [row.info["merge"] for row in sorted(rows, key=lambda row: row.completed_at or "") if "merge" in row.info]
    if merges and drive.repository.ref(drive.result_ref) is None and drive.repository.find(merges[-1]) is not None:
        drive.move_ref(drive.result_ref, merges[-1], None)


def lose_worker(dao: UnitOfWork, task: TaskRow, reason: str, *, now: str) -> None:
    """Let a running task leave because nobody works on it: to be tried again, or failed after its last retry."""
    if task.retry_count < task.max_retries:
        facts = {"retryable": True}
        dao.tasks.advance(
            task.id,
            TaskTrigger.WORKER_LOST,
            to=TaskState.RETRYING,
            reason=reason,
            facts=facts,
            next_attempt_at=now,
            last_error=reason,
        )
    else:
        dao.tasks.advance(
            task.id,
            TaskTrigger.WORKER_LOST,
            to=TaskState.FAILED,
            reason=reason,
            facts={"retryable": True},
            last_error=f"{reason}, and its {task.max_retries} retries are used up",
        )


def completed_phases(drive: Drive) -> frozenset[str]:
    """The phases of the run that need not be done again."""
    with drive.reading() as dao:
        return frozenset(row.name for row in dao.phases.of_run(drive.run_id) if row.outcome == COMPLETED)


def export_again(drive: Drive) -> None:
    """Write the files of completed phases anew from the store, in case their driver had no time to."""
    with drive.reading() as dao:
        done = {row.name: dict(row.artifacts) for row in dao.phases.of_run(drive.run_id) if row.outcome == COMPLETED}
        gaps = [gap_of(row) for row in dao.gaps.of_run(drive.run_id)]
    if "discovery" in done:
        write_document(report_of(tuple(gaps), drive.store.clock()), drive.folder / "gaps.json")
    if "clustering" in done:
        write_document(
            WorkstreamList.model_validate({"workstreams": done["clustering"]["workstreams"]}),
            drive.folder / "workstreams.json",
        )
    if "planning" in done:
        write_document(Plan.model_validate(done["planning"]["plan"]), drive.folder / "plan.json")
