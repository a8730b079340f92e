"""The trail some pages at a time, chain by chain: for whoever follows it and wants each row exactly once.

Row numbers don't do for that: on PostgreSQL a row with a lower number may be committed after one with a higher number.
A chain has no holes, so its head says what is there to be read.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple, cast

from sqlalchemy import Text, case, select
from sqlalchemy import cast as sql_cast

from prefect_acms.canonical.events import Notice
from prefect_acms.dao.chain import ANCHOR, GLOBAL
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.schema import table_of
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.dao.test_gates import TestGateRow
from prefect_acms.dao.transitions import ChainHeadRow, TransitionRow

if TYPE_CHECKING:
    from prefect_acms.dao.unit import UnitOfWork

_ROWS, _HEADS, _RUNS = table_of(TransitionRow), table_of(ChainHeadRow), table_of(RunRow)


class Step(NamedTuple):
    """One row of the trail, as far as it is counted; `metadata` is text, and there for an override only."""

    entity_type: str
    entity_id: str
    from_state: str | None
    to_state: str
    trigger: str
    transitioned_at: str
    metadata: str | None


class ToolTask(NamedTuple):
    """What a task was, and what did it."""

    kind: str
    tool_id: str | None


class TimedGate(NamedTuple):
    """What a gate was, and how long its command took."""

    gate_type: str
    duration_sec: float | None


_STEP = (
    _ROWS.c.entity_type,
    _ROWS.c.entity_id,
    _ROWS.c.from_state,
    _ROWS.c.to_state,
    _ROWS.c.trigger,
    _ROWS.c.transitioned_at,
    case((_ROWS.c.trigger == Notice.MANUAL_OVERRIDE.value, sql_cast(_ROWS.c.metadata, Text))),
)


def chain_ends(unit: UnitOfWork) -> dict[str, int]:
    """The position of the last row of every chain, by run or `global`."""
    return {str(chain): int(seq) for chain, seq in unit.connection.execute(select(_HEADS.c.run_id, _HEADS.c.seq))}


def page_of(unit: UnitOfWork, chain: str, after: int, until: int) -> list[Step]:
    """The rows of a chain after one position up to another, in order; anchors of other chains are left out."""
    of_chain = _ROWS.c.run_id.is_(None) if chain == GLOBAL else _ROWS.c.run_id == chain
    wanted = select(*_STEP).where(of_chain, _ROWS.c.chain_seq > after, _ROWS.c.chain_seq <= until)
    rows = unit.connection.execute(wanted.where(_ROWS.c.entity_type != ANCHOR).order_by(_ROWS.c.chain_seq))
    return [Step._make(row) for row in rows]


def mode_of(unit: UnitOfWork, run_id: str) -> str | None:
    """The mode of a run, or None where there is no such run."""
    return cast("str | None", unit.connection.scalar(select(_RUNS.c.mode).where(_RUNS.c.id == run_id)))


def tool_tasks(unit: UnitOfWork, ids: Collection[str]) -> dict[str, ToolTask]:
    """Kind and tool of tasks, by id; at most a page of them."""
    if not ids:
        return {}
    tasks = table_of(TaskRow).c
    found = unit.connection.execute(select(tasks.id, tasks.kind, tasks.tool_id).where(tasks.id.in_(ids)))
    return {row.id: ToolTask(row.kind, row.tool_id) for row in found}


def timed_gates(unit: UnitOfWork, ids: Collection[str]) -> dict[str, TimedGate]:
    """Type and time of gates, by id; at most a page of them."""
    if not ids:
        return {}
    gates = table_of(TestGateRow).c
    found = unit.connection.execute(select(gates.id, gates.gate_type, gates.duration_sec).where(gates.id.in_(ids)))
    return {row.id: TimedGate(row.gate_type, row.duration_sec) for row in found}
