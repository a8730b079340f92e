"""Which runs a reconciliation looks at, so that its cost does not grow with the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import or_, select

from prefect_acms.canonical.run import RUN
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.schema import terminal

if TYPE_CHECKING:
    from prefect_acms.dao.unit import UnitOfWork

RECONCILED = "reconciled"
"""Key in the metadata of an ended run that was found, or put, in step with everything: the state it was in then."""


def runs_to_compare(unit: UnitOfWork, recent: str) -> list[RunRow]:
    """The runs that have not ended, that ended since that moment, or that were never reconciled; oldest first."""
    ended = RunRow.state.in_(terminal(RUN))
    marked = RunRow.info[RECONCILED].as_string()
    wanted = or_(~ended, RunRow.completed_at >= recent, marked.is_(None), marked != RunRow.state)
    session = unit.session
    rows = list(session.scalars(select(RunRow).where(wanted).order_by(RunRow.created_at, RunRow.id)))
    session.expunge_all()
    return rows
