"""Overrides: by a person with a reason, along legal edges, all of it or nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from breakers import SetClock
from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from operated import Rows, everything, leave, merged, patched
from repositories import git

from prefect_acms.blocks.config import GateSettings
from prefect_acms.canonical.errors import (
    AcmsError,
    GuardRefused,
    InvalidTransition,
    InvalidValue,
    NotFound,
    RunDriven,
    RunEnding,
    Superseded,
    UnknownName,
)
from prefect_acms.canonical.overrides import Override
from prefect_acms.canonical.patch import PatchTrigger
from prefect_acms.canonical.task import TaskTrigger
from prefect_acms.dao.audit import verify
from prefect_acms.dao.store import Fence, Store
from prefect_acms.tasks.breakers import ToolBreakers
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.overrides import Overridden, override

ADA = {"operator": "ada", "reason": "it hangs"}
GATES = GateSettings(lint_enabled=False, unit=("true",))


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


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


# with a repository


def two(tmp_path: Path, url: str, **facts: Any) -> Planned:
    """Two workstreams of one file each, driven by this process."""
    drive = started_run(repository_of(tmp_path / "shop", {"a.py": "A = 1\n", "b.py": "B = 1\n"}), url, gates=GATES)
    a, b = a_gap("a", "a.py"), a_gap("b", "b.py")
    tasks = [a_task("ws-01/one", [a], **facts), a_task("ws-02/one", [b])]
    return Planned(drive, a_plan(drive, tasks, [a, b]))


def write_late(drive: Drive) -> None:
    """What a driver does that has not yet heard that it drives no more."""
    with drive.begin() as dao:
        dao.runs.change(drive.run_id, metadata={"late": True})


def test_a_failed_workstream_keeps_its_patches_out_and_defers_its_gaps(tmp_path: Path, canonical_url: str) -> None:
    """The patch is quarantined with the reason, the gap is deferred with it, the other workstream is as it was."""
    planned = two(tmp_path, canonical_url)
    entry = patched(planned, "ws-01/one", {"a.py": "A = 2\n"})
    leave(planned.drive)
    override(planned.drive.store, "fail-workstream", planned.workstream("ws-01").id, **ADA)
    assert (planned.workstream("ws-01").state, planned.workstream("ws-01").error) == ("failed", "it hangs")
    assert planned.workstream("ws-02").state == "planned"
    with planned.drive.reading() as dao:
        assert dao.ledger.get(entry.id).state == "quarantined"
        gaps = {gap.fingerprint: (gap.state, gap.deferred_reason) for gap in dao.gaps.of_run(planned.drive.run_id)}
    assert gaps == {"a": ("deferred", "it hangs"), "b": ("planned", None)}
    override(planned.drive.store, "skip-workstream", planned.workstream("ws-02").id, **ADA)
    assert (planned.workstream("ws-02").state, planned.task("ws-02/one").state) == ("skipped", "cancelled")
    with planned.drive.reading() as dao:
        assert {gap.deferred_reason for gap in dao.gaps.of_run(planned.drive.run_id)} == {"it hangs"}
    trail = (planned.drive.folder / "transitions.jsonl").read_text().splitlines()
    assert [json.loads(line)["trigger"] for line in trail].count("manual_override") == 2
    assert verify(planned.drive.store).ok


def test_a_merge_that_nobody_recorded_is_validated_and_one_that_was_not_made_is_not(
    tmp_path: Path, canonical_url: str
) -> None:
    """It is git that says whether it is merged; a merged workstream can't be failed any more."""
    planned = two(tmp_path, canonical_url)
    drive, stream = planned.drive, planned.workstream("ws-01")
    entry = patched(planned, "ws-01/one", {"a.py": "A = 2\n"})
    leave(drive)
    before = everything(drive.store)
    with pytest.raises(GuardRefused, match="the branch has been merged"):
        override(drive.store, "validate-workstream", stream.id, **ADA)
    assert everything(drive.store) == before
    drive.repository.move_ref(drive.result_ref, str(entry.info["commit"]), None)
    with drive.store.begin() as dao:
        dao.workstreams.advance(stream.id, "all_tasks_completed")
    with pytest.raises(InvalidValue, match="can only be validated"):
        override(drive.store, "fail-workstream", stream.id, **ADA)
    done = override(drive.store, "validate-workstream", stream.id, **ADA)
    assert planned.workstream("ws-01").state == "completed"
    with drive.reading() as dao:
        assert dao.ledger.get(entry.id).commit_sha == entry.info["commit"]
        assert {gap.state for gap in dao.gaps.of_workstream(stream.id)} == {"deferred"}  # its source can't be asked
    assert done.entity_id == stream.id
    assert verify(drive.store).ok


def test_a_run_is_quarantined_whoever_drives_it(tmp_path: Path, canonical_url: str) -> None:
    """Children first, in one unit with the notice; what was merged stays, the rest is kept out, its driver too."""
    planned = two(tmp_path, canonical_url)
    drive = planned.drive
    kept, open_entry = patched(planned, "ws-01/one", {"a.py": "2"}), patched(planned, "ws-02/one", {"b.py": "2"})
    merged(planned, "ws-01")
    with drive.leased():
        override(drive.store, "quarantine-run", drive.run_id, **ADA)
        with pytest.raises((Superseded, RunEnding)):
            write_late(drive)
    with drive.reading() as dao:
        run = dao.runs.get(drive.run_id)
        assert (run.state, run.quarantine_reason) == ("quarantined", "it hangs")
        assert dao.ledger.get(kept.id).state == "committed"
        assert dao.ledger.get(open_entry.id).state == "quarantined"
        last = dao.transitions.of_run(drive.run_id)[-2:]
    assert [(row.trigger, row.operator) for row in last] == [("safety_violation", "ada"), ("manual_override", "ada")]
    assert git(drive.repository.top, "worktree", "list").count("\n") == 1
    assert (drive.folder / "summary.json").exists()
    before = everything(drive.store)
    with pytest.raises(InvalidTransition, match="is quarantined: it can't take safety_violation"):
        override(drive.store, "quarantine-run", drive.run_id, **ADA)
    assert everything(drive.store) == before
    assert verify(drive.store).ok


def test_a_run_that_has_not_started_is_not_quarantined(store: Store) -> None:
    """It can only be cancelled; nothing is changed by the try."""
    with store.begin() as dao:
        run = dao.runs.create(repo_root="/nowhere", config={"repository": "/nowhere"}).id
    before = everything(store)
    with pytest.raises(InvalidTransition, match="legal from here"):
        override(store, "quarantine-run", run, **ADA)
    assert everything(store) == before
