"""Gaps: what was found in a repository, and what became of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Index, SQLColumnExpression, func, or_, select
from sqlalchemy.orm import Mapped, mapped_column

from prefect_acms.canonical.gap import GAP, GapSeverity
from prefect_acms.dao.runs import RunRow
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

AT_ONCE = 500
"""How many fingerprints are asked for at once."""


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

    def earlier(
        self, repo_root: str, run_id: str, fingerprints: Sequence[str], *, not_reason: str
    ) -> dict[str, list[GapRow]]:
        """The rows of these gaps in other runs of the repository, by fingerprint, the newest first.

        Those are left out that were deferred for a reason that begins like `not_reason`.
        """
        return self._earlier(repo_root, run_id, GapRow.fingerprint, fingerprints, not_reason)

    def earlier_by_ending(
        self, repo_root: str, run_id: str, endings: Sequence[str], *, not_reason: str
    ) -> dict[str, list[GapRow]]:
        """The same of the gaps whose fingerprint ends like one of these, all of one length."""
        if not endings:
            return {}
        end = func.substr(GapRow.fingerprint, func.length(GapRow.fingerprint) - len(endings[0]) + 1)
        return self._earlier(repo_root, run_id, end, endings, not_reason)

    def _earlier(
        self, repo_root: str, run_id: str, about: SQLColumnExpression[str], wanted: Sequence[str], not_reason: str
    ) -> dict[str, list[GapRow]]:
        told = or_(GapRow.deferred_reason.is_(None), GapRow.deferred_reason.not_like(f"{not_reason}%"))
        here = select(GapRow).join(RunRow, RunRow.id == GapRow.run_id).where(RunRow.repo_root == repo_root, told)
        here = here.where(GapRow.run_id != run_id).order_by(GapRow.id.desc())
        found: dict[str, list[GapRow]] = defaultdict(list)
        for start in range(0, len(wanted), AT_ONCE):
            for row in self._all(here.where(about.in_(wanted[start : start + AT_ONCE]))):
                found[row.fingerprint].append(row)
        return dict(found)

    def of_workstream(self, workstream_id: str) -> list[GapRow]:
        """The gaps that a workstream takes up."""
        return self._all(select(GapRow).where(GapRow.workstream_id == workstream_id).order_by(GapRow.id))

    def tally(self, run_id: str) -> list[tuple[str | None, str, int]]:
        """How many gaps of a run are in which state, for each workstream and for none."""
        columns = GapRow.workstream_id, GapRow.state
        statement = select(*columns, func.count()).where(GapRow.run_id == run_id).group_by(*columns)
        return [(workstream, state, number) for workstream, state, number in self._unit.session.execute(statement)]
