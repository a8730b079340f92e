"""Phases: the six steps of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Index, insert, select, update
from sqlalchemy.orm import Mapped, mapped_column

from prefect_acms.canonical.errors import InvalidValue, UnknownName
from prefect_acms.dao.reading import Dao
from prefect_acms.dao.schema import JsonDict, Moment, Row, at_least, check, in_order, one_of, to

PHASES = ("configure", "discovery", "clustering", "planning", "execution", "summary")
"""The names of the phases; their place in this tuple is their ordinal."""


class PhaseRow(Row):
    """One phase of one run; it has an outcome exactly when it has ended."""

    __tablename__ = "phases"
    __table_args__ = (
        at_least("version", 1),
        one_of("name", *PHASES),
        check("ordinal", f"ordinal BETWEEN 0 AND {len(PHASES) - 1}"),
        check("outcome_at_end", "(completed_at IS NULL) = (outcome IS NULL)"),
        in_order("created_at", "started_at"),
        in_order("started_at", "completed_at"),
        Index(None, "run_id", "ordinal"),
    )

    run_id: Mapped[str] = mapped_column(to("runs.id"))
    name: Mapped[str]
    ordinal: Mapped[int]
    started_at: Mapped[Moment]
    completed_at: Mapped[Moment | None]
    outcome: Mapped[str | None]
    artifacts: Mapped[JsonDict]


class PhaseDao(Dao[PhaseRow]):
    """Phases."""

    row = PhaseRow
    entity = "phase"

    def create(
        self,
        *,
        run_id: str,
        name: str,
        artifacts: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> PhaseRow:
        """Begin a phase now: from here on the run's events name it."""
        if name not in PHASES:
            raise UnknownName(kind="phase", name=name, known=list(PHASES))
        id_, now, clean = self._unit.store.ids.new("phase"), self._now(), self._unit.store.scrubber.value
        values = {"run_id": run_id, "name": str(name), "ordinal": PHASES.index(name), "started_at": now}
        own = {"id": id_, "version": 1, "created_at": now, "updated_at": now, "info": clean(dict(metadata or {}))}
        self._do(insert(PhaseRow).values(**own, **values, artifacts=clean(dict(artifacts or {}))), id_)
        self._unit.trail.head(run_id).phase = str(name)
        return self.get(id_)

    def finish(self, phase_id: str, outcome: str, artifacts: Mapping[str, Any] | None = None) -> None:
        """End a phase now, with what came of it; raises InvalidValue when it has ended already."""
        phase = self.get(phase_id)
        if phase.completed_at is not None:
            raise InvalidValue(field="phase.outcome", value=outcome, expected=f"no second one after {phase.outcome!r}")
        made = self._unit.store.scrubber.value({**phase.artifacts, **(artifacts or {})})
        now = max(self._now(), phase.started_at)
        ended = {"outcome": str(outcome), "completed_at": now, "updated_at": now, "version": phase.version + 1}
        self._do(update(PhaseRow).where(PhaseRow.id == phase_id).values(**ended, artifacts=made), phase_id)
        self._unit.trail.head(phase.run_id).phase = None

    def of_run(self, run_id: str) -> list[PhaseRow]:
        """The phases of a run in their order."""
        return self._all(select(PhaseRow).where(PhaseRow.run_id == run_id).order_by(PhaseRow.ordinal, PhaseRow.id))
