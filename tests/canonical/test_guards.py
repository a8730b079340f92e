"""Every guard says yes and no: cases for each condition in it, so that a guard broken by hand turns one red."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_acms.canonical import circuit_breaker, gap, patch, run, task, worker, workstream
from prefect_acms.canonical.machine import Guard
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.verdicts import Child, PatchFact

Facts = dict[str, Any]

DONE, SKIPPED, FAILED, CANCELLED, BUSY = (
    Child(state) for state in ("completed", "skipped", "failed", "cancelled", "executing")
)
BAD = Child("failed", is_critical=True)
VERIFIED, COMMITTED, APPLIED, DROPPED, QUARANTINED = (
    PatchFact(state) for state in ("verified", "committed", "applied", "dropped", "quarantined")
)
CRITICAL_QUARANTINED = PatchFact("quarantined", is_critical=True)
REPLACED = PatchFact("quarantined", replaced=True, is_critical=True)


def _waits(dependencies: list[str], gates: list[str]) -> Facts:
    return {"dependency_states": dependencies, "entry_gate_states": gates}


def _tries(count: int, *, retryable: bool) -> Facts:
    return {"retry_count": count, "max_retries": 3, "retryable": retryable}


def _flags(marks: str) -> Facts:
    """Format, scope, constraints: + passed, - did not, ? not looked at."""
    flags = ({"+": True, "-": False, "?": None}[mark] for mark in marks)
    return dict(zip(("validation_format", "validation_scope", "validation_constraints"), flags, strict=True))


def _probe(trigger: str, operator: str | None, seconds: float) -> Facts:
    return {"trigger": trigger, "operator": operator, "open_for_sec": seconds, "cooldown_seconds": 60}


def _finished(gates: list[str], *patches: PatchFact) -> Facts:
    return {"exit_gate_states": gates, "patches": list(patches)}


def _fit(required: list[str], able: list[str], affinity: str | None = None, **facts: Any) -> Facts:
    return {"required_capabilities": required, "capabilities": able, "affinity": affinity, **facts}


def _load(current: int, trigger: str) -> Facts:
    return {"current_load": current, "trigger": trigger}


CASES: list[tuple[Guard, list[Facts], list[Facts]]] = [
    (
        run.COMPLETE,
        [
            {"workstreams": []},
            {"workstreams": [DONE, SKIPPED]},
            {"workstreams": [DONE, FAILED], "allow_noncritical_failures": True},
            {"workstreams": [DONE, CANCELLED], "allow_noncritical_failures": True},
        ],
        [
            {"workstreams": [DONE, BUSY]},
            {"workstreams": [DONE, FAILED]},
            {"workstreams": [DONE, FAILED], "allow_noncritical_failures": False},
            {"workstreams": [DONE, BAD], "allow_noncritical_failures": True},
            {"workstreams": [FAILED, SKIPPED], "allow_noncritical_failures": True},
            {"workstreams": [DONE, FAILED, BUSY], "allow_noncritical_failures": True},
        ],
    ),
    (
        run.FAILED,
        [
            {"trigger": "run_crashed", "workstreams": [BUSY]},
            {"trigger": "critical_workstream_failed", "workstreams": [DONE, BAD, BUSY]},
            {"trigger": "incomplete", "workstreams": [DONE, FAILED]},
            {"trigger": "incomplete", "workstreams": [CANCELLED]},
        ],
        [
            {"trigger": "critical_workstream_failed", "workstreams": [DONE, FAILED]},
            {"trigger": "critical_workstream_failed", "workstreams": [Child("cancelled", is_critical=True)]},
            {"trigger": "incomplete", "workstreams": [FAILED, BUSY]},
            {"trigger": "incomplete", "workstreams": [DONE, SKIPPED]},
            {"trigger": "incomplete", "workstreams": []},
        ],
    ),
    (run.CHILDREN_ENDED, [{"open_children": 0}], [{"open_children": 1}]),
    (
        workstream.READY,
        [
            {"tasks": [Child("pending")], "prerequisite_states": []},
            {"tasks": [Child("pending")], "prerequisite_states": ["completed", "skipped"]},
        ],
        [
            {"tasks": [], "prerequisite_states": []},
            {"tasks": [Child("pending")], "prerequisite_states": ["completed", "executing"]},
            {"tasks": [Child("pending")], "prerequisite_states": ["failed"]},
        ],
    ),
    (
        workstream.UNSATISFIED,
        [{"prerequisite_states": ["completed", "planned"]}, {"prerequisite_states": ["failed"]}],
        [{"prerequisite_states": []}, {"prerequisite_states": ["completed", "skipped"]}],
    ),
    (
        workstream.UNSATISFIABLE,
        [{"prerequisite_states": ["completed", "failed"]}, {"prerequisite_states": ["cancelled"]}],
        [{"prerequisite_states": []}, {"prerequisite_states": ["executing", "completed", "skipped"]}],
    ),
    (
        workstream.TASK_RUNNING,
        [{"tasks": [Child("pending"), Child("running")]}],
        [{"tasks": []}, {"tasks": [Child("queued"), Child("validating")]}],
    ),
    (
        workstream.TASKS_COMPLETED,
        [{"tasks": [DONE, DONE]}],
        [{"tasks": []}, {"tasks": [DONE, FAILED]}, {"tasks": [DONE, Child("running")]}],
    ),
    (
        workstream.MERGED,
        [
            {"tasks": [DONE], "merged": True, "patches": []},
            {
                "tasks": [DONE],
                "merged": True,
                "patches": [VERIFIED, COMMITTED, DROPPED, QUARANTINED, REPLACED],
            },
        ],
        [
            {"tasks": [DONE], "merged": False, "patches": [COMMITTED]},
            {"tasks": [DONE], "merged": True, "patches": [COMMITTED, APPLIED]},
            {"tasks": [DONE], "merged": True, "patches": [COMMITTED, CRITICAL_QUARANTINED]},
            {"tasks": [DONE, Child("pending")], "merged": True, "patches": [COMMITTED]},
            {"tasks": [], "merged": True, "patches": [COMMITTED]},
        ],
    ),
    (
        task.CLEAR,
        [_waits([], []), _waits(["completed"], ["PASSED", "PASSED"])],
        [_waits(["completed", "running"], []), _waits(["completed"], ["PASSED", "PENDING"]), _waits([], ["FAILED"])],
    ),
    (
        task.HELD_UP,
        [
            _waits(["failed"], []),
            _waits(["completed", "cancelled"], []),
            _waits(["blocked"], []),
            _waits([], ["FAILED"]),
            _waits([], ["PASSED", "BLOCKED"]),
        ],
        [_waits([], []), _waits(["running", "pending", "retrying"], ["PENDING", "RUNNING", "PASSED"])],
    ),
    (
        task.NOT_HELD_UP,
        [_waits([], []), _waits(["running", "completed"], ["PENDING", "PASSED"])],
        [_waits(["failed"], []), _waits(["blocked"], []), _waits(["cancelled"], []), _waits([], ["FAILED"])],
    ),
    (
        task.WORKER_FITS,
        [
            {"worker_state": "idle", "worker_capabilities": [], "required_capabilities": []},
            {"worker_state": "idle", "worker_capabilities": ["lint", "test"], "required_capabilities": ["lint"]},
        ],
        [
            {"worker_state": "busy", "worker_capabilities": ["lint"], "required_capabilities": ["lint"]},
            {"worker_state": "idle", "worker_capabilities": ["test"], "required_capabilities": ["lint"]},
        ],
    ),
    (
        task.EXPECTED_EXIT,
        [{"exit_code": 1, "expected_exit_codes": [0, 1]}],
        [{"exit_code": 2, "expected_exit_codes": [0, 1]}, {"exit_code": None, "expected_exit_codes": [0]}],
    ),
    (
        task.MAY_RETRY,
        [_tries(0, retryable=True), _tries(2, retryable=True)],
        [_tries(3, retryable=True), _tries(0, retryable=False)],
    ),
    (
        task.NO_RETRY,
        [_tries(3, retryable=True), _tries(0, retryable=False)],
        [_tries(0, retryable=True), _tries(2, retryable=True)],
    ),
    (
        task.COMPLETE,
        [
            _finished([]),
            _finished(["PASSED"], VERIFIED),
            _finished(["PASSED"], COMMITTED, QUARANTINED),
            _finished(["PASSED"], DROPPED),
            _finished([], REPLACED),
        ],
        [
            _finished(["PASSED", "FAILED"], VERIFIED),
            _finished(["RUNNING"], VERIFIED),
            _finished(["PASSED"], VERIFIED, APPLIED),
            _finished(["PASSED"], QUARANTINED),
            _finished(["PASSED"], QUARANTINED, DROPPED),
        ],
    ),
    (
        worker.FITS,
        [
            _fit(["lint"], ["lint", "test"]),
            _fit([], [], "repo-a", task_affinity="repo-a"),
            _fit([], [], None, task_affinity="repo-a"),
        ],
        [
            _fit(["lint"], ["test"]),
            _fit([], ["lint"], "repo-a", task_affinity="repo-b"),
            _fit([], ["lint"], "repo-a"),
        ],
    ),
    (
        worker.SILENT,
        [{"heartbeat_age_sec": 120.5}, {"heartbeat_age_sec": 31, "unresponsive_after_sec": 30}],
        [{"heartbeat_age_sec": 120}, {"heartbeat_age_sec": 130, "unresponsive_after_sec": 200}],
    ),
    (
        worker.LOST,
        [{"heartbeat_age_sec": 300.5}, {"heartbeat_age_sec": 61, "lost_after_sec": 60}],
        [{"heartbeat_age_sec": 300}, {"heartbeat_age_sec": 310, "lost_after_sec": 400}],
    ),
    (worker.CLAIM_ENDED, [{"claimed_tasks": 0}], [{"claimed_tasks": 1}]),
    (
        worker.DRAINED,
        [_load(0, "shutdown_requested"), _load(1, "worker_crashed")],
        [_load(1, "shutdown_requested")],
    ),
    (
        patch.VALID,
        [_flags("+++")],
        [_flags("-++"), _flags("+-+"), _flags("++-"), _flags("++?")],
    ),
    (patch.NO_REVIEW, [{"review_required": False}], [{"review_required": True}]),
    (patch.MAY_APPLY_AGAIN, [{"apply_attempts": 2}], [{"apply_attempts": 3}, {"apply_attempts": 4}]),
    (
        patch.GATES_PASSED,
        [{"exit_gate_states": []}, {"exit_gate_states": ["PASSED", "PASSED"]}],
        [{"exit_gate_states": ["PASSED", "FAILED"]}, {"exit_gate_states": ["PENDING"]}],
    ),
    (patch.REVERTED, [{"reverted": True}], [{"reverted": False}]),
    (patch.COMPENSATED, [{"compensated": True}], [{"compensated": False}]),
    (
        circuit_breaker.MAY_PROBE,
        [_probe("cooldown_expired", None, 60), _probe("manual_reset", "ada", 0)],
        [
            _probe("cooldown_expired", None, 59.9),
            _probe("cooldown_expired", "ada", 1),
            _probe("manual_reset", None, 99),
        ],
    ),
    (
        gap.CLEAN,
        [{"fingerprint": "f1", "rescan_fingerprints": {"f2"}}, {"fingerprint": "f1", "rescan_fingerprints": []}],
        [{"fingerprint": "f1", "rescan_fingerprints": ["f1", "f2"]}],
    ),
]

YES = [
    pytest.param(guard, facts, id=f"{guard.sentence}-{n}") for guard, yes, _no in CASES for n, facts in enumerate(yes)
]
NO = [pytest.param(guard, facts, id=f"{guard.sentence}-{n}") for guard, _yes, no in CASES for n, facts in enumerate(no)]


@pytest.mark.parametrize(("guard", "facts"), YES)
def test_a_guard_agrees(guard: Guard, facts: Facts) -> None:
    """What the rule allows is allowed."""
    assert set(guard.needs) <= set(facts)
    assert guard.allows(facts) is True


@pytest.mark.parametrize(("guard", "facts"), NO)
def test_a_guard_refuses(guard: Guard, facts: Facts) -> None:
    """What the rule forbids is forbidden, by the condition itself and not for want of a fact."""
    assert set(guard.needs) <= set(facts)
    assert guard.allows(facts) is False


GUARDED = {
    "run": "running>succeeded:COMPLETE running>failed:FAILED running>canceled:CHILDREN_ENDED",
    "workstream": "planned>ready:READY planned>blocked:UNSATISFIED blocked>ready:READY blocked>failed:UNSATISFIABLE "
    "ready>executing:TASK_RUNNING executing>validating:TASKS_COMPLETED validating>completed:MERGED",
    "task": "pending>queued:CLEAR pending>blocked:HELD_UP queued>running:WORKER_FITS blocked>pending:NOT_HELD_UP "
    "running>validating:EXPECTED_EXIT running>retrying:MAY_RETRY running>failed:NO_RETRY "
    "validating>completed:COMPLETE",
    "worker": "idle>busy:FITS idle>unresponsive:SILENT busy>unresponsive:SILENT busy>shutdown:DRAINED "
    "unresponsive>idle:CLAIM_ENDED unresponsive>shutdown:LOST",
    "uet_worker": "",
    "patch_ledger": "created>validated:VALID validated>queued:NO_REVIEW apply_failed>queued:MAY_APPLY_AGAIN "
    "applied>verified:GATES_PASSED applied>quarantined:REVERTED committed>rolled_back:COMPENSATED",
    "test_gate": "",
    "circuit_breaker": "OPEN>HALF_OPEN:MAY_PROBE",
    "gap": "in_progress>resolved:CLEAN",
}
ROOMS = {
    "run": run,
    "workstream": workstream,
    "task": task,
    "worker": worker,
    "patch_ledger": patch,
    "circuit_breaker": circuit_breaker,
    "gap": gap,
}


@pytest.mark.parametrize("entity", GUARDED)
def test_each_guard_stands_on_its_edge(entity: str) -> None:
    """The guards are where the specification puts them, and nowhere else."""
    names = (
        {id(guard): name for name, guard in vars(ROOMS.get(entity)).items() if isinstance(guard, Guard)}
        if (entity in ROOMS)
        else {}
    )
    found = {
        f"{state}>{edge.target}:{names[id(edge.guard)]}"
        for state, edges in MACHINES[entity].table.items()
        for edge in edges
        if edge.guard
    }
    assert found == set(GUARDED[entity].split())


def test_every_guard_of_every_machine_has_cases_of_both_kinds() -> None:
    """A guard without a yes and a no here would be a guard that nobody watches."""
    tried = {id(guard) for guard, yes, no in CASES if yes and no}
    for machine in MACHINES.values():
        for edges in machine.table.values():
            assert all(id(edge.guard) in tried for edge in edges if edge.guard)


def test_retrying_and_failing_exclude_each_other() -> None:
    """Whatever the counts, of the two ways out of a running task that went wrong exactly one is open."""
    for count in range(6):
        for retryable in (True, False):
            facts = _tries(count, retryable=retryable)
            assert task.MAY_RETRY.allows(facts) != task.NO_RETRY.allows(facts)
