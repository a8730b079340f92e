"""Test gates: judgements of a tree by a command."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Column, Index, Table, insert, select
from sqlalchemy.orm import Mapped, mapped_column

from prefect_acms.canonical.test_gate import TEST_GATE, GateType
from prefect_acms.dao.schema import (
    Base,
    JsonList,
    Moment,
    StateRow,
    Words,
    at_least,
    check,
    in_order,
    one_of,
    set_exactly_in,
    set_in,
    states_of,
    terminal,
    to,
    unset_in,
)
from prefect_acms.dao.service import StateDao

gate_dependencies = Table(
    "gate_dependencies",
    Base.metadata,
    Column("gate_id", to("test_gates.id"), primary_key=True),
    Column("depends_on_id", to("test_gates.id"), primary_key=True, index=True),
    check("not_itself", "gate_id <> depends_on_id"),
)


class TestGateRow(StateRow):
    """One gate: a command and what it said."""

    __test__ = False  # not a test class, though pytest would take it for one

    __tablename__ = "test_gates"
    machine = TEST_GATE
    __table_args__ = (
        states_of(TEST_GATE),
        at_least("version", 1),
        one_of("gate_type", *(gate.value for gate in GateType)),
        unset_in("started_at", "PENDING", "BLOCKED"),
        set_in("started_at", "RUNNING", *terminal(TEST_GATE)),
        set_exactly_in("exit_code", *terminal(TEST_GATE)),
        set_exactly_in("completed_at", *terminal(TEST_GATE)),
        check("timed_out", "NOT timed_out OR (state = 'FAILED' AND exit_code = 124)"),
        check("timeout_sec", "timeout_sec > 0"),
        at_least("duration_sec", 0),
        check("not_rerun_of_itself", "rerun_of <> id"),
        in_order("created_at", "started_at"),
        in_order("started_at", "completed_at"),
        Index(None, "run_id", "state"),
        Index(None, "workstream_id"),
        Index(None, "task_id"),
        Index(None, "rerun_of"),
    )

    run_id: Mapped[str] = mapped_column(to("runs.id"))
    gate_type: Mapped[str]
    workstream_id: Mapped[str | None] = mapped_column(to("workstreams.id"))
    task_id: Mapped[str | None] = mapped_column(to("tasks.id"))
    command: Mapped[JsonList]
    timeout_sec: Mapped[float] = mapped_column(default=900.0)
    timed_out: Mapped[bool] = mapped_column(default=False)
    exit_code: Mapped[int | None]
    stdout: Mapped[Words | None]
    stderr: Mapped[Words | None]
    duration_sec: Mapped[float | None]
    started_at: Mapped[Moment | None]
    completed_at: Mapped[Moment | None]
    rerun_of: Mapped[str | None] = mapped_column(to("test_gates.id"))


class TestGateDao(StateDao[TestGateRow]):
    """Test gates."""

    __test__ = False

    row = TestGateRow
    entity = TEST_GATE.entity
    prefix = "gate"
    fixed = frozenset({"run_id", "rerun_of"})

    def of_run(self, run_id: str) -> list[TestGateRow]:
        """The gates of a run in the order they were made."""
        return self._all(select(TestGateRow).where(TestGateRow.run_id == run_id).order_by(TestGateRow.id))

    def of_task(self, task_id: str) -> list[TestGateRow]:
        """The gates that belong to a task in the order they were made."""
        return self._all(select(TestGateRow).where(TestGateRow.task_id == task_id).order_by(TestGateRow.id))

    def depends(self, gate_id: str, on: Iterable[str]) -> None:
        """Let a gate wait for others."""
        for other in on:
            self._do(insert(gate_dependencies).values(gate_id=gate_id, depends_on_id=other), gate_id)

    def dependencies(self, gate_id: str) -> list[TestGateRow]:
        """The gates that this one waits for."""
        edge = gate_dependencies.c
        statement = select(TestGateRow).join(gate_dependencies, edge.depends_on_id == TestGateRow.id)
        return self._all(statement.where(edge.gate_id == gate_id).order_by(TestGateRow.id))
