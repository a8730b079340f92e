"""What guards ask about other rows is gathered inside the transaction, and can't be talked over by the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from prefect_acms.canonical.circuit_breaker import CircuitBreakerTrigger
from prefect_acms.canonical.errors import GuardRefused
from prefect_acms.canonical.gap import GapTrigger
from prefect_acms.canonical.patch import PatchTrigger
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.canonical.task import TaskTrigger
from prefect_acms.canonical.worker import WorkerTrigger
from prefect_acms.canonical.workstream import WorkstreamTrigger
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.store import UnitOfWork

if TYPE_CHECKING:
    from tests.dao.conftest import World

VALID: dict[str, Any] = {"validation_format": True, "validation_scope": True, "validation_constraints": True}


def run_task(world: World, task_id: str, run_id: str) -> None:
    """Bring a queued task to `validating`."""
    worker = world.worker(run_id)
    with world.store.begin() as dao:
        dao.tasks.claim(task_id, worker.id)
        dao.tasks.advance(task_id, TaskTrigger.EXECUTION_COMPLETED, exit_code=0, facts={"expected_exit_codes": {0}})
        dao.workers.advance(worker.id, WorkerTrigger.TASK_FINISHED)


def finish_task(world: World, task_id: str, run_id: str) -> None:
    """Bring a queued task to `completed`."""
    run_task(world, task_id, run_id)
    with world.store.begin() as dao:
        dao.tasks.advance(task_id, TaskTrigger.VALIDATION_PASSED)


def apply_patch(dao: UnitOfWork, entry_id: str) -> None:
    """Bring a ledger entry to `applied`."""
    dao.ledger.advance(entry_id, PatchTrigger.VALIDATION_PASSED, **VALID)
    dao.ledger.advance(entry_id, PatchTrigger.ACCEPTED, facts={"review_required": False})
    dao.ledger.advance(entry_id, PatchTrigger.APPLY_SUCCEEDED)


def test_a_task_waits_for_every_task_it_depends_on(any_world: World) -> None:
    """To be queued it needs all of them completed; a failed one blocks, and a blocked one holds up too."""
    run = any_world.run()
    stream = any_world.stream(run.id)
    first, second = any_world.task(stream.id, queued=True), any_world.task(stream.id)
    with any_world.store.begin() as dao:
        dao.tasks.depends(second.id, on=[first.id])
        assert [task.id for task in dao.tasks.dependencies(second.id)] == [first.id]
        with pytest.raises(GuardRefused, match="every task it depends on"):
            dao.tasks.advance(second.id, TaskTrigger.SCHEDULER_ASSIGNED)
        with pytest.raises(GuardRefused):
            dao.tasks.advance(second.id, TaskTrigger.SCHEDULER_ASSIGNED, facts={"dependency_states": []})
        with pytest.raises(GuardRefused, match="failed, cancelled or held"):
            dao.tasks.advance(second.id, TaskTrigger.DEPENDENCY_CHECK_FAILED, blocked_by=[first.id])
    finish_task(any_world, first.id, run.id)
    with any_world.store.begin() as dao:
        dao.tasks.advance(second.id, TaskTrigger.SCHEDULER_ASSIGNED)


def test_an_entry_gate_must_have_passed(any_world: World) -> None:
    """A failed entry gate blocks; when it was run again, only the last run counts."""
    run = any_world.run()
    task = any_world.task(any_world.stream(run.id).id)
    gate = any_world.gate(run.id, "FAILED", task_id=task.id)
    with any_world.store.begin() as dao:
        dao.tasks.gate(task.id, gate.id, role="entry")
        with pytest.raises(GuardRefused):
            dao.tasks.advance(task.id, TaskTrigger.SCHEDULER_ASSIGNED)
        dao.tasks.advance(task.id, TaskTrigger.DEPENDENCY_CHECK_FAILED, blocked_by=[gate.id])
        with pytest.raises(GuardRefused, match="nothing blocks it any more"):
            dao.tasks.advance(task.id, TaskTrigger.DEPENDENCY_SATISFIED)
    again = any_world.gate(run.id, "FAILED", rerun_of=gate.id)
    with any_world.store.begin() as dao, pytest.raises(GuardRefused):
        dao.tasks.advance(task.id, TaskTrigger.DEPENDENCY_SATISFIED)
    any_world.gate(run.id, "PASSED", rerun_of=again.id)
    with any_world.store.begin() as dao:
        dao.tasks.advance(task.id, TaskTrigger.DEPENDENCY_SATISFIED)
        dao.tasks.advance(task.id, TaskTrigger.SCHEDULER_ASSIGNED)
        assert dao.tasks.get(task.id).blocked_by is None


def test_a_task_completes_when_its_gates_passed_and_its_patch_is_kept(any_world: World) -> None:
    """A pending exit gate or a patch that is not verified holds it; the order is gates, patch, task."""
    run = any_world.run()
    stream = any_world.stream(run.id)
    task = any_world.task(stream.id, queued=True)
    entry = any_world.entry(task.id)
    gate = any_world.gate(run.id, task_id=task.id, metadata={"ledger_entry": entry.id})
    run_task(any_world, task.id, run.id)
    said: dict[str, Any] = {"exit_code": 0, "stdout": "", "stderr": "", "duration_sec": 1}
    with any_world.store.begin() as dao:
        dao.tasks.gate(task.id, gate.id)
        apply_patch(dao, entry.id)
        with pytest.raises(GuardRefused, match="every required gate is PASSED"):
            dao.ledger.advance(entry.id, PatchTrigger.GATES_PASSED, validation_tests_passed=True)
        dao.test_gates.advance(gate.id, "gate_started")
        dao.test_gates.advance(gate.id, "expected_exit_code", **said)
        with pytest.raises(GuardRefused, match="every exit gate is PASSED"):
            dao.tasks.advance(task.id, TaskTrigger.VALIDATION_PASSED)
        dao.ledger.advance(entry.id, PatchTrigger.GATES_PASSED, validation_tests_passed=True)
        dao.tasks.advance(task.id, TaskTrigger.VALIDATION_PASSED)
        dao.ledger.advance(entry.id, PatchTrigger.COMMIT_SUCCEEDED, commit_sha="c0ffee")


def test_the_failed_gate_of_an_isolated_part_does_not_hold_up_the_rest(any_world: World) -> None:
    """A patch was split: its gate failed, the guilty part is quarantined, the good part completes the task."""
    run = any_world.run()
    task = any_world.task(any_world.stream(run.id).id, queued=True)
    whole = any_world.entry(task.id)
    run_task(any_world, task.id, run.id)
    good, bad = (any_world.entry(task.id, supersedes=whole.id) for _ in range(2))
    with any_world.store.begin() as dao:
        assert [row.id for row in dao.ledger.superseded_by(whole.id)] == [good.id, bad.id]
    for entry, outcome in ((whole, "FAILED"), (good, "PASSED"), (bad, "FAILED")):
        gate = any_world.gate(run.id, outcome, task_id=task.id, metadata={"ledger_entry": entry.id})
        with any_world.store.begin() as dao:
            dao.tasks.gate(task.id, gate.id)
    with any_world.store.begin() as dao:
        dao.ledger.advance(whole.id, PatchTrigger.SUPERSEDED)
        apply_patch(dao, good.id)
        apply_patch(dao, bad.id)
        dao.ledger.advance(good.id, PatchTrigger.GATES_PASSED, validation_tests_passed=True)
        with pytest.raises(GuardRefused):
            dao.ledger.advance(bad.id, PatchTrigger.GATES_PASSED, validation_tests_passed=True)
        with pytest.raises(GuardRefused, match="reverted first"):
            dao.ledger.advance(bad.id, PatchTrigger.GATES_FAILED, quarantine_reason="breaks test_x")
        with pytest.raises(GuardRefused):
            dao.tasks.advance(task.id, TaskTrigger.VALIDATION_PASSED)
        dao.ledger.advance(bad.id, PatchTrigger.GATES_FAILED, quarantine_reason="breaks x", facts={"reverted": True})
        dao.tasks.advance(task.id, TaskTrigger.VALIDATION_PASSED, metadata={"partial": True})


def test_a_rerun_judges_the_patch_of_the_gate_it_runs_again(any_world: World) -> None:
    """Also when the rerun doesn't name the patch: a failed gate can't be lost that way."""
    run = any_world.run()
    task = any_world.task(any_world.stream(run.id).id)
    entry = any_world.entry(task.id)
    gate = any_world.gate(run.id, "FAILED", metadata={"ledger_entry": entry.id})
    any_world.gate(run.id, "FAILED", rerun_of=gate.id)
    with any_world.store.begin() as dao:
        dao.tasks.gate(task.id, gate.id)
        apply_patch(dao, entry.id)
        with pytest.raises(GuardRefused):
            dao.ledger.advance(entry.id, PatchTrigger.GATES_PASSED, validation_tests_passed=True)


def test_a_workstream_starts_when_its_prerequisites_are_met_and_its_tasks_exist(any_world: World) -> None:
    """Without a task it stays planned; with an open prerequisite it is blocked; with a lost one it fails."""
    run = any_world.run()
    first, second = any_world.stream(run.id), any_world.stream(run.id)
    with any_world.store.begin() as dao:
        dao.workstreams.depends(second.id, on=[first.id])
        assert [row.id for row in dao.workstreams.prerequisites(second.id)] == [first.id]
        with pytest.raises(GuardRefused, match="all planned tasks exist"):
            dao.workstreams.advance(first.id, WorkstreamTrigger.TASKS_CREATED)
        with pytest.raises(GuardRefused, match="a prerequisite is not"):
            dao.workstreams.advance(first.id, WorkstreamTrigger.DEPENDENCY_UNSATISFIED)
        dao.workstreams.advance(second.id, WorkstreamTrigger.DEPENDENCY_UNSATISFIED)
    any_world.task(second.id)
    with any_world.store.begin() as dao:
        with pytest.raises(GuardRefused):
            dao.workstreams.advance(second.id, WorkstreamTrigger.DEPENDENCIES_MET)
        with pytest.raises(GuardRefused):
            dao.workstreams.advance(second.id, WorkstreamTrigger.DEPENDENCY_UNSATISFIABLE, error="lost")
        dao.workstreams.advance(first.id, WorkstreamTrigger.DISABLED)
        dao.workstreams.advance(second.id, WorkstreamTrigger.DEPENDENCIES_MET)
        with pytest.raises(GuardRefused, match="a task is running"):
            dao.workstreams.advance(second.id, WorkstreamTrigger.FIRST_TASK_STARTED)


def whole_stream(world: World, run_id: str, **columns: Any) -> tuple[str, str, LedgerRow]:
    """A workstream in `validating` whose one task is completed with a verified patch."""
    stream = world.stream(run_id, **columns)
    task = world.task(stream.id, queued=True)
    worker = world.worker(run_id)
    entry = world.entry(task.id)
    with world.store.begin() as dao:
        dao.workstreams.advance(stream.id, WorkstreamTrigger.TASKS_CREATED)
        dao.tasks.claim(task.id, worker.id)
        dao.workstreams.advance(stream.id, WorkstreamTrigger.FIRST_TASK_STARTED)
        with pytest.raises(GuardRefused, match="every task is completed"):
            dao.workstreams.advance(stream.id, WorkstreamTrigger.ALL_TASKS_COMPLETED)
        dao.tasks.advance(task.id, TaskTrigger.EXECUTION_COMPLETED, exit_code=0, facts={"expected_exit_codes": [0]})
        apply_patch(dao, entry.id)
        dao.ledger.advance(entry.id, PatchTrigger.GATES_PASSED, validation_tests_passed=True)
        dao.tasks.advance(task.id, TaskTrigger.VALIDATION_PASSED)
        dao.workstreams.advance(stream.id, WorkstreamTrigger.ALL_TASKS_COMPLETED)
    return stream.id, task.id, entry


def test_a_workstream_completes_when_its_branch_is_merged_and_its_patches_are_kept(any_world: World) -> None:
    """The merge is stated by who did it; the patches are looked up."""
    run = any_world.run()
    stream_id, task_id, _entry = whole_stream(any_world, run.id)
    late = any_world.entry(task_id)
    with any_world.store.begin() as dao:
        with pytest.raises(GuardRefused, match="the branch has been merged"):
            dao.workstreams.advance(stream_id, WorkstreamTrigger.VALIDATION_PASSED, facts={"merged": True})
        dao.ledger.advance(late.id, PatchTrigger.DISCARDED)
        with pytest.raises(GuardRefused):
            dao.workstreams.advance(stream_id, WorkstreamTrigger.VALIDATION_PASSED)
        dao.workstreams.advance(stream_id, WorkstreamTrigger.VALIDATION_PASSED, facts={"merged": True})


def test_a_run_succeeds_when_its_workstreams_did(any_world: World) -> None:
    """An open workstream holds it; nothing is degraded when all completed or were skipped."""
    run = any_world.run()
    stream_id, _task, _entry = whole_stream(any_world, run.id)
    skipped = any_world.stream(run.id)
    with any_world.store.begin() as dao:
        dao.workstreams.advance(skipped.id, WorkstreamTrigger.DISABLED)
        with pytest.raises(GuardRefused, match="every workstream is completed or skipped"):
            dao.runs.advance(run.id, RunTrigger.ALL_WORKSTREAMS_COMPLETE)
        dao.workstreams.advance(stream_id, WorkstreamTrigger.VALIDATION_PASSED, facts={"merged": True})
        dao.runs.advance(run.id, RunTrigger.ALL_WORKSTREAMS_COMPLETE, metadata={"note": 1})
        assert dao.runs.get(run.id).info == {"note": 1}


@pytest.mark.parametrize("allowed", [True, False, None])
def test_the_policy_of_the_run_says_what_becomes_of_a_degraded_one(any_world: World, *, allowed: bool | None) -> None:
    """A failure that is not critical is allowed by default, and then told in the metadata."""
    config = {} if allowed is None else {"execution": {"allow_noncritical_failures": allowed}}
    run = any_world.run(config=config, metadata={"kept": True})
    done, _task, _entry = whole_stream(any_world, run.id)
    lost, _task, _entry = whole_stream(any_world, run.id)
    with any_world.store.begin() as dao:
        dao.workstreams.advance(done, WorkstreamTrigger.VALIDATION_PASSED, facts={"merged": True})
        dao.workstreams.advance(lost, WorkstreamTrigger.VALIDATION_FAILED, error="the merge conflicts")
        if allowed is False:
            with pytest.raises(GuardRefused):
                dao.runs.advance(run.id, RunTrigger.ALL_WORKSTREAMS_COMPLETE)
            dao.runs.advance(run.id, RunTrigger.INCOMPLETE, error="1 of 2 workstreams failed")
            return
        dao.runs.advance(run.id, RunTrigger.ALL_WORKSTREAMS_COMPLETE)
        after = dao.runs.get(run.id)
    assert (after.state, after.info) == ("succeeded", {"kept": True, "degraded": True})


def test_a_critical_workstream_fails_its_run(any_world: World) -> None:
    """Only a critical one does so by that trigger."""
    run = any_world.run()
    plain, critical = any_world.stream(run.id), any_world.stream(run.id, is_critical=True)
    with any_world.store.begin() as dao:
        for stream in (plain, critical):
            dao.workstreams.advance(stream.id, WorkstreamTrigger.RUN_ENDED)
        with pytest.raises(GuardRefused, match="a critical workstream failed"):
            dao.runs.advance(run.id, RunTrigger.CRITICAL_WORKSTREAM_FAILED, error="?")


def test_retries_are_counted_by_the_row(any_world: World) -> None:
    """With no retry left an error fails the task, whatever the caller says of the count."""
    run = any_world.run()
    task = any_world.task(any_world.stream(run.id).id, queued=True, max_retries=0)
    with any_world.store.begin() as dao:
        dao.tasks.claim(task.id, any_worker(dao, run.id))
        lies = {"retryable": True, "retry_count": -1, "max_retries": 9}
        event = dao.tasks.advance(task.id, TaskTrigger.TIMEOUT_EXCEEDED, last_error="1800 s", facts=lies)
    assert event.to_state == "failed"


def any_worker(dao: UnitOfWork, run_id: str) -> str:
    """A new idle worker."""
    worker = dao.workers.create(worker_type="thread", run_id=run_id)
    dao.workers.advance(worker.id, WorkerTrigger.REGISTERED)
    return worker.id


def test_a_breaker_probes_after_its_cooldown_or_for_an_operator(any_world: World) -> None:
    """The cooldown is a column of the row, the time it was open is reckoned."""
    store = any_world.store
    with store.begin() as dao:
        breaker = dao.circuit_breakers.create(tool_id=store.ids.new("tool"), cooldown_seconds=3600)
        dao.circuit_breakers.advance(breaker.id, CircuitBreakerTrigger.FAILURE_THRESHOLD_EXCEEDED, failure_count=5)
        with pytest.raises(GuardRefused, match="cooldown has passed"):
            dao.circuit_breakers.advance(breaker.id, CircuitBreakerTrigger.COOLDOWN_EXPIRED, operator="ada")
        with pytest.raises(GuardRefused):
            dao.circuit_breakers.advance(breaker.id, CircuitBreakerTrigger.MANUAL_RESET)
        dao.circuit_breakers.advance(breaker.id, CircuitBreakerTrigger.MANUAL_RESET, operator="ada")
        dao.circuit_breakers.advance(breaker.id, CircuitBreakerTrigger.PROBE_FAILED)
        dao.circuit_breakers.change(breaker.id, cooldown_seconds=0)
        dao.circuit_breakers.advance(breaker.id, CircuitBreakerTrigger.COOLDOWN_EXPIRED)
        dao.circuit_breakers.advance(breaker.id, CircuitBreakerTrigger.SUCCESS_THRESHOLD_MET)
        found = dao.circuit_breakers.for_tool(breaker.tool_id)
    assert found is not None
    assert (found.state, found.failure_count) == ("CLOSED", 0)


def test_a_gap_is_resolved_when_the_rescan_no_longer_finds_it(any_world: World) -> None:
    """The fingerprint is the row's own; what the rescan found is stated."""
    run = any_world.run()
    stream, gap = any_world.stream(run.id), any_world.gap(run.id, fingerprint="abc")
    with any_world.store.begin() as dao:
        dao.gaps.advance(gap.id, GapTrigger.CLUSTERED, workstream_id=stream.id)
        dao.gaps.advance(gap.id, GapTrigger.PLAN_COMPILED)
        dao.gaps.advance(gap.id, GapTrigger.TASK_STARTED)
        for facts in ({}, {"rescan_fingerprints": {"abc"}}, {"rescan_fingerprints": {"abc"}, "fingerprint": "x"}):
            with pytest.raises(GuardRefused, match="no longer finds its fingerprint"):
                dao.gaps.advance(gap.id, GapTrigger.RESCAN_CLEAN, facts=facts)
        dao.gaps.advance(gap.id, GapTrigger.RESCAN_CLEAN, facts={"rescan_fingerprints": {"abd"}})
        assert [row.id for row in dao.gaps.of_run(run.id, state="resolved")] == [gap.id]


def test_a_patch_is_applied_three_times_at_most(any_world: World) -> None:
    """The attempts are counted by the edge and stand in the row."""
    run = any_world.run()
    entry = any_world.entry(any_world.task(any_world.stream(run.id).id).id)
    with any_world.store.begin() as dao:
        dao.ledger.advance(entry.id, PatchTrigger.VALIDATION_PASSED, **VALID)
        dao.ledger.advance(entry.id, PatchTrigger.REVIEW_REQUIRED)
        dao.ledger.advance(entry.id, PatchTrigger.REVIEW_APPROVED, operator="ada")
        for attempt in (1, 2, 3):
            dao.ledger.advance(entry.id, PatchTrigger.APPLY_FAILED, last_error="line 3")
            assert dao.ledger.get(entry.id).apply_attempts == attempt
            if attempt < 3:
                dao.ledger.advance(entry.id, PatchTrigger.APPLY_RETRY)
        with pytest.raises(GuardRefused, match="fewer than 3 times"):
            dao.ledger.advance(entry.id, PatchTrigger.APPLY_RETRY)
        dao.ledger.advance(entry.id, PatchTrigger.APPLY_EXHAUSTED, quarantine_reason="does not apply")


def test_a_committed_patch_is_rolled_back_after_its_compensation(any_world: World) -> None:
    """By a named person, when the plan has succeeded."""
    run = any_world.run()
    _stream, _task, entry = whole_stream(any_world, run.id)
    plan: dict[str, Any] = {"rollback_reason": "slow", "rollback_compensation": {"revert": "c0ffee"}, "operator": "ada"}
    with any_world.store.begin() as dao:
        dao.ledger.advance(entry.id, PatchTrigger.COMMIT_SUCCEEDED, commit_sha="c0ffee")
        with pytest.raises(GuardRefused, match="compensation plan"):
            dao.ledger.advance(entry.id, PatchTrigger.ROLLBACK_APPROVED, **plan)
        dao.ledger.advance(entry.id, PatchTrigger.ROLLBACK_APPROVED, **plan, facts={"compensated": True})
        assert dao.ledger.get(entry.id).rollback_compensation == {"revert": "c0ffee"}
