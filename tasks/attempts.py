"""One task from claim to end: claimed by a worker, worked on, retried within its limits, judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from prefect_acms.canonical.clock import utc_moment, utc_text
from prefect_acms.canonical.errors import AcmsError, GuardRefused, TransitionError
from prefect_acms.canonical.gap import GapState, GapTrigger
from prefect_acms.canonical.outside_errors import ToolTimedOut
from prefect_acms.canonical.task import TaskState, TaskTrigger
from prefect_acms.canonical.worker import WorkerState, WorkerTrigger
from prefect_acms.canonical.workstream import WorkstreamState, WorkstreamTrigger
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.faults import stops_run
from prefect_acms.tasks.retries import is_retryable, retrying


@dataclass(frozen=True, slots=True)
class Finished:
    """How the work of a task came out: `problem` says why it failed, `partial` what had to be left out."""

    problem: str | None = None
    partial: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Executed:
    """The part of a task that may be retried is over; `judge` does the rest, while the task is validating."""

    exit_code: int
    judge: Callable[[], Finished]
    expected_exit_codes: tuple[int, ...] = (0,)
    store: Callable[[UnitOfWork], None] = lambda _dao: None
    """Stores what is to be judged, in the unit of work in which the task becomes validating."""


Work = Callable[[TaskRow], Executed]
Judge = Callable[[TaskRow], Finished]


def perform(
    drive: Drive, task_id: str, work: Work, *, judge: Judge | None = None, task_run_id: str | None = None
) -> TaskRow:
    """Do one task: its row as it ended. Raises a TransitionError if it may not start, and then nothing was done.

    Retryable errors of `work` lead through `retrying` and a delay; any other error, or the last one, fails the task.
    A task that a driver before this one has left validating is not worked on again: `judge` says how it came out.
    """
    attempts = _Attempts(drive, task_id, work, task_run_id)
    with drive.reading() as dao:
        task = dao.tasks.get(task_id)
    left = drive.config.resilience.model_copy(update={"max_retries": task.max_retries - task.retry_count})
    if task.state == TaskState.VALIDATING and judge is not None:
        again = retrying(left, seed=task_id, sleep=attempts.sleep)
        attempts.conclude(lambda: again(judge, task))
        with drive.reading() as dao:
            return dao.tasks.get(task_id)
    if task.state == TaskState.RETRYING and task.next_attempt_at is not None:
        due = utc_moment(task.next_attempt_at) - drive.store.clock()
        attempts.sleep(min(max(0.0, due.total_seconds()), drive.config.resilience.retry_cap_sec))
    policy = retrying(left, seed=task_id, sleep=attempts.sleep, on_retry=attempts.pause)
    try:
        executed = policy(attempts.once)
    except _Refused as refused:
        raise refused.error from refused
    except Exception as error:
        if stops_run(error):
            raise
        attempts.fail(error)
        if not isinstance(error, AcmsError):
            raise
    else:
        attempts.judge(executed)
    with drive.reading() as dao:
        return dao.tasks.get(task_id)


class _Refused(Exception):
    """Carries a refusal past the retry policy; never leaves this module."""

    def __init__(self, error: TransitionError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(slots=True)
class _Attempts:
    drive: Drive
    task_id: str
    work: Work
    task_run_id: str | None
    worker_id: str | None = None

    def once(self) -> Executed:
        return self.work(self._claim())

    def _claim(self) -> TaskRow:
        """The gate: claims the task for an idle worker, or refuses, before anything is done."""
        try:
            with self.drive.begin() as dao:
                task = dao.tasks.get(self.task_id)
                if task.state == TaskState.RETRYING:
                    dao.tasks.advance(self.task_id, TaskTrigger.RETRY_DELAY_ELAPSED)
                self.worker_id = dao.tasks.claim(self.task_id, run_id=self.drive.run_id).id
                if self.task_run_id is not None:
                    dao.tasks.change(self.task_id, prefect_task_run_id=self.task_run_id)
                self._start_workstream(dao, task)
                return dao.tasks.get(self.task_id)
        except TransitionError as error:
            raise _Refused(error) from error

    def _start_workstream(self, dao: UnitOfWork, task: TaskRow) -> None:
        if dao.workstreams.get(task.workstream_id).state == WorkstreamState.READY:
            dao.workstreams.advance(task.workstream_id, WorkstreamTrigger.FIRST_TASK_STARTED)
        wanted = set(task.info.get("gaps", ()))
        for gap in dao.gaps.of_workstream(task.workstream_id):
            if gap.fingerprint in wanted and gap.state == GapState.PLANNED:
                dao.gaps.advance(gap.id, GapTrigger.TASK_STARTED)

    def _free_worker(self, dao: UnitOfWork) -> None:
        free_worker(dao, self.worker_id)
        self.worker_id = None

    def pause(self, _retries: int, delay_sec: float, error: BaseException) -> None:
        """Before the delay of a retry: the task is `retrying`, its worker free for others."""
        until = utc_text(self.drive.store.clock() + timedelta(seconds=delay_sec))
        with self.drive.begin() as dao:
            dao.tasks.advance(
                self.task_id,
                _trigger_of(error),
                to=TaskState.RETRYING,
                reason=str(error),
                facts={"retryable": True},
                next_attempt_at=until,
                last_error=str(error),
            )
            self._free_worker(dao)

    def sleep(self, delay_sec: float) -> None:
        """Wait out the delay of a retry, or until the run is being ended."""
        self.drive.stopping.wait(delay_sec)

    def fail(self, error: Exception) -> None:
        """The last attempt is over, or the error is one that no retry mends."""
        with self.drive.begin() as dao:
            dao.tasks.advance(
                self.task_id,
                _trigger_of(error),
                to=TaskState.FAILED,
                reason=str(error),
                facts={"retryable": is_retryable(error)},
                last_error=str(error) or type(error).__name__,
            )
            self._free_worker(dao)

    def judge(self, executed: Executed) -> None:
        """Hand the task on to validating, free the worker, and end it by what the judgement says."""
        with self.drive.begin() as dao:
            executed.store(dao)
            dao.tasks.advance(
                self.task_id,
                TaskTrigger.EXECUTION_COMPLETED,
                facts={"expected_exit_codes": executed.expected_exit_codes},
                exit_code=executed.exit_code,
            )
            self._free_worker(dao)
        self.conclude(executed.judge)

    def conclude(self, judge: Callable[[], Finished]) -> None:
        """End a validating task by what the judgement says; an error of ours fails it and goes on."""
        try:
            finished = judge()
        except Exception as error:
            if stops_run(error):
                # Nothing about the task: it stays validating, and whoever drives the run next judges it.
                raise
            if isinstance(error, AcmsError):
                finished = Finished(problem=str(error))
            else:
                self._end(Finished(problem=f"{type(error).__name__}: {error}"))
                raise
        self._end(finished)

    def _end(self, finished: Finished) -> None:
        noted = finished.metadata | ({"partial": finished.partial} if finished.partial else {})
        with self.drive.begin() as dao:
            if noted:
                dao.tasks.change(self.task_id, metadata=noted)
            problem = finished.problem
            if problem is None:
                try:
                    dao.tasks.advance(self.task_id, TaskTrigger.VALIDATION_PASSED, reason=finished.partial)
                except GuardRefused as refused:
                    problem = str(refused)
            if problem is not None:
                dao.tasks.advance(self.task_id, TaskTrigger.VALIDATION_FAILED, last_error=problem)


def fail_task(dao: UnitOfWork, task_id: str, reason: str) -> None:
    """Fail a task that nobody works on any more, from wherever it was left, and free its worker; an ended one stays."""
    task = dao.tasks.get(task_id)
    match task.state:
        case TaskState.RUNNING:
            dao.tasks.advance(
                task_id, TaskTrigger.WORKER_LOST, to=TaskState.FAILED, facts={"retryable": False}, last_error=reason
            )
            free_worker(dao, task.worker_id)
        case TaskState.VALIDATING:
            dao.tasks.advance(task_id, TaskTrigger.VALIDATION_FAILED, last_error=reason)
        case TaskState.RETRYING:
            dao.tasks.advance(task_id, TaskTrigger.RETRY_DELAY_ELAPSED, reason=reason)
            give_up_task(dao, task_id, reason, [reason])
        case TaskState.QUEUED:
            give_up_task(dao, task_id, reason, [reason])


def give_up_task(dao: UnitOfWork, task_id: str, reason: str, blocked_by: Sequence[str]) -> None:
    """Fail a task that was never started and never will be."""
    dao.tasks.advance(task_id, TaskTrigger.DEPENDENCY_CHECK_FAILED, reason=reason, blocked_by=list(blocked_by))
    dao.tasks.advance(task_id, TaskTrigger.DEPENDENCY_UNSATISFIABLE, last_error=reason)


def free_worker(dao: UnitOfWork, worker_id: str | None, **said: Any) -> None:
    """Let a worker take the next task; one that is not busy stays as it is. `said` is who wants it, and why."""
    if worker_id is not None and dao.workers.get(worker_id).state == WorkerState.BUSY:
        dao.workers.advance(worker_id, WorkerTrigger.TASK_FINISHED, **said)


def _trigger_of(error: BaseException) -> TaskTrigger:
    return TaskTrigger.TIMEOUT_EXCEEDED if isinstance(error, ToolTimedOut) else TaskTrigger.EXECUTION_FAILED
