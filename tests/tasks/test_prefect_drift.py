"""Prefect's side of runs, compared with the store by its own client and put right: told once, and found once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run
from operated import leave
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Failed, Pending, Running, Scheduled
from prefect_rows import (
    a_flow_run,
    a_phase,
    a_task_run,
    asked,
    set_state,
    state_of_flow_run,
    state_of_task_run,
)
from repositories import git

from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.canonical.clock import system_clock
from prefect_acms.dao.audit import verify
from prefect_acms.dao.store import Store, open_store
from prefect_acms.tasks.attempts import Executed, Finished, perform
from prefect_acms.tasks.cancelling import cancel_run
from prefect_acms.tasks.drift import Reconciliation
from prefect_acms.tasks.driving import Attempt, Drive, drive_run, phase, release_run
from prefect_acms.tasks.prefect_mending import mend_prefect_here
from prefect_acms.tasks.reconciling import reconcile_here

pytestmark = pytest.mark.usefixtures("prefect_server")

LATER = timedelta(minutes=10)
"""How far ahead the clock of a reconciliation is that takes what was just begun for overdue."""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of one file."""
    return repository_of(tmp_path / "repository", {"a.py": "A = 1\n"})


@pytest.fixture
def store(canonical_url: str) -> Store:
    """The store as it is."""
    return open_store(canonical_url)


@pytest.fixture
def later(canonical_url: str) -> Store:
    """The store ten minutes later."""
    return open_store(canonical_url, clock=lambda: system_clock() + LATER)


def _begun(repository: Path, url: str, state: State[Any], count: int = 1) -> tuple[Drive, UUID]:
    """A run that is running, driven by an attempt that Prefect has in that state."""
    flow_run = a_flow_run(state)
    drive = started_run(repository, url, flow_run_id=str(flow_run))
    release_run(drive)
    return drive_run(drive.run_id, database=url, force=True, attempt=Attempt(str(flow_run), count)), flow_run


def _left(repository: Path, url: str, state: State[Any]) -> tuple[Drive, UUID]:
    drive, flow_run = _begun(repository, url, state)
    leave(drive)
    return drive, flow_run


def _canceled(repository: Path, url: str, state: State[Any]) -> tuple[Drive, UUID]:
    drive, flow_run = _left(repository, url, state)
    cancel_run(drive.store, drive.run_id, "no more")
    return drive, flow_run


def _kinds(done: Reconciliation) -> list[str]:
    return [drift.kind.value for drift in done.drifts]


def _told(store: Store, run_id: str) -> list[Any]:
    with store.begin(read_only=True) as dao:
        rows = [row for row in dao.transitions.of_run(run_id) if row.trigger == "drift_detected"]
    return [row.info["kind"] for row in rows]


def _assert_in_step(store: Store, known: Sequence[str] = ()) -> None:
    """A second pass finds nothing, and knows what was left alone."""
    again = reconcile_here(store)
    assert again.drifts == ()
    assert [drift.kind.value for drift in again.left_alone] == list(known)
    assert again.exit_code == 0
    assert verify(store).ok


@pytest.mark.parametrize("state", [Running(), Completed(), Pending()])
def test_what_prefect_says_of_a_run_that_has_ended_becomes_what_the_store_says(
    repository: Path, canonical_url: str, later: Store, state: State[Any]
) -> None:
    """Any other state than the derived one, ended or not, is replaced; the run tells it once."""
    drive, flow_run = _canceled(repository, canonical_url, state)
    done = reconcile_here(later)
    assert _kinds(done) == ["prefect_state"]
    assert (done.exit_code, done.resumable) == (0, ())
    assert state_of_flow_run(flow_run) == ("Cancelled", "canceled")
    assert _told(later, drive.run_id) == ["prefect_state"]
    _assert_in_step(later)


@pytest.mark.parametrize("state", [Running(), Failed(message="boom")])
def test_a_run_that_nobody_drives_is_called_crashed_and_stays_resumable(
    repository: Path, canonical_url: str, store: Store, state: State[Any]
) -> None:
    """The message says how it goes on; ours does not end by that, and the next pass only lists it."""
    drive, flow_run = _left(repository, canonical_url, state)
    done = reconcile_here(store)
    assert _kinds(done) == ["prefect_dead"]
    name, message = state_of_flow_run(flow_run)
    assert name == "Crashed"
    assert f"acms resume {drive.run_id}" in message
    assert ("boom" in message) == state.is_failed()
    assert done.resumable == (drive.run_id,)
    with store.begin(read_only=True) as dao:
        assert dao.runs.get(drive.run_id).state == "running"
    _assert_in_step(store)


def test_a_driven_run_is_only_reported_about(repository: Path, canonical_url: str, store: Store) -> None:
    """Running is right; Completed is said, and left to the driver."""
    drive, flow_run = _begun(repository, canonical_url, Running())
    assert reconcile_here(store) == Reconciliation(looked_at=1)
    set_state(flow_run, Completed())
    done = reconcile_here(store)
    assert _kinds(done) == ["prefect_ended"]
    assert not done.drifts[0].repaired
    assert state_of_flow_run(flow_run)[0] == "Completed"
    _assert_in_step(store, ["prefect_ended"])
    release_run(drive)


@pytest.mark.parametrize(("state", "driven"), [(Cancelling(), True), (Cancelled(), False)])
def test_a_cancellation_that_only_prefect_knows_of_is_carried_out(
    repository: Path, canonical_url: str, store: Store, state: State[Any], *, driven: bool
) -> None:
    """By whomever it is driven, and Prefect hears that it was done."""
    drive, flow_run = (_begun if driven else _left)(repository, canonical_url, state)
    assert _kinds(reconcile_here(store)) == ["prefect_cancelled"]
    with store.begin(read_only=True) as dao:
        assert dao.runs.get(drive.run_id).state == "canceled"
    assert state_of_flow_run(flow_run)[0] == "Cancelled"
    _assert_in_step(store)


def test_a_run_that_was_cancelled_before_it_started_is_canceled(
    repository: Path, canonical_url: str, store: Store
) -> None:
    """It was pending, so nothing of it was ever done."""
    config = PipelineConfig(repository=repository, database_url=canonical_url)
    flow_run = a_flow_run(Cancelled())
    with store.begin() as dao:
        run = dao.runs.create(
            repo_root=str(repository),
            base_commit=git(repository, "rev-parse", "HEAD").strip(),
            config=config.model_dump(mode="json"),
            prefect_flow_run_id=str(flow_run),
            prefect_run_count=0,
        )
    assert _kinds(reconcile_here(store)) == ["prefect_cancelled"]
    with store.begin(read_only=True) as dao:
        ended = dao.runs.get(run.id)
    assert (ended.state, ended.started_at) == ("canceled", None)
    _assert_in_step(store)


def test_an_attempt_that_another_has_taken_over_is_called_superseded(
    repository: Path, canonical_url: str, store: Store
) -> None:
    """The one that drives the run now stays as it is."""
    drive, older = _left(repository, canonical_url, Running())
    current = a_flow_run(Running())
    drive = drive_run(drive.run_id, database=canonical_url, attempt=Attempt(str(current), 1))
    assert _kinds(reconcile_here(store)) == ["prefect_superseded"]
    assert state_of_flow_run(older) == ("Crashed", f"superseded by attempt {current}")
    assert state_of_flow_run(current)[0] == "Running"
    _assert_in_step(store)
    release_run(drive)


def test_a_retry_that_is_on_its_way_is_waited_for(
    repository: Path, canonical_url: str, store: Store, later: Store
) -> None:
    """Scheduled by the Retry button, then begun, it takes the run over soon; after two minutes it is overdue."""
    drive, flow_run = _left(repository, canonical_url, Crashed())
    states: list[State[Any]] = [Scheduled(), Pending(), Running()]
    for state in states:
        set_state(flow_run, state)
        if state.is_running():  # as often as a worker begins it
            set_state(flow_run, Running())
        done = reconcile_here(store)
        assert (done.drifts, done.resumable) == ((), (drive.run_id,))
    assert _kinds(reconcile_here(later)) == ["prefect_dead"]
    _assert_in_step(later)


def test_a_retry_that_waits_for_a_worker_may_wait(repository: Path, canonical_url: str, later: Store) -> None:
    """A pool that is paused or full is no drift, however long it is."""
    drive, flow_run = _left(repository, canonical_url, Crashed())
    set_state(flow_run, Scheduled())
    done = reconcile_here(later)
    assert (done.drifts, done.resumable) == ((), (drive.run_id,))


def test_a_flow_run_that_prefect_has_lost_is_told_once(repository: Path, canonical_url: str, store: Store) -> None:
    """Nothing can be done about it, and nobody has to."""
    drive, flow_run = _canceled(repository, canonical_url, Cancelled())
    asked(lambda client: client.delete_flow_run(flow_run))
    done = reconcile_here(store)
    assert (_kinds(done), done.exit_code) == (["prefect_lost"], 0)
    assert _told(store, drive.run_id) == ["prefect_lost"]
    _assert_in_step(store, ["prefect_lost"])


def test_a_flow_run_that_has_begun_a_newer_run_says_nothing_of_the_older(
    repository: Path, canonical_url: str, later: Store
) -> None:
    """A retry of a canceled run begins anew under the same flow run, whose state is the newer run's."""
    older, flow_run = _canceled(repository, canonical_url, Cancelled())
    newer = started_run(repository, canonical_url, flow_run_id=str(flow_run))
    set_state(flow_run, Running())
    done = reconcile_here(later, older.run_id)
    assert done.drifts == ()
    leave(newer)


def _with_tasks(repository: Path, url: str) -> tuple[Planned, UUID, UUID, list[UUID]]:
    """A run of two tasks, one completed, one running, as Prefect has them: an attempt, its phase, its task runs."""
    drive, flow_run = _begun(repository, url, Running())
    child = a_phase(flow_run, Running())
    gap = a_gap("a", "a.py")
    tasks = [a_task("ws-01/one", [gap]), a_task("ws-01/two", [gap])]
    planned = Planned(drive, a_plan(drive, tasks, [gap]))
    task_runs = [a_task_run(child, Running()), a_task_run(child, Pending()), a_task_run(child, Running())]
    done = lambda _row: Executed(0, Finished)  # noqa: E731
    perform(drive, planned.queued("ws-01/one").id, done, task_run_id=str(task_runs[0]))
    running = planned.running("ws-01/two")
    with drive.begin() as dao:
        dao.tasks.change(running.id, prefect_task_run_id=str(task_runs[1]))
    return planned, flow_run, child, task_runs


def test_what_an_attempt_that_is_dead_has_left_open_is_ended(
    repository: Path, canonical_url: str, store: Store
) -> None:
    """Task runs become what their tasks are; those without a task, and phases, crashed with their driver. One drift."""
    planned, flow_run, child, task_runs = _with_tasks(repository, canonical_url)
    assert reconcile_here(store).drifts == ()
    leave(planned.drive)
    done = reconcile_here(store)
    assert _kinds(done) == ["prefect_dead", "prefect_open"]
    assert state_of_flow_run(flow_run)[0] == "Crashed"
    assert state_of_flow_run(child) == ("Crashed", "its driver was lost")
    lost = ("Crashed", "its driver was lost")
    assert [state_of_task_run(each) for each in task_runs] == [("Completed", "ws-01/one"), lost, lost]
    _assert_in_step(store)


def test_a_phase_whose_end_prefect_was_not_told_becomes_what_its_row_says(
    repository: Path, canonical_url: str, store: Store
) -> None:
    """Completed, though its run was left after it; the task run that stands for it moves along."""
    drive, flow_run = _begun(repository, canonical_url, Running())
    child = a_phase(flow_run, Running())
    with phase(drive, "execution"):
        pass
    leave(drive)
    assert _kinds(reconcile_here(store)) == ["prefect_dead", "prefect_open"]
    assert state_of_flow_run(child) == ("Completed", "execution: completed")
    _assert_in_step(store)


def test_what_a_canceled_run_has_left_open_is_ended(repository: Path, canonical_url: str, store: Store) -> None:
    """Cancelled in Prefect only: ours is canceled, and in the same pass everything below hears of it."""
    planned, flow_run, child, task_runs = _with_tasks(repository, canonical_url)
    leave(planned.drive)
    set_state(flow_run, Cancelling())
    assert _kinds(reconcile_here(store)) == ["prefect_cancelled", "prefect_open"]
    assert state_of_flow_run(flow_run)[0] == "Cancelled"
    assert state_of_flow_run(child) == ("Cancelled", "its run was canceled")
    assert [state_of_task_run(each)[0] for each in task_runs] == ["Completed", "Cancelled", "Cancelled"]
    _assert_in_step(store)


def test_task_runs_that_prefect_has_lost_are_counted_once(
    repository: Path, canonical_url: str, store: Store, later: Store
) -> None:
    """Their rows may come late, so not at once; then in one drift, and never again."""
    planned, *_ = _with_tasks(repository, canonical_url)
    one = planned.task("ws-01/one").id
    with planned.drive.begin() as dao:
        dao.tasks.change(one, prefect_task_run_id=str(uuid4()))
    cancel_run(store, planned.drive.run_id, "no more")
    assert _kinds(reconcile_here(store)) == ["prefect_state", "prefect_open"]
    done = reconcile_here(later)
    assert (_kinds(done), done.exit_code) == (["prefect_tasks_lost"], 0)
    assert "1 task run of the 2" in done.drifts[0].sentence
    _assert_in_step(later)


def test_two_reconciliations_at_once_tell_each_drift_once(repository: Path, canonical_url: str, later: Store) -> None:
    """Both may set the state, which is the same; the trail has it once."""
    drive, _ = _canceled(repository, canonical_url, Running())

    async def both() -> list[Reconciliation]:
        from prefect_acms.tasks.reconciling import reconcile  # noqa: PLC0415

        return list(await asyncio.gather(reconcile(later), reconcile(later)))

    found = [kind for done in asyncio.run(both()) for kind in _kinds(done)]
    assert found == ["prefect_state"]
    assert _told(later, drive.run_id) == ["prefect_state"]
    _assert_in_step(later)


def test_without_the_server_the_rest_is_done_and_the_exit_code_says_so(
    repository: Path, canonical_url: str, store: Store, later: Store
) -> None:
    """One sentence; and whoever only wants one run's side mended goes on."""
    drive, flow_run = _canceled(repository, canonical_url, Running())
    (drive.folder / "summary.md").unlink()
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        done = reconcile_here(store)
        assert mend_prefect_here(drive.run_id, store) == []
    assert (_kinds(done), done.exit_code) == (["reports"], 1)
    assert done.server is not None
    assert done.server in done.sentence
    assert [drift.kind.value for drift in mend_prefect_here(drive.run_id, later)] == ["prefect_state"]
    assert state_of_flow_run(flow_run)[0] == "Cancelled"
    _assert_in_step(later)
