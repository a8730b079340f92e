"""Gaps: what was found in a repository, and what became of it."""

from __future__ import annotations

from sqlalchemy import Index, func, select
from sqlalchemy.orm import Mapped, mapped_column

from prefect_acms.canonical.gap import GAP, GapSeverity
from prefect_acms.dao.schema import (
    JsonList,
    StateRow,
    Words,
    at_least,
    check,
    one_of,
    set_exactly_in,
    set_in,
    states_of,
    to,
)
from prefect_acms.dao.service import StateDao


class GapRow(StateRow):
    """One gap of one run."""

    __tablename__ = "gaps"
    machine = GAP
    __table_args__ = (
        states_of(GAP),
        at_least("version", 1),
        one_of("severity", *(severity.value for severity in GapSeverity)),
        set_in("workstream_id", "clustered", "planned", "in_progress", "resolved"),
        set_exactly_in("deferred_reason", "deferred"),
        at_least("start_line", 1),
        check("end_line", "end_line IS NULL OR start_line IS NULL OR end_line >= start_line"),
        Index(None, "run_id", "state"),
        Index(None, "workstream_id"),
        Index(None, "fingerprint"),
    )

    run_id: Mapped[str] = mapped_column(to("runs.id"))
    workstream_id: Mapped[str | None] = mapped_column(to("workstreams.id"))
    source: Mapped[str]
    rule_id: Mapped[str]
    fingerprint: Mapped[str]
    title: Mapped[Words]
    description: Mapped[Words] = mapped_column(default="")
    category: Mapped[str] = mapped_column(default="uncategorized")
    severity: Mapped[str] = mapped_column(default="medium")
    file_paths: Mapped[JsonList]
    start_line: Mapped[int | None]
    end_line: Mapped[int | None]
    dependencies: Mapped[JsonList]
    deferred_reason: Mapped[Words | None]


class GapDao(StateDao[GapRow]):
    """Gaps."""

    row = GapRow
    entity = GAP.entity
    prefix = "gap"
    fixed = frozenset({"run_id", "source", "rule_id", "fingerprint"})

    def of_run(self, run_id: str, state: str | None = None) -> list[GapRow]:
        """The gaps of a run in the order they were found; all, or those in one state."""
        statement = select(GapRow).where(GapRow.run_id == run_id).order_by(GapRow.id)
        return self._all(statement if state is None else statement.where(GapRow.state == str(GAP.state(state))))

    def of_workstream(self, workstream_id: str) -> list[GapRow]:
        """The gaps that a workstream takes up."""
        return self._all(select(GapRow).where(GapRow.workstream_id == workstream_id).order_by(GapRow.id))

    def tally(self, run_id: str) -> list[tuple[str | None, str, int]]:
        """How many gaps of a run are in which state, for each workstream and for none."""
        columns = GapRow.workstream_id, GapRow.state
        statement = select(*columns, func.count()).where(GapRow.run_id == run_id).group_by(*columns)
        return [(workstream, state, number) for workstream, state, number in self._unit.session.execute(statement)]
