"""The bridge: what Prefect is told follows from the rows, and what Prefect tells changes them once."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run
from prefect.client.schemas.objects import FlowRun, State, StateType, TaskRun
from prefect.states import Cancelling, Completed, Crashed, Failed, Running

from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.run import RunState
from prefect_acms.canonical.task import TaskState
from prefect_acms.dao.audit import verify
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store, open_store
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.flows.pipeline import acms_pipeline
from prefect_acms.tasks.attempts import Executed, Finished, perform
from prefect_acms.tasks.bridge import (
    on_run_cancelled,
    on_run_completed,
    on_run_ended_badly,
    on_run_running,
    on_task_failed,
    run_state,
    task_state,
)
from prefect_acms.tasks.driving import Drive, drive_run, drives, release_run
from prefect_acms.tasks.execution import run_task


def _row(kind: type[RunRow | TaskRow], state: str, metadata: dict[str, Any] | None = None, **columns: Any) -> Any:
    row = kind(**columns, info=metadata or {})
    row.__dict__["state"] = state
    return row


@pytest.mark.parametrize(
    ("state", "metadata", "type_", "name", "message"),
    [
        ("succeeded", {}, StateType.COMPLETED, "Completed", "succeeded"),
        ("succeeded", {"degraded": True}, StateType.COMPLETED, "Degraded", "succeeded, though"),
        ("failed", {}, StateType.FAILED, "Failed", "an error"),
        ("quarantined", {}, StateType.FAILED, "Quarantined", "a reason"),
        ("canceled", {}, StateType.CANCELLED, "Cancelled", "canceled"),
        ("pending", {}, StateType.CRASHED, "Crashed", "acms resume run_1"),
        ("running", {"degraded": True}, StateType.CRASHED, "Crashed", "acms resume run_1"),
    ],
)
def test_each_state_of_a_run_has_one_state_in_prefect(
    state: str, metadata: dict[str, Any], type_: StateType, name: str, message: str
) -> None:
    """Name, type and message come from the row; the outcome goes along."""
    row = _row(RunRow, state, metadata, id="run_1", error="an error", quarantine_reason="a reason")
    found = run_state(row, "outcome")
    assert (found.type, found.name, found.data) == (type_, name, "outcome")
    assert message in str(found.message)


@pytest.mark.parametrize(
    ("state", "metadata", "type_", "name", "message"),
    [
        ("completed", {}, StateType.COMPLETED, "Completed", "do it"),
        ("completed", {"partial": "1 part(s)"}, StateType.COMPLETED, "Partial", "1 part(s)"),
        ("failed", {}, StateType.FAILED, "Failed", "an error"),
        ("cancelled", {}, StateType.CANCELLED, "Cancelled", "do it: cancelled"),
        *[
            (state, {"partial": "x"}, StateType.FAILED, "Unfinished", f"still {state}")
            for state in ("pending", "queued", "blocked", "running", "validating", "retrying")
        ],
    ],
)
def test_each_state_of_a_task_has_one_state_in_prefect(
    state: str, metadata: dict[str, Any], type_: StateType, name: str, message: str
) -> None:
    """What has not ended is never called completed."""
    found = task_state(_row(TaskRow, state, metadata, id="task_1", description="do it", last_error="an error"))
    assert (found.type, found.name) == (type_, name)
    assert message in str(found.message)


def test_no_state_is_without_its_state_in_prefect() -> None:
    """A state that is added to a machine gets a line above."""
    assert len(RunState) == 6
    assert len(TaskState) == 9


@pytest.fixture
def flow_run_id() -> UUID:
    """The id of the Prefect run."""
    return uuid4()


@pytest.fixture
def going(tmp_path: Path, canonical_url: str, flow_run_id: UUID) -> Planned:
    """A running run of a Prefect run, with a running task, a queued one and a pending one."""
    repository = repository_of(tmp_path / "repository", {"a.py": "A = 1\n", "b.py": "B = 1\n"})
    drive = started_run(repository, canonical_url, flow_run_id=str(flow_run_id))
    a, b = a_gap("a", "a.py"), a_gap("b", "b.py")
    tasks = [a_task("ws-01/one", [a]), a_task("ws-01/two", [a], "ws-01/one"), a_task("ws-02/one", [b])]
    planned = Planned(drive, a_plan(drive, tasks, [a, b]))
    planned.running("ws-01/one")
    planned.queued("ws-02/one")
    return planned


def _flow_run(drive: Drive, flow_run_id: UUID, run_count: int = 1) -> FlowRun:
    """A Prefect run as a hook sees it in another process: parameters are plain values."""
    parameters = {"config": drive.config.model_dump(mode="json")}
    return FlowRun(id=flow_run_id, flow_id=uuid4(), parameters=parameters, run_count=run_count)


def _trail(store: Store, run_id: str) -> list[tuple[str, str, str]]:
    with store.begin(read_only=True) as dao:
        return [(row.entity_type, row.trigger, row.to_state) for row in dao.transitions.of_run(run_id)]


def test_a_run_that_prefect_cancels_is_ended_children_first_and_only_once(going: Planned, flow_run_id: UUID) -> None:
    """The hook knows a flow run and its parameters, no more; its second delivery changes nothing."""
    drive = going.drive
    flow_run = _flow_run(drive, flow_run_id)
    on_run_cancelled(acms_pipeline, flow_run, Cancelling())
    with drive.reading() as dao:
        ended = dao.runs.get(drive.run_id)
        rows = [
            *dao.tasks.of_run(drive.run_id),
            *dao.workstreams.of_run(drive.run_id),
            *dao.workers.of_run(drive.run_id),
        ]
        tasks, gaps = dao.tasks.of_run(drive.run_id), dao.gaps.of_run(drive.run_id)
    assert ended.state == "canceled"
    assert [row.state for row in rows if row.state not in MACHINES[row.machine.entity].terminal] == []
    assert {row.state for row in tasks} == {"cancelled"}
    assert {gap.state for gap in gaps} == {"deferred"}
    trail = _trail(drive.store, drive.run_id)
    assert trail[-1] == ("run", "user_cancelled", "canceled")
    assert ("task", "user_cancelled", "cancelled") in trail
    on_run_cancelled(acms_pipeline, flow_run, Cancelling())
    on_run_ended_badly(acms_pipeline, flow_run, Crashed())
    assert _trail(drive.store, drive.run_id) == trail
    assert verify(drive.store).ok


@pytest.mark.parametrize("state", [Failed(message="boom"), Crashed(message="killed")])
def test_a_run_that_prefect_calls_dead_can_be_resumed(going: Planned, flow_run_id: UUID, state: State[Any]) -> None:
    """No work is given up for what Prefect says; told twice, it is in the trail once."""
    flow_run = _flow_run(going.drive, flow_run_id)
    for _ in range(2):
        on_run_ended_badly(acms_pipeline, flow_run, state)
    with going.drive.reading() as dao:
        run = dao.runs.get(going.drive.run_id)
    assert (run.state, run.epoch) == ("running", going.drive.epoch)
    assert _trail(going.drive.store, run.id).count(("run", "drift_detected", "running")) == 1


def test_a_cancellation_fences_off_the_driver(going: Planned, flow_run_id: UUID) -> None:
    """A driver that Prefect believes dead and that wakes up can write nothing more, and nothing of it is kept open."""
    on_run_cancelled(acms_pipeline, _flow_run(going.drive, flow_run_id), Cancelling())
    with going.drive.reading() as dao:
        assert dao.runs.get(going.drive.run_id).epoch > going.drive.epoch
    assert going.drive.run_id not in {drive.run_id for drive in drives()}


def test_the_cancellation_of_an_older_attempt_is_no_news(going: Planned, flow_run_id: UUID) -> None:
    """An attempt is a flow run and its count: what comes late about the one before doesn't end this one."""
    with going.drive.begin() as dao:
        dao.runs.change(going.drive.run_id, prefect_run_count=2)
    on_run_cancelled(acms_pipeline, _flow_run(going.drive, flow_run_id, run_count=1), Cancelling())
    with going.drive.reading() as dao:
        assert dao.runs.get(going.drive.run_id).state == "running"


def test_hooks_of_a_run_that_we_do_not_know_do_nothing(going: Planned) -> None:
    """Bad input fails before there is a row; the hooks fire all the same."""
    before = _trail(going.drive.store, going.drive.run_id)
    flow_run = _flow_run(going.drive, uuid4())
    on_run_running(acms_pipeline, flow_run, Running())
    on_run_completed(acms_pipeline, flow_run, Completed())
    on_run_cancelled(acms_pipeline, flow_run, Cancelling())
    on_run_ended_badly(acms_pipeline, flow_run, Failed())
    assert _trail(going.drive.store, going.drive.run_id) == before


def test_another_attempt_of_prefect_is_noted_in_the_row(going: Planned, flow_run_id: UUID) -> None:
    """An attempt is a flow run and its count; told twice, it is written once."""
    for _ in range(2):
        on_run_running(acms_pipeline, _flow_run(going.drive, flow_run_id, run_count=2), Running())
    with going.drive.reading() as dao:
        assert dao.runs.get(going.drive.run_id).info["prefect_attempt_seen"] == 2


def test_a_completed_prefect_run_whose_row_goes_on_is_a_drift(going: Planned, flow_run_id: UUID) -> None:
    """It is said so in the trail, and the run's state stays what it is."""
    on_run_completed(acms_pipeline, _flow_run(going.drive, flow_run_id), Completed())
    assert ("run", "drift_detected", "running") in _trail(going.drive.store, going.drive.run_id)


def test_a_run_that_is_cancelled_before_it_started_is_canceled(
    tmp_path: Path, canonical_url: str, flow_run_id: UUID
) -> None:
    """From pending there is one way out."""
    repository = repository_of(tmp_path / "repository", {"a.py": ""})
    drive = started_run(repository, canonical_url)
    with drive.store.begin() as dao:
        run = dao.runs.create(
            repo_root=str(repository), config=drive.config.model_dump(mode="json"), prefect_flow_run_id=str(flow_run_id)
        )
    on_run_cancelled(acms_pipeline, _flow_run(drive, flow_run_id), Cancelling())
    with drive.reading() as dao:
        assert dao.runs.get(run.id).state == "canceled"


def test_a_task_that_prefect_lost_fails_once_and_frees_its_worker(going: Planned) -> None:
    """It leaves by worker_lost; the slot is there for the next task; the second delivery changes nothing."""
    task_run = TaskRun(id=uuid4(), task_key="task", dynamic_key="0", flow_run_id=None)
    task = going.task("ws-01/one")
    with going.drive.begin() as dao:
        dao.tasks.change(task.id, prefect_task_run_id=str(task_run.id))
    for _ in range(2):
        on_task_failed(run_task, task_run, Crashed(message="gone"))
    row = going.task("ws-01/one")
    assert (row.state, row.worker_id) == ("failed", None)
    assert "gone" in str(row.last_error)
    with going.drive.reading() as dao:
        workers = dao.workers.of_run(going.drive.run_id)
    assert {(worker.state, worker.current_load) for worker in workers} == {("idle", 0)}
    assert _trail(going.drive.store, going.drive.run_id).count(("task", "worker_lost", "failed")) == 1


def test_a_lost_task_is_found_though_another_run_of_this_process_was_taken_over(
    going: Planned, tmp_path: Path, canonical_url: str
) -> None:
    """The drive of a run that somebody else has now is no reason to overlook ours."""
    other = started_run(repository_of(tmp_path / "other", {"a.py": ""}), canonical_url)
    with open_store(canonical_url).begin() as dao:
        dao.runs.take_over(other.run_id)
    task_run = TaskRun(id=uuid4(), task_key="task", dynamic_key="0", flow_run_id=None)
    task = going.task("ws-01/one")
    with going.drive.begin() as dao:
        dao.tasks.change(task.id, prefect_task_run_id=str(task_run.id))
    release_run(going.drive)
    ours = drive_run(going.drive.run_id, epoch=going.drive.epoch, database=canonical_url)
    assert drives().index(other) < drives().index(ours)
    on_task_failed(run_task, task_run, Crashed(message="gone"))
    assert going.task("ws-01/one").state == "failed"


def test_a_task_that_ended_is_not_touched_by_a_late_hook(going: Planned) -> None:
    """A task run that Prefect calls failed because we said so is no news."""
    task_run = TaskRun(id=uuid4(), task_key="task", dynamic_key="0", flow_run_id=None)
    done = Executed(0, lambda: Finished(problem="no good"))
    row = perform(going.drive, going.task("ws-02/one").id, lambda _task: done, task_run_id=str(task_run.id))
    on_task_failed(run_task, task_run, Failed(message="no good"))
    again = going.task("ws-02/one")
    assert (again.state, again.version) == (row.state, row.version) == ("failed", row.version)
