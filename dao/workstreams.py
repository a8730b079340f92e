"""Workstreams: gaps that are worked on together, on one branch."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Column, Index, Table, insert, select
from sqlalchemy.orm import Mapped, mapped_column

from prefect_acms.canonical.workstream import WORKSTREAM
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

workstream_dependencies = Table(
    "workstream_dependencies",
    Base.metadata,
    Column("workstream_id", to("workstreams.id"), primary_key=True),
    Column("depends_on_id", to("workstreams.id"), primary_key=True, index=True),
    check("not_itself", "workstream_id <> depends_on_id"),
)


class WorkstreamRow(StateRow):
    """One workstream of one run."""

    __tablename__ = "workstreams"
    machine = WORKSTREAM
    __table_args__ = (
        states_of(WORKSTREAM),
        at_least("version", 1),
        check("priority_score", "priority_score BETWEEN 0 AND 10"),
        one_of("effort", "low", "medium", "high"),
        unset_in("started_at", "planned", "ready", "blocked", "skipped"),
        set_in("started_at", "executing", "validating", "completed"),
        set_exactly_in("completed_at", *terminal(WORKSTREAM)),
        set_in("error", "failed"),
        in_order("created_at", "started_at"),
        in_order("started_at", "completed_at"),
        in_order("created_at", "completed_at"),
        Index(None, "run_id"),
    )

    run_id: Mapped[str] = mapped_column(to("runs.id"))
    name: Mapped[str]
    category: Mapped[str] = mapped_column(default="uncategorized")
    priority_score: Mapped[float] = mapped_column(default=0.0)
    effort: Mapped[str] = mapped_column(default="low")
    file_scope: Mapped[JsonList]
    is_critical: Mapped[bool] = mapped_column(default=False)
    branch: Mapped[str | None]
    worktree: Mapped[str | None]
    started_at: Mapped[Moment | None]
    completed_at: Mapped[Moment | None]
    error: Mapped[Words | None]


class WorkstreamDao(StateDao[WorkstreamRow]):
    """Workstreams."""

    row = WorkstreamRow
    entity = WORKSTREAM.entity
    prefix = "ws"
    fixed = frozenset({"run_id", "is_critical"})

    def of_run(self, run_id: str) -> list[WorkstreamRow]:
        """The workstreams of a run in the order they were made."""
        return self._all(select(WorkstreamRow).where(WorkstreamRow.run_id == run_id).order_by(WorkstreamRow.id))

    def depends(self, workstream_id: str, on: Iterable[str]) -> None:
        """Let a workstream wait for others."""
        for other in on:
            values = {"workstream_id": workstream_id, "depends_on_id": other}
            self._do(insert(workstream_dependencies).values(values), workstream_id)

    def prerequisites(self, workstream_id: str) -> list[WorkstreamRow]:
        """The workstreams that this one waits for."""
        edge = workstream_dependencies.c
        statement = select(WorkstreamRow).join(workstream_dependencies, edge.depends_on_id == WorkstreamRow.id)
        return self._all(statement.where(edge.workstream_id == workstream_id).order_by(WorkstreamRow.id))

    def edges(self, run_id: str) -> list[tuple[str, str]]:
        """Every pair of a run's workstream and one that it waits for, sorted."""
        edge = workstream_dependencies.c
        of_run = select(edge.workstream_id, edge.depends_on_id)
        of_run = of_run.join(WorkstreamRow, WorkstreamRow.id == edge.workstream_id)
        found = self._unit.session.execute(of_run.where(WorkstreamRow.run_id == run_id).order_by(*edge))
        return [(str(workstream), str(other)) for workstream, other in found]
