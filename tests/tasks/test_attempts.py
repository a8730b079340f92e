"""One task from claim to end: refused, retried, judged; its row and its worker never stay in the middle."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run

from prefect_acms.blocks.config import ExecutionSettings, ResilienceSettings
from prefect_acms.canonical.errors import GuardRefused, InvalidTransition, RunEnding, TransitionError
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.outside_errors import ToolFailed
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.canonical.task import TaskTrigger
from prefect_acms.canonical.test_gate import TestGateTrigger
from prefect_acms.canonical.worker import WorkerTrigger
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.attempts import Executed, Finished, fail_task, perform
from prefect_acms.tasks.driving import drive_run
from prefect_acms.tasks.ending import end_run

QUICK = ResilienceSettings(max_retries=2, retry_base_sec=0.01)


@pytest.fixture
def planned(tmp_path: Path, canonical_url: str) -> Planned:
    """Two workstreams with a task each, and one worker slot for both."""
    repository = repository_of(tmp_path / "repository", {"a.py": "", "b.py": ""})
    drive = started_run(repository, canonical_url, resilience=QUICK, execution=ExecutionSettings(concurrency=1))
    a, b = a_gap("a", "a.py"), a_gap("b", "b.py")
    tasks = [a_task("ws-01/one", [a], max_retries=2), a_task("ws-02/one", [b], max_retries=2)]
    return Planned(drive, a_plan(drive, tasks, [a, b]))


def _done(_task: TaskRow) -> Executed:
    return Executed(0, Finished)


def _workers(planned: Planned) -> list[tuple[str, int]]:
    with planned.drive.reading() as dao:
        return [(worker.state, worker.current_load) for worker in dao.workers.of_run(planned.drive.run_id)]


def _never(_task: TaskRow) -> Executed:
    pytest.fail("work was done for a task that may not start")


def test_a_task_that_was_cancelled_does_no_work(planned: Planned) -> None:
    """The gate is in the body: refused before anything is done, and the row stays as it was."""
    task = planned.queued("ws-01/one")
    with planned.drive.begin() as dao:
        dao.tasks.advance(task.id, TaskTrigger.USER_CANCELLED)
    with pytest.raises(InvalidTransition, match="cancelled"):
        perform(planned.drive, task.id, _never)
    assert planned.task("ws-01/one").state == "cancelled"
    assert _workers(planned) == [("idle", 0)]


def test_a_task_without_an_idle_worker_does_no_work(planned: Planned) -> None:
    """The one slot is taken: the claim is refused, and the task is as queued as before."""
    planned.running("ws-01/one")
    task = planned.queued("ws-02/one")
    with pytest.raises(GuardRefused, match="worker"):
        perform(planned.drive, task.id, _never)
    again = planned.task("ws-02/one")
    assert (again.state, again.version) == ("queued", task.version)


def test_a_retry_whose_slot_is_gone_is_refused_and_can_be_failed(planned: Planned) -> None:
    """The slot is free for others during the delay; if it has not come back, the task does not hang in `retrying`."""
    task = planned.queued("ws-01/one")
    tries: list[int] = []

    def lose_the_slot(_claimed: TaskRow) -> Executed:
        tries.append(1)
        stealing.start()
        raise ToolFailed(tool="t", problem="no")

    def steal() -> None:
        while True:
            with planned.drive.begin() as dao:
                (worker,) = dao.workers.of_run(planned.drive.run_id)
                if worker.state == "idle":
                    dao.workers.advance(worker.id, WorkerTrigger.SHUTDOWN_REQUESTED)
                    return
            time.sleep(0.001)

    stealing = threading.Thread(target=steal)
    with planned.drive.begin() as dao:
        dao.runs.change(planned.drive.run_id, metadata={})
    with pytest.raises(TransitionError):
        perform(planned.drive, task.id, lose_the_slot)
    stealing.join()
    assert len(tries) == 1
    assert planned.task("ws-01/one").state == "retrying"
    with planned.drive.begin() as dao:
        fail_task(dao, task.id, "its slot is gone")
    ended = planned.task("ws-01/one")
    assert (ended.state, ended.last_error) == ("failed", "its slot is gone")


def test_every_retry_claims_a_slot_again_and_leaves_it(planned: Planned) -> None:
    """running, retrying, queued, running … and at the end the slot is idle."""
    task = planned.queued("ws-01/one")
    tries: list[int] = []

    def third_time(_claimed: TaskRow) -> Executed:
        tries.append(1)
        if len(tries) < 3:
            raise ToolFailed(tool="t", problem="no")
        return Executed(0, Finished)

    assert perform(planned.drive, task.id, third_time).state == "completed"
    ended = planned.task("ws-01/one")
    assert (ended.retry_count, ended.attempt) == (2, 3)
    assert _workers(planned) == [("idle", 0)]


def test_an_error_of_our_own_fails_the_task_and_is_raised(planned: Planned) -> None:
    """While it works or while it is judged: the row ends, the slot is free, the error is not swallowed."""

    def broken(_claimed: TaskRow) -> Executed:
        raise ZeroDivisionError

    def judged_badly() -> Finished:
        return Finished(metadata={"odd": dict[str, int]()["what"]})

    with pytest.raises(ZeroDivisionError):
        perform(planned.drive, planned.queued("ws-01/one").id, broken)
    with pytest.raises(KeyError):
        perform(planned.drive, planned.queued("ws-02/one").id, lambda _task: Executed(0, judged_badly))
    assert planned.task("ws-01/one").state == planned.task("ws-02/one").state == "failed"
    assert planned.task("ws-02/one").last_error == "KeyError: 'what'"
    assert _workers(planned) == [("idle", 0)]


def test_a_completion_that_the_guard_refuses_fails_the_task(planned: Planned) -> None:
    """An exit gate that has not passed: the task is failed with the refusal, it is not left validating."""
    task = planned.queued("ws-01/one")
    with planned.drive.begin() as dao:
        gate = dao.test_gates.create(
            run_id=planned.drive.run_id, gate_type="UNIT", task_id=task.id, command="true", timeout_sec=1
        )
        dao.tasks.gate(task.id, gate.id, role="exit")
        dao.test_gates.advance(gate.id, TestGateTrigger.GATE_STARTED)
    row = perform(planned.drive, task.id, _done)
    assert row.state == "failed"
    assert "exit gate" in str(row.last_error)


@pytest.mark.parametrize("state", ["queued", "running", "validating", "retrying", "completed", "cancelled"])
def test_a_task_can_be_failed_from_wherever_it_was_left(planned: Planned, state: str) -> None:
    """What has ended stays; everything else fails with the reason, and no slot stays busy."""
    task = planned.queued("ws-01/one")
    with planned.drive.begin() as dao:
        if state in {"running", "validating", "retrying"}:
            dao.tasks.claim(task.id, run_id=planned.drive.run_id)
        if state == "validating":
            facts = {"expected_exit_codes": (0,)}
            dao.tasks.advance(task.id, TaskTrigger.EXECUTION_COMPLETED, facts=facts, exit_code=0)
        if state == "retrying":
            dao.tasks.advance(
                task.id,
                TaskTrigger.EXECUTION_FAILED,
                to="retrying",
                facts={"retryable": True},
                next_attempt_at="2026-01-01T00:00:00.000000Z",
                last_error="no",
            )
        if state == "cancelled":
            dao.tasks.advance(task.id, TaskTrigger.USER_CANCELLED)
    if state == "completed":
        perform(planned.drive, task.id, _done)
    assert planned.task("ws-01/one").state == state
    with planned.drive.begin() as dao:
        fail_task(dao, task.id, "left behind")
    ended = planned.task("ws-01/one")
    assert ended.state == (state if state in MACHINES["task"].terminal else "failed")
    assert ended.worker_id is None
    if state == "running":
        assert _workers(planned) == [("idle", 0)]


def test_the_end_of_a_run_wakes_a_task_out_of_its_delay(tmp_path: Path, canonical_url: str) -> None:
    """A task that waits a minute before its retry is refused at once; it is cancelled by the end of the run."""
    repository = repository_of(tmp_path / "repository", {"a.py": ""})
    slow = ResilienceSettings(retry_base_sec=60)
    drive = started_run(repository, canonical_url, resilience=slow)
    gap = a_gap("a", "a.py")
    planned = Planned(drive, a_plan(drive, [a_task("ws-01/one", [gap])], [gap]))
    task = planned.queued("ws-01/one")
    refused: list[BaseException] = []

    def fails(_claimed: TaskRow) -> Executed:
        raise ToolFailed(tool="t", problem="no")

    def work() -> None:
        try:
            perform(drive, task.id, fails)
        except TransitionError as error:
            refused.append(error)

    working = threading.Thread(target=work)
    working.start()
    while planned.task("ws-01/one").state != "retrying":
        time.sleep(0.01)
    began = time.monotonic()
    drive.stop()
    working.join(10)
    end_run(drive, RunTrigger.USER_CANCELLED, "interrupted")
    assert time.monotonic() - began < 10
    assert [type(error) for error in refused] == [RunEnding]
    assert planned.task("ws-01/one").state == "cancelled"


def test_a_driver_that_was_superseded_in_the_middle_changes_nothing(planned: Planned) -> None:
    """The newer driver's rows and worktrees are its own; the old one is refused, even when it wants to end the run."""
    old = planned.drive
    task = planned.queued("ws-01/one")
    newer = []

    def taken_over(_claimed: TaskRow) -> Executed:
        newer.append(drive_run(old.run_id, database=old.store.url))
        return Executed(0, Finished)

    with pytest.raises(TransitionError, match="newer driver"):
        perform(old, task.id, taken_over)
    theirs = newer[0].worktree("base")
    theirs.mkdir(parents=True)
    with pytest.raises(TransitionError, match="newer driver"):
        end_run(old, RunTrigger.RUN_CRASHED, "woke up")
    assert theirs.exists()
    assert planned.task("ws-01/one").state == "running"
    with pytest.raises(TransitionError, match="newer driver"):
        drive_run(old.run_id, epoch=old.epoch, database=old.store.url)
    assert drive_run(old.run_id, epoch=newer[0].epoch) is newer[0]


def test_a_judgement_that_is_taken_up_again_is_retried_as_the_first_one_was(planned: Planned) -> None:
    """A fault of the place, at the second judgement, doesn't cost the work that waits for it."""
    task = planned.running("ws-01/one")
    with planned.drive.begin() as dao:
        facts = {"expected_exit_codes": (0,)}
        dao.tasks.advance(task.id, TaskTrigger.EXECUTION_COMPLETED, exit_code=0, facts=facts)
    tries: list[str] = []

    def judge(row: TaskRow) -> Finished:
        tries.append(row.id)
        if len(tries) == 1:
            raise ToolFailed(tool="setup", problem="no network")
        return Finished()

    row = perform(planned.drive, task.id, _never, judge=judge)
    assert (row.state, tries) == ("completed", [task.id, task.id])
