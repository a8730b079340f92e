"""The nine machines, compared edge by edge with a table written out here by hand from the specification.

A line reads `from -> to | triggers | severity | columns that the edge sets | marks`. Columns: `x=now` the moment, `x=?`
handed in by the caller, `x=null` cleared, `x+1` counted up, `x=0` zero. Marks: `guard`, and `operator: trigger …` for
triggers that only a named person may use. A pair without a line is illegal.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import pytest

from prefect_acms.canonical.errors import InvalidTransition
from prefect_acms.canonical.machine import Edge, Fill, Machine
from prefect_acms.canonical.machines import MACHINES, VERSION

STATES = {
    "run": "pending running succeeded failed quarantined canceled",
    "workstream": "planned ready blocked executing validating completed failed cancelled skipped",
    "task": "pending queued blocked running validating retrying completed failed cancelled",
    "worker": "initializing idle busy unresponsive shutdown",
    "uet_worker": "SPAWNING IDLE BUSY DRAINING TERMINATED",
    "patch_ledger": "created validated awaiting_review queued applied apply_failed verified committed rolled_back "
    "quarantined dropped",
    "test_gate": "PENDING RUNNING PASSED FAILED BLOCKED",
    "circuit_breaker": "CLOSED OPEN HALF_OPEN",
    "gap": "discovered clustered planned in_progress resolved deferred",
}

TERMINAL = {
    "run": "succeeded failed quarantined canceled",
    "workstream": "completed failed cancelled skipped",
    "task": "completed failed cancelled",
    "worker": "shutdown",
    "uet_worker": "TERMINATED",
    "patch_ledger": "rolled_back dropped",
    "test_gate": "PASSED FAILED",
    "circuit_breaker": "",
    "gap": "resolved deferred",
}

EDGES = {
    "run": """
        pending -> running     | run_started              | info     | started_at=now |
        pending -> canceled    | user_cancelled           | warning  | completed_at=now |
        running -> succeeded   | all_workstreams_complete | info     | completed_at=now | guard
        running -> failed      | critical_workstream_failed incomplete run_crashed | critical \
            | completed_at=now error=? | guard
        running -> quarantined | safety_violation unresolved_outcome | critical | completed_at=now quarantine_reason=? |
        running -> canceled    | user_cancelled           | warning  | completed_at=now | guard
    """,
    "workstream": """
        planned -> ready        | tasks_created            | info    | | guard
        planned -> blocked      | dependency_unsatisfied   | info    | | guard
        planned -> skipped      | disabled                 | info    | completed_at=now |
        planned -> cancelled    | user_cancelled run_ended | warning | completed_at=now |
        blocked -> ready        | dependencies_met         | info    | | guard
        blocked -> skipped      | disabled                 | info    | completed_at=now |
        blocked -> cancelled    | user_cancelled run_ended | warning | completed_at=now |
        blocked -> failed       | dependency_unsatisfiable | error   | completed_at=now error=? | guard
        ready -> executing      | first_task_started       | info    | started_at=now | guard
        ready -> skipped        | disabled                 | info    | completed_at=now |
        ready -> cancelled      | user_cancelled run_ended | warning | completed_at=now |
        executing -> validating | all_tasks_completed      | info    | | guard
        executing -> failed     | critical_task_failed incomplete quarantined_patch | error | completed_at=now error=? |
        executing -> cancelled  | user_cancelled run_ended | warning | completed_at=now |
        validating -> completed | validation_passed        | info    | completed_at=now | guard
        validating -> failed    | validation_failed        | error   | completed_at=now error=? |
        validating -> cancelled | user_cancelled run_ended | warning | completed_at=now |
    """,
    "task": """
        pending -> queued       | scheduler_assigned       | info    | queued_at=now | guard
        pending -> blocked      | dependency_check_failed  | info    | blocked_by=? | guard
        pending -> cancelled    | user_cancelled run_ended | warning | completed_at=now |
        queued -> blocked       | dependency_check_failed gate_failed | warning | blocked_by=? |
        queued -> running       | worker_started           | info    | worker_id=? started_at=now attempt+1 | guard
        queued -> cancelled     | user_cancelled run_ended | warning | completed_at=now |
        blocked -> pending      | dependency_satisfied     | info    | blocked_by=null | guard
        blocked -> failed       | dependency_unsatisfiable | error   | completed_at=now last_error=? |
        blocked -> cancelled    | user_cancelled run_ended | warning | completed_at=now |
        running -> validating   | execution_completed      | info    | worker_id=null exit_code=? | guard
        running -> retrying     | execution_failed timeout_exceeded worker_lost | warning \
            | worker_id=null retry_count+1 next_attempt_at=? last_error=? | guard
        running -> failed       | execution_failed timeout_exceeded worker_lost | error \
            | worker_id=null completed_at=now last_error=? | guard
        running -> cancelled    | user_cancelled run_ended | warning | worker_id=null completed_at=now |
        retrying -> queued      | retry_delay_elapsed      | warning | queued_at=now |
        retrying -> cancelled   | user_cancelled run_ended | warning | completed_at=now |
        validating -> completed | validation_passed        | info    | completed_at=now | guard
        validating -> failed    | validation_failed        | error   | completed_at=now last_error=? |
        validating -> cancelled | user_cancelled run_ended | warning | completed_at=now |
    """,
    "worker": """
        initializing -> idle     | registered               | info    | |
        initializing -> shutdown | init_failed              | error   | shutdown_at=now |
        idle -> busy             | task_assigned            | info    | | guard
        idle -> unresponsive     | heartbeat_missed         | warning | | guard
        idle -> shutdown         | shutdown_requested       | info    | shutdown_at=now |
        busy -> idle             | task_finished            | info    | |
        busy -> unresponsive     | heartbeat_missed         | warning | | guard
        busy -> shutdown         | shutdown_requested worker_crashed | warning | shutdown_at=now | guard
        unresponsive -> idle     | heartbeat_recovered      | warning | | guard
        unresponsive -> shutdown | recovery_window_exceeded | error   | shutdown_at=now | guard
    """,
    "uet_worker": """
        SPAWNING -> IDLE       | spawned                           | info  | |
        SPAWNING -> TERMINATED | spawn_failed                      | error | terminated_at=now |
        IDLE -> BUSY           | task_assigned                     | info  | |
        IDLE -> TERMINATED     | shutdown_requested heartbeat_lost | info  | terminated_at=now |
        BUSY -> IDLE           | task_finished                     | info  | |
        BUSY -> DRAINING       | shutdown_requested                | info  | |
        BUSY -> TERMINATED     | crashed heartbeat_lost            | error | terminated_at=now |
        DRAINING -> TERMINATED | task_finished crashed             | info  | terminated_at=now |
    """,
    "patch_ledger": """
        created -> validated         | validation_passed | info \
            | validation_format=? validation_scope=? validation_constraints=? | guard
        created -> quarantined       | validation_failed | warning | quarantine_reason=? quarantined_at=now |
        created -> dropped           | superseded run_ended discarded | info | |
        validated -> awaiting_review | review_required   | info    | |
        validated -> queued          | accepted          | info    | | guard
        validated -> quarantined     | policy_violation  | warning | quarantine_reason=? quarantined_at=now |
        validated -> dropped         | superseded run_ended discarded | info | |
        awaiting_review -> queued    | review_approved   | info    | | operator: review_approved
        awaiting_review -> dropped   | review_rejected review_expired run_ended | warning | | operator: review_rejected
        queued -> applied            | apply_succeeded   | info    | apply_attempts+1 applied_at=now |
        queued -> apply_failed       | apply_failed      | error   | apply_attempts+1 last_error=? |
        queued -> dropped            | superseded run_ended discarded | info | |
        apply_failed -> queued       | apply_retry       | warning | | guard
        apply_failed -> quarantined  | apply_exhausted   | error   | quarantine_reason=? quarantined_at=now |
        apply_failed -> dropped      | discarded         | info    | | operator: discarded
        applied -> verified          | gates_passed      | info    | validation_tests_passed=? | guard
        applied -> quarantined       | gates_failed run_ended | warning | quarantine_reason=? quarantined_at=now | guard
        verified -> committed        | commit_succeeded  | info    | commit_sha=? committed_at=now |
        verified -> quarantined      | commit_failed     | error   | quarantine_reason=? quarantined_at=now |
        committed -> rolled_back     | rollback_approved | critical \
            | rollback_reason=? rollback_compensation=? rolled_back_at=now | guard operator: rollback_approved
        quarantined -> dropped       | discarded         | info    | | operator: discarded
    """,
    "test_gate": """
        PENDING -> RUNNING | gate_started           | info    | started_at=now |
        PENDING -> BLOCKED | dependency_gate_failed | warning | |
        BLOCKED -> PENDING | dependency_gate_passed | info    | |
        RUNNING -> PASSED  | expected_exit_code     | info \
            | exit_code=? stdout=? stderr=? duration_sec=? completed_at=now |
        RUNNING -> FAILED  | unexpected_exit_code timeout_exceeded | error \
            | exit_code=? timed_out=? stdout=? stderr=? duration_sec=? completed_at=now |
    """,
    "circuit_breaker": """
        CLOSED -> OPEN      | failure_threshold_exceeded    | error   | opened_at=now failure_count=? |
        OPEN -> HALF_OPEN   | cooldown_expired manual_reset | warning | | guard
        HALF_OPEN -> CLOSED | success_threshold_met         | info    | failure_count=0 |
        HALF_OPEN -> OPEN   | probe_failed                  | error   | opened_at=now |
    """,
    "gap": """
        discovered -> clustered  | clustered                   | debug | workstream_id=? |
        discovered -> deferred   | filtered baselined disabled | info  | deferred_reason=? |
        clustered -> planned     | plan_compiled               | debug | |
        clustered -> deferred    | not_fixable disabled        | info  | deferred_reason=? |
        planned -> in_progress   | task_started                | debug | |
        planned -> deferred      | task_not_run run_ended      | info  | deferred_reason=? |
        in_progress -> resolved  | rescan_clean                | info  | | guard
        in_progress -> deferred  | still_present task_failed patch_quarantined run_ended | info | deferred_reason=? |
    """,
}

FILLS = {"now": Fill.NOW, "?": Fill.GIVEN, "null": Fill.CLEARED, "0": Fill.ZERO}


class Line(NamedTuple):
    """What one line of the table says of an edge."""

    triggers: tuple[str, ...]
    severity: str
    sets: dict[str, Fill]
    guarded: bool
    operator: tuple[str, ...]


def _fill(column: str) -> tuple[str, Fill]:
    if column.endswith("+1"):
        return column.removesuffix("+1"), Fill.PLUS_ONE
    name, value = column.split("=")
    return name, FILLS[value]


def _read(table: str) -> dict[tuple[str, str], Line]:
    lines = {}
    for text in table.strip().splitlines():
        pair, triggers, severity, sets, marks = (part.strip() for part in text.split("|"))
        source, target = pair.split(" -> ")
        guard, _, operator = marks.partition("operator:")
        assert (source, target) not in lines
        lines[source, target] = Line(
            tuple(triggers.split()),
            severity,
            dict(_fill(column) for column in sets.split()),
            guard.strip() == "guard",
            tuple(operator.split()),
        )
    return lines


LAW = {entity: _read(table) for entity, table in EDGES.items()}
PAIRS = [
    (entity, source, target)
    for entity, states in STATES.items()
    for source, target in product(states.split(), repeat=2)
]


def _line_of(edge: Edge) -> Line:
    return Line(
        tuple(trigger.value for trigger in edge.triggers),
        edge.severity.value,
        dict(edge.sets),
        edge.guard is not None,
        tuple(trigger.value for trigger in edge.operator),
    )


def _legal_triggers(machine: Machine, source: str, target: str) -> set[str]:
    legal = set()
    for trigger in machine.triggers:
        try:
            machine.candidates("id", source, trigger, target)
        except InvalidTransition:
            continue
        legal.add(trigger.value)
    return legal


def test_there_are_nine_machines_of_59_states_and_97_edges() -> None:
    """The specification counts 9 machines, 59 states and 97 edges, at version 2.0.0."""
    assert list(MACHINES) == list(STATES) == list(EDGES)
    assert sum(len(machine.states) for machine in MACHINES.values()) == 59
    assert sum(len(row) for machine in MACHINES.values() for row in machine.table.values()) == 97
    assert VERSION == "2.0.0"


@pytest.mark.parametrize("entity", STATES)
def test_a_machine_has_exactly_its_states_and_starts_in_the_first(entity: str) -> None:
    """States are spelled as they are stored, case included, and the first is where an entity is born."""
    machine = MACHINES[entity]
    assert [state.value for state in machine.states] == STATES[entity].split()
    assert machine.initial == STATES[entity].split()[0]
    assert {state.value for state in machine.terminal} == set(TERMINAL[entity].split())


@pytest.mark.parametrize(("entity", "source", "target"), PAIRS)
def test_every_pair_is_legal_or_illegal_as_written(entity: str, source: str, target: str) -> None:
    """Each pair has exactly the triggers, severity, columns, guard and operator of its line, or no edge at all."""
    machine, line = MACHINES[entity], LAW[entity].get((source, target))
    edge = machine.edge(source, target)
    assert (None if edge is None else _line_of(edge)) == line
    assert _legal_triggers(machine, source, target) == set(line.triggers if line else ())


@pytest.mark.parametrize("entity", STATES)
def test_a_machine_has_no_trigger_beyond_its_lines(entity: str) -> None:
    """The triggers of a machine are those of its table, none more."""
    triggers = {trigger.value for trigger in MACHINES[entity].triggers}
    assert triggers == {trigger for line in LAW[entity].values() for trigger in line.triggers}


@pytest.mark.parametrize(("state", "target"), [("committed", "rolled_back"), ("quarantined", "dropped")])
def test_a_settled_patch_has_exactly_one_exit_and_only_for_an_operator(state: str, target: str) -> None:
    """What is settled stays, unless a named person takes the one way out."""
    (edge,) = MACHINES["patch_ledger"].table[MACHINES["patch_ledger"].state(state)]
    assert edge.target == target
    assert edge.operator == edge.triggers
