"""What guards ask about other rows: gathered inside the transaction, and only when an edge's guard needs it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, String, func, select
from sqlalchemy.orm import aliased

from prefect_acms.canonical.clock import Clock, utc_moment
from prefect_acms.canonical.verdicts import GONE_PATCH, Child, PatchFact
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.schema import terminal
from prefect_acms.dao.statements import Compiler, Statement, parameter
from prefect_acms.dao.tasks import TaskRow, task_dependencies, task_gates
from prefect_acms.dao.test_gates import TestGateRow
from prefect_acms.dao.workers import WorkerRow
from prefect_acms.dao.workstreams import WorkstreamRow, workstream_dependencies

if TYPE_CHECKING:
    from prefect_acms.dao.connections import Desk

Values = Mapping[str, Any]
_ID = parameter("id", String())
_SETTLED_BADLY = GONE_PATCH | {"quarantined"}


def _open(row: type[WorkstreamRow | TaskRow]) -> Any:
    ended = terminal(row.machine)
    return select(func.count()).where(row.run_id == _ID, row.state.not_in(ended)).scalar_subquery()


def _patches(of: Any) -> Select[Any]:
    later = aliased(LedgerRow)
    replaced = select(later.id).where(later.supersedes == LedgerRow.id).exists()
    found = select(LedgerRow.id, LedgerRow.state, replaced, TaskRow.is_critical)
    return found.join(TaskRow, TaskRow.id == LedgerRow.task_id).where(of == _ID).order_by(LedgerRow.id)


def _gates(role: str) -> Select[Any]:
    """The gates of a task in that role; one that was run again is followed to its last runs."""
    line = (
        select(task_gates.c.gate_id.label("id"), task_gates.c.gate_id.label("origin"))
        .where(task_gates.c.task_id == _ID, task_gates.c.role == role)
        .cte("line", recursive=True)
    )
    again, later, first = aliased(TestGateRow), aliased(TestGateRow), aliased(TestGateRow)
    line = line.union(select(again.id, line.c.origin).join(line, again.rerun_of == line.c.id))
    rerun = select(later.id).where(later.rerun_of == TestGateRow.id).exists()
    return (
        select(TestGateRow.state, TestGateRow.info, first.info)
        .join(line, line.c.id == TestGateRow.id)
        .join(first, first.id == line.c.origin)
        .where(~rerun)
        .order_by(TestGateRow.id)
    )


_QUERIES: Mapping[str, Select[Any]] = MappingProxyType(
    {
        "workstreams of run": select(WorkstreamRow.state, WorkstreamRow.is_critical).where(WorkstreamRow.run_id == _ID),
        "open children of run": select(_open(WorkstreamRow) + _open(TaskRow)),
        "tasks of workstream": select(TaskRow.state, TaskRow.is_critical).where(
            TaskRow.workstream_id == _ID, TaskRow.stands()
        ),
        "prerequisites of workstream": select(WorkstreamRow.state)
        .join(workstream_dependencies, workstream_dependencies.c.depends_on_id == WorkstreamRow.id)
        .where(workstream_dependencies.c.workstream_id == _ID),
        "patches of workstream": _patches(LedgerRow.workstream_id),
        "dependencies of task": select(TaskRow.state)
        .join(task_dependencies, task_dependencies.c.depends_on_id == TaskRow.id)
        .where(task_dependencies.c.task_id == _ID),
        "entry gates of task": _gates("entry"),
        "exit gates of task": _gates("exit"),
        "patches of task": _patches(LedgerRow.task_id),
        "worker": select(WorkerRow.state, WorkerRow.capabilities).where(WorkerRow.id == _ID),
        "claims of worker": select(func.count()).select_from(TaskRow).where(TaskRow.worker_id == _ID),
    }
)


class Asker:
    """Asks the database for facts; its questions are compiled once a store."""

    def __init__(self, compiler: Compiler, clock: Clock) -> None:
        self._compile = compiler
        self._compiled: dict[str, Statement] = {}
        self.clock = clock

    def gather(self, entity: str, needs: Iterable[str], desk: Desk, row: Values, given: Values) -> Values:
        """The facts among `needs` that the database knows; columns and what the caller states are not its matter."""
        known: dict[str, Any] = {}
        ways = FACTS.get(entity, {})
        for need in needs:
            if need in ways:
                known.update(ways[need](self, desk, row, given))
        return known

    def rows(self, desk: Desk, question: str, entity_id: str) -> list[tuple[Any, ...]]:
        """The answer to a question about one entity."""
        statement = self._compiled.get(question)
        if statement is None:
            statement = self._compiled[question] = self._compile(_QUERIES[question])
        found: list[tuple[Any, ...]] = desk.run(statement.sql, statement.bind({"id": entity_id})).fetchall()
        return found

    def seconds_since(self, text: str | None) -> float:
        """How long ago a stored moment was; a moment that is not known is infinitely long ago."""
        return (self.clock() - utc_moment(text)).total_seconds() if text else float("inf")


def json_value(stored: Any) -> Any:
    """A JSON column as the driver gave it: text from SQLite, a value from PostgreSQL."""
    return json.loads(stored) if isinstance(stored, str) else stored


def _workstreams(ask: Asker, desk: Desk, row: Values, _given: Values) -> Values:
    children = [Child(state, bool(critical)) for state, critical in ask.rows(desk, "workstreams of run", row["id"])]
    allowed = row["config"].get("execution", {}).get("allow_noncritical_failures", True)
    return {"workstreams": children, "allow_noncritical_failures": allowed}


def _open_children(ask: Asker, desk: Desk, row: Values, _given: Values) -> Values:
    return {"open_children": ask.rows(desk, "open children of run", row["id"])[0][0]}


def _tasks(ask: Asker, desk: Desk, row: Values, _given: Values) -> Values:
    found = ask.rows(desk, "tasks of workstream", row["id"])
    return {"tasks": [Child(state, bool(critical)) for state, critical in found]}


def _states(fact: str, question: str) -> Gather:
    return lambda ask, desk, row, _given: {fact: [found[0] for found in ask.rows(desk, question, row["id"])]}


def _patch_facts(question: str) -> Gather:
    def gather(ask: Asker, desk: Desk, row: Values, _given: Values) -> Values:
        found = ask.rows(desk, question, row["id"])
        return {"patches": [PatchFact(state, bool(replaced), bool(crit)) for _id, state, replaced, crit in found]}

    return gather


def _entry(gate: tuple[Any, ...]) -> str | None:
    """The ledger entry that a gate judged: its own word, or that of the gate it runs again."""
    own, first = json_value(gate[1]), json_value(gate[2])
    found: str | None = own.get("ledger_entry") or first.get("ledger_entry")
    return found


def _exit_gates_of_task(ask: Asker, desk: Desk, row: Values, _given: Values) -> Values:
    """The exit gates, without those of patches that no longer count: what was isolated doesn't hold up the rest."""
    patches = ask.rows(desk, "patches of task", row["id"])
    gone = {entry for entry, state, replaced, _critical in patches if replaced or state in _SETTLED_BADLY}
    gates = ask.rows(desk, "exit gates of task", row["id"])
    return {"exit_gate_states": [gate[0] for gate in gates if _entry(gate) not in gone]}


def _exit_gates_of_patch(ask: Asker, desk: Desk, row: Values, _given: Values) -> Values:
    gates = ask.rows(desk, "exit gates of task", row["task_id"])
    return {"exit_gate_states": [gate[0] for gate in gates if _entry(gate) == row["id"]]}


def _worker(ask: Asker, desk: Desk, _row: Values, given: Values) -> Values:
    found = ask.rows(desk, "worker", given["worker_id"]) if given.get("worker_id") else []
    return {"worker_state": found[0][0], "worker_capabilities": json_value(found[0][1])} if found else {}


def _claims(ask: Asker, desk: Desk, row: Values, _given: Values) -> Values:
    return {"claimed_tasks": ask.rows(desk, "claims of worker", row["id"])[0][0]}


Gather = Callable[[Asker, "Desk", Values, Values], Values]
"""Gives facts about one row; takes the row as read and the columns that were handed in."""

FACTS: Mapping[str, Mapping[str, Gather]] = MappingProxyType(
    {
        "run": {"workstreams": _workstreams, "open_children": _open_children},
        "workstream": {
            "tasks": _tasks,
            "prerequisite_states": _states("prerequisite_states", "prerequisites of workstream"),
            "patches": _patch_facts("patches of workstream"),
        },
        "task": {
            "dependency_states": _states("dependency_states", "dependencies of task"),
            "entry_gate_states": _states("entry_gate_states", "entry gates of task"),
            "exit_gate_states": _exit_gates_of_task,
            "patches": _patch_facts("patches of task"),
            "worker_state": _worker,
            "worker_capabilities": _worker,
        },
        "worker": {
            "claimed_tasks": _claims,
            "heartbeat_age_sec": lambda ask, _desk, row, _given: {
                "heartbeat_age_sec": ask.seconds_since(row["last_heartbeat"])
            },
        },
        "patch_ledger": {"exit_gate_states": _exit_gates_of_patch},
        "circuit_breaker": {
            "open_for_sec": lambda ask, _desk, row, _given: {"open_for_sec": ask.seconds_since(row["opened_at"])}
        },
    }
)
"""Entity -> fact -> how it is gathered; facts that are not here are columns, or stated by the caller."""
