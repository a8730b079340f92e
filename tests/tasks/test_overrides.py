"""Overrides: by a person with a reason, along legal edges, all of it or nothing."""

from __future__ import annotations

from typing import Any

import pytest
from breakers import SetClock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from operated import Rows, everything

from prefect_acms.canonical.errors import (
    AcmsError,
    GuardRefused,
    InvalidTransition,
    InvalidValue,
    NotFound,
    RunDriven,
    Superseded,
    UnknownName,
)
from prefect_acms.canonical.overrides import Override
from prefect_acms.canonical.patch import PatchTrigger
from prefect_acms.canonical.task import TaskTrigger
from prefect_acms.dao.audit import verify
from prefect_acms.dao.store import Fence, Store
from prefect_acms.tasks.breakers import ToolBreakers
from prefect_acms.tasks.overrides import Overridden, override

ADA = {"operator": "ada", "reason": "it hangs"}


@pytest.fixture
def rows(store: Store) -> Rows:
    """A run that nobody drives."""
    return Rows(store)


def ordered(rows: Rows, action: str, entity_id: str) -> Overridden:
    """Carry an order of Ada's out; asserts that the trail says so and verifies."""
    done = override(rows.store, action, entity_id, **ADA)
    told = [entry for entry in rows.trail() if entry[0] == "manual_override"]
    assert told[-1] == ("manual_override", done.entity_id, "ada")
    assert verify(rows.store).ok
    return done


def refused(rows: Rows, error: type[AcmsError], action: str, entity_id: str, **said: str) -> str:
    """The sentence with which an order is refused; asserts that nothing has changed."""
    before = everything(rows.store)
    with pytest.raises(error) as raised:
        override(rows.store, action, entity_id, **{**ADA, **said})
    assert everything(rows.store) == before
    return str(raised.value)


@pytest.mark.parametrize("said", [{"operator": ""}, {"reason": " \n"}])
def test_who_orders_something_says_who_and_why(rows: Rows, said: dict[str, str]) -> None:
    """Or it is bad input that names the field."""
    task = rows.task(rows.stream())
    sentence = refused(rows, InvalidValue, "fail-task", task, **said)
    assert sentence.startswith(next(iter(said)))


def test_an_order_that_does_not_exist_lists_those_that_do(rows: Rows) -> None:
    """And so does an entity that does not exist, in a sentence of its own."""
    assert "rollback-patch" in refused(rows, UnknownName, "explode-task", "task_x")
    for action in Override:
        refused(rows, NotFound, action, "nobody")


def test_a_running_task_is_completed_by_hand(rows: Rows) -> None:
    """By way of validating; its worker is free, and everything carries the operator's name and reason."""
    task, worker = rows.running(rows.stream())
    done = ordered(rows, "complete-task", task)
    assert rows.states(tasks=task, workers=worker) == ["completed", "idle"]
    assert [change.to_state for change in done.changes] == ["validating", "idle", "completed"]
    with rows.store.begin(read_only=True) as dao:
        last = dao.transitions.of_run(rows.run_id)[-1]
    assert (last.severity, last.reason, last.info) == ("warning", "it hangs", {"action": "complete-task"})


def test_gates_hold_for_operators_too(rows: Rows) -> None:
    """A task whose exit gate has not passed is not completed, and its worker keeps it."""
    task, worker = rows.running(rows.stream())
    with rows.store.begin() as dao:
        gate = dao.test_gates.create(run_id=rows.run_id, gate_type="UNIT", task_id=task)
        dao.tasks.gate(task, gate.id)
    assert "every exit gate is PASSED" in refused(rows, GuardRefused, "complete-task", task)
    assert rows.states(tasks=task, workers=worker) == ["running", "busy"]


@pytest.mark.parametrize("state", ["pending", "queued", "blocked", "running", "retrying", "validating"])
def test_a_task_is_failed_from_wherever_it_is(rows: Rows, clock: SetClock, state: str) -> None:
    """With the reason as its error; its worker is free."""
    stream = rows.stream()
    if state == "pending":
        task = rows.task(stream)
    elif state in {"queued", "blocked"}:
        task = rows.task(stream, queued=True)
    else:
        task, _ = rows.running(stream)
    with rows.store.begin() as dao:
        if state == "blocked":
            dao.tasks.advance(task, TaskTrigger.DEPENDENCY_CHECK_FAILED, blocked_by=["a person"])
        if state == "validating":
            facts = {"expected_exit_codes": (0,)}
            dao.tasks.advance(task, TaskTrigger.EXECUTION_COMPLETED, exit_code=0, facts=facts)
        if state == "retrying":
            columns: dict[str, Any] = {"next_attempt_at": "2026-02-01T00:00:00.000000Z", "last_error": "x"}
            dao.tasks.advance(task, TaskTrigger.WORKER_LOST, facts={"retryable": True}, **columns)
    clock.pass_by(1)
    assert rows.states(tasks=task) == [state]
    ordered(rows, "fail-task", task)
    assert rows.states(tasks=task) == ["failed"]
    with rows.store.begin(read_only=True) as dao:
        assert dao.tasks.get(task).last_error == "it hangs"
        assert {row.state for row in dao.workers.of_run(rows.run_id)} <= {"idle", "busy"}
    assert "legal from here: ['nothing']" in refused(rows, InvalidTransition, "fail-task", task)


def test_a_task_that_waits_for_one_that_goes_on_is_not_failed(rows: Rows) -> None:
    """There is no edge from pending to failed: what it waits for must end, or be failed, first."""
    stream = rows.stream()
    first = rows.task(stream)
    second = rows.task(stream, on=[first])
    assert "every task it depends on is completed" in refused(rows, GuardRefused, "fail-task", second)
    ordered(rows, "fail-task", first)
    ordered(rows, "fail-task", second)


def test_a_blocked_task_waits_again_once_nothing_blocks_it(rows: Rows) -> None:
    """What still blocks it refuses."""
    stream = rows.stream()
    first = rows.task(stream)
    task = rows.task(stream, on=[first])
    ordered(rows, "fail-task", first)
    with rows.store.begin() as dao:
        dao.tasks.advance(task, TaskTrigger.DEPENDENCY_CHECK_FAILED, blocked_by=[first])
    assert "nothing blocks it any more" in refused(rows, GuardRefused, "unblock-task", task)
    ordered(rows, "reset-task", first)
    assert rows.states(tasks=task) == ["pending"]
    other = rows.task(stream, queued=True)
    with rows.store.begin() as dao:
        dao.tasks.advance(other, TaskTrigger.GATE_FAILED, blocked_by=["gate"])
    ordered(rows, "unblock-task", other)
    assert rows.states(tasks=other) == ["pending"]


def test_a_reset_puts_a_new_task_in_the_place_of_the_old_one(rows: Rows) -> None:
    """With what it waits for and its entry gates; whoever still waits for the old one waits for it, queued or not."""
    stream = rows.stream()
    base = rows.task(stream, queued=True)
    with rows.store.begin() as dao:
        worker = dao.workers.create(worker_type="slot", run_id=rows.run_id).id
        dao.workers.advance(worker, "registered")
        dao.tasks.claim(base, worker)
    ordered(rows, "complete-task", base)
    old = rows.task(stream, on=[base], is_critical=True, description="fix", metadata={"key": "ws/fix", "gaps": ["g"]})
    with rows.store.begin() as dao:
        gate = dao.test_gates.create(run_id=rows.run_id, gate_type="UNIT").id
        dao.tasks.gate(old, gate, role="entry")
    ended, waiting = rows.task(stream, on=[base]), rows.task(stream, queued=True)
    with rows.store.begin() as dao:
        dao.tasks.depends(waiting, on=[old])
        dao.tasks.advance(old, TaskTrigger.USER_CANCELLED)
        dao.tasks.depends(ended, on=[old])
        dao.tasks.advance(ended, TaskTrigger.USER_CANCELLED)
    done = ordered(rows, "reset-task", old)
    new = next(change.entity_id for change in done.changes if change.from_state is None)
    with rows.store.begin(read_only=True) as dao:
        row = dao.tasks.get(new)
        assert (row.state, row.retry_of, row.is_critical, row.description) == ("pending", old, True, "fix")
        assert row.info == {"key": "ws/fix", "gaps": ["g"]}
        assert [other.id for other in dao.tasks.dependencies(new)] == [base]
        assert dao.task_links.entry_gates(new) == [gate]
        assert [other.id for other in dao.task_links.dependents(new)] == [waiting]
        assert [other.id for other in dao.task_links.dependents(old)] == [ended]
        assert old not in {other.id for other in dao.tasks.standing(stream)}
    assert rows.states(tasks=waiting) == ["pending"]
    assert f"to reset {new} instead" in refused(rows, InvalidValue, "reset-task", old)
    assert "one that has ended" in refused(rows, InvalidValue, "reset-task", new)


def test_a_chain_that_failed_is_reset_in_any_order(rows: Rows) -> None:
    """Each new task waits for the new one before it, not for the one that failed."""
    stream = rows.stream()
    first = rows.task(stream)
    second = rows.task(stream, on=[first])
    ordered(rows, "fail-task", first)
    ordered(rows, "fail-task", second)
    for first_goes_first in (True, False):
        made = {
            old: next(c.entity_id for c in ordered(rows, "reset-task", old).changes if c.from_state is None)
            for old in ([first, second] if first_goes_first else [second, first])
        }
        with rows.store.begin(read_only=True) as dao:
            assert [row.id for row in dao.tasks.dependencies(made[second])] == [made[first]]
        first, second = made[first], made[second]
        ordered(rows, "fail-task", first)
        ordered(rows, "fail-task", second)


def test_a_task_that_was_reset_no_longer_fails_its_workstream(rows: Rows) -> None:
    """Only the task that stands in its place counts."""
    stream = rows.stream(ready=False)
    old = rows.task(stream, queued=True, is_critical=True)
    with rows.store.begin() as dao:
        dao.workstreams.advance(stream, "tasks_created")
    ordered(rows, "fail-task", old)
    new = next(c.entity_id for c in ordered(rows, "reset-task", old).changes if c.from_state is None)
    with rows.store.begin() as dao:
        worker = dao.workers.create(worker_type="slot", run_id=rows.run_id).id
        dao.workers.advance(worker, "registered")
        dao.tasks.advance(new, TaskTrigger.SCHEDULER_ASSIGNED)
        dao.tasks.claim(new, worker)
        dao.workstreams.advance(stream, "first_task_started")
    ordered(rows, "complete-task", new)
    with rows.store.begin() as dao:
        dao.workstreams.advance(stream, "all_tasks_completed")
    assert rows.states(workstreams=stream) == ["validating"]


def test_in_what_has_ended_nothing_is_done_again(rows: Rows) -> None:
    """Neither in a workstream that has ended nor in a run."""
    stream = rows.stream()
    task = rows.task(stream)
    ordered(rows, "skip-workstream", stream)
    assert rows.states(workstreams=stream, tasks=task) == ["skipped", "cancelled"]
    assert "the workstream of task" in refused(rows, InvalidValue, "reset-task", task)
    assert "it can't take disabled" in refused(rows, InvalidTransition, "skip-workstream", stream)
    with rows.store.begin() as dao:
        dao.runs.advance(rows.run_id, "run_crashed", error="x")
    assert "the run of task" in refused(rows, InvalidValue, "reset-task", task)


def test_a_workstream_that_is_at_work_is_failed_and_not_skipped(rows: Rows) -> None:
    """Its running task is cancelled and its worker free; one that has not begun can't be failed, only skipped."""
    stream, other = rows.stream(), rows.stream()
    task, worker = rows.running(stream)
    assert "it can't take disabled" in refused(rows, InvalidTransition, "skip-workstream", stream)
    assert "it can't take incomplete" in refused(rows, InvalidTransition, "fail-workstream", other)
    ordered(rows, "fail-workstream", stream)
    assert rows.states(workstreams=stream, tasks=task, workers=worker) == ["failed", "cancelled", "idle"]


def test_a_driver_that_only_slept_is_fenced_off_by_an_override(rows: Rows, clock: SetClock) -> None:
    """What it has in its memory is not so any more."""
    task, _ = rows.running(rows.stream())
    rows.drive()
    with rows.store.begin(read_only=True) as dao:
        epoch = dao.runs.get(rows.run_id).epoch
    clock.pass_by(61)
    ordered(rows, "fail-task", task)

    def late() -> None:
        with rows.store.begin(fence=Fence(rows.run_id, epoch)) as dao:
            dao.tasks.change(task, metadata={"late": True})

    with pytest.raises(Superseded):
        late()


@pytest.mark.parametrize(
    "action", ["complete-task", "fail-task", "reset-task", "unblock-task", "skip-workstream", "fail-workstream"]
)
def test_what_a_living_process_drives_is_left_to_it(rows: Rows, action: str) -> None:
    """With a sentence that names the process."""
    stream = rows.stream()
    task, _ = rows.running(stream)
    rows.drive()
    assert "is driven by process" in refused(rows, RunDriven, action, task if "task" in action else stream)


def test_a_breaker_is_reset_by_the_name_of_its_tool(store: Store, opened: ToolBreakers) -> None:
    """And refused when there is nothing to reset."""
    assert opened is not None
    done = override(store, "reset-breaker", "tool", **ADA)
    assert [change.to_state for change in done.changes] == ["HALF_OPEN", "CLOSED"]
    with store.begin(read_only=True) as dao:
        (*_, last) = dao.transitions.of_entity("circuit_breaker", done.entity_id)
    assert (last.trigger, last.operator, done.run_id) == ("manual_override", "ada", None)
    with pytest.raises(InvalidTransition, match="is CLOSED"):
        override(store, "reset-breaker", done.entity_id, **ADA)
    assert verify(store).ok


def test_a_patch_is_dropped_unless_something_is_made_of_it(rows: Rows) -> None:
    """A quarantined one even beside a living driver; one that is being worked on is not."""
    task, _ = rows.running(rows.stream())
    with rows.store.begin() as dao:
        patch, other = (dao.patches.create(task_id=task, content=b"x").id for _ in range(2))
        entry, open_entry = dao.ledger.create(patch_id=patch).id, dao.ledger.create(patch_id=other).id
        dao.ledger.advance(entry, PatchTrigger.VALIDATION_FAILED, quarantine_reason="bad")
    rows.drive()
    refused(rows, RunDriven, "drop-patch", open_entry)
    ordered(rows, "drop-patch", patch)
    assert rows.states(ledger=entry) == ["dropped"]
    refused(rows, InvalidTransition, "drop-patch", entry)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(sorted(set(Override) - {"quarantine-run"})), st.integers(0, 9)), max_size=8))
def test_whatever_is_ordered_the_trail_verifies(store: Store, orders: list[tuple[Override, int]]) -> None:
    """Each order is carried out whole, or refused with an error of ours and nothing changed."""
    rows = Rows(store)
    streams = [rows.stream(), rows.stream()]
    ids = [*streams, rows.running(streams[0])[0], rows.task(streams[0]), rows.task(streams[1], queued=True)]
    for action, number in orders:
        before = everything(store)
        try:
            done = override(store, action, ids[number % len(ids)], **ADA)
        except AcmsError:
            assert everything(store) == before
        else:
            ids += [change.entity_id for change in done.changes if change.from_state is None]
    assert verify(store).ok
