"""Hypothesis walks the store: after any sequence of calls it is what a dict says that went by the tables alone."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_acms.canonical.errors import (
    GuardRefused,
    InvalidTransition,
    MissingColumn,
    OperatorRequired,
    TransitionError,
)
from prefect_acms.canonical.machine import Edge, Fill, Machine
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.dao.chain import GENESIS, HASHED, row_hash
from prefect_acms.dao.schema import StateRow
from prefect_acms.dao.service import StateDao
from prefect_acms.dao.store import UnitOfWork

if TYPE_CHECKING:
    from tests.dao.conftest import World

NOUNS = {
    "gap": "gaps",
    "test_gate": "test_gates",
    "uet_worker": "uet_workers",
    "circuit_breaker": "circuit_breakers",
    "patch_ledger": "ledger",
    "workstream": "workstreams",
    "run": "runs",
}
"""Entities whose rows need no other one; tasks and workers are walked by the races and the pipeline."""

VALUES: dict[str, Any] = {
    "failure_count": 5, "error": "it broke", "quarantine_reason": "unsafe", "deferred_reason": "later", "exit_code": 1,
    "stdout": "out", "stderr": "", "duration_sec": 0.5, "timed_out": False, "validation_format": True,
    "validation_scope": True, "validation_constraints": True, "validation_tests_passed": True, "last_error": "line 3",
    "commit_sha": "c0ffee", "rollback_reason": "slow", "rollback_compensation": {"revert": "c0ffee"},
}  # fmt: skip
STATED = {"review_required": False, "reverted": True, "compensated": True, "rescan_fingerprints": [], "merged": True}


class UndoneError(Exception):
    """Lets a unit of work fail."""


class Parents(NamedTuple):
    """Rows that others hang on."""

    run_id: str
    stream_id: str
    task_id: str


@dataclass
class Known:
    """What the dict knows of one row."""

    entity: str
    state: str
    version: int = 1
    columns: dict[str, Any] = field(default_factory=dict)
    trail: list[tuple[str | None, str, str]] = field(default_factory=list)


def expected(machine: Machine, known: Known, trigger: str, given: dict[str, Any], operator: str | None) -> Edge | type:
    """The edge that is taken, or the refusal: by the table, read naively."""
    edges = [e for e in machine.table[machine.states(known.state)] if trigger in e.triggers]
    if not edges:
        return InvalidTransition
    facts = {**STATED, **known.columns, **given, "trigger": trigger, "operator": operator, **gathered(known)}
    for edge in edges:
        if edge.guard is None or (set(edge.guard.needs) <= facts.keys() and edge.guard.allows(facts)):
            if trigger in edge.operator and not operator:
                return OperatorRequired
            wanted = {name for name, fill in edge.sets.items() if fill is Fill.GIVEN}
            return edge if wanted <= given.keys() else MissingColumn
    return GuardRefused


def gathered(known: Known) -> dict[str, Any]:
    """What is to be found around a lonely row."""
    found: dict[str, dict[str, Any]] = {
        "run": {"workstreams": [], "open_children": 0, "allow_noncritical_failures": True},
        "workstream": {"tasks": [], "prerequisite_states": [], "patches": []},
        "patch_ledger": {"exit_gate_states": []},
        "circuit_breaker": {"open_for_sec": 0.0, "cooldown_seconds": 60.0},
    }
    return found.get(known.entity, {})


def create(dao: UnitOfWork, entity: str, parents: Parents) -> StateRow:
    """A row that no guard finds anything around."""
    columns: dict[str, dict[str, Any]] = {
        "run": {"repo_root": "/r"},
        "workstream": {"run_id": parents.run_id, "name": "s"},
        "gap": {"run_id": parents.run_id, "source": "s", "rule_id": "r", "fingerprint": "f", "title": "t"},
        "test_gate": {"run_id": parents.run_id, "gate_type": "UNIT"},
        "uet_worker": {"worker_type": "process"},
        "circuit_breaker": {"tool_id": dao.store.ids.new("tool")},
    }
    if entity == "patch_ledger":
        columns[entity] = {"patch_id": dao.patches.create(task_id=parents.task_id, content=b"diff").id}
    nouns: StateDao[Any] = getattr(dao, NOUNS[entity])
    row: StateRow = nouns.create(**columns[entity])
    return row


def step(dao: UnitOfWork, rows: dict[str, Known], data: st.DataObject, stream_id: str) -> None:
    """Ask for one transition, and compare what comes of it."""
    row_id = data.draw(st.sampled_from(sorted(rows)), label="row")
    known = rows[row_id]
    machine = MACHINES[known.entity]
    legal = [t.value for edge in machine.table[machine.states(known.state)] for t in edge.triggers]
    trigger = data.draw(st.sampled_from([*legal, *legal, *(t.value for t in machine.triggers)]), label="trigger")
    operator = data.draw(st.sampled_from([None, "ada"]), label="operator")
    edges = [e for e in machine.table[machine.states(known.state)] if trigger in e.triggers]
    needed = sorted({c for e in edges for c, fill in e.sets.items() if fill is Fill.GIVEN})
    left_out = data.draw(st.sampled_from([None, None, None, *needed]), label="left out")
    given = {c: VALUES.get(c, stream_id) for c in needed if c != left_out}
    nouns: StateDao[Any] = getattr(dao, NOUNS[known.entity])
    outcome = expected(machine, known, trigger, given, operator)
    if not isinstance(outcome, Edge):
        with pytest.raises(TransitionError) as refusal:
            nouns.advance(row_id, trigger, operator=operator, facts=STATED, **given)
        assert refusal.type is outcome
        return
    event = nouns.advance(row_id, trigger, operator=operator, facts=STATED, **given)
    assert (event.from_state, event.to_state, event.severity) == (known.state, outcome.target, outcome.severity)
    known.trail.append((known.state, str(outcome.target), trigger))
    known.state, known.version = str(outcome.target), known.version + 1
    for column, fill in outcome.sets.items():
        known.columns[column] = after(fill, known.columns.get(column), given.get(column), event.timestamp)


def after(fill: Fill, before: Any, given: Any, now: str) -> Any:
    """What a column holds after a transition."""
    match fill:
        case Fill.NOW:
            return now
        case Fill.GIVEN:
            return given
        case Fill.CLEARED:
            return None
        case Fill.PLUS_ONE:
            return (before or 0) + 1
        case Fill.ZERO:
            return 0


def compare(dao: UnitOfWork, rows: dict[str, Known]) -> None:
    """Every row and its trail are as the dict says."""
    for row_id, known in rows.items():
        row = getattr(dao, NOUNS[known.entity]).get(row_id)
        assert (row.state, row.version) == (known.state, known.version)
        assert {name: getattr(row, name) for name in known.columns} == known.columns
        told = dao.transitions.of_entity(known.entity, row_id)
        assert [(t.from_state, t.to_state, t.trigger) for t in told] == known.trail


def unit(dao: UnitOfWork, rows: dict[str, Known], data: st.DataObject, parents: Parents) -> None:
    """Make some rows, and ask for some transitions."""
    for entity in data.draw(st.lists(st.sampled_from(sorted(NOUNS)), min_size=1, max_size=3), label="new"):
        row = create(dao, entity, parents)
        columns = {"fingerprint": "f", "apply_attempts": 0}
        columns = {name: value for name, value in columns.items() if hasattr(row, name)}
        rows[row.id] = Known(entity, row.state, 1, columns, [(None, row.state, "created")])
    for _ in range(data.draw(st.integers(1, 12), label="steps")):
        step(dao, rows, data, parents.stream_id)
    if data.draw(st.booleans(), label="fails"):
        raise UndoneError


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_the_store_is_what_a_dict_says(world: World, data: st.DataObject) -> None:
    """Rows, columns, versions, refusals and trail agree; a unit that fails leaves everything as it was."""
    run_id = world.run().id
    stream_id = world.stream(run_id).id
    parents = Parents(run_id, stream_id, world.task(stream_id).id)
    rows: dict[str, Known] = {}
    for _ in range(data.draw(st.integers(1, 3), label="units")):
        known = deepcopy(rows)
        try:
            with world.store.begin() as dao:
                unit(dao, known, data, parents)
        except UndoneError:
            continue
        rows = known
    with world.store.begin(read_only=True) as dao:
        compare(dao, rows)
        before = GENESIS
        for row in dao.transitions.of_run(run_id):
            values = {name: getattr(row, "info" if name == "metadata" else name) for name in HASHED}
            assert (row.prev_hash, row.hash) == (before, row_hash(before, values))
            before = row.hash
