"""What a trail holds after a place in it, for whoever tells people about runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import and_, or_, select

from prefect_acms.canonical.circuit_breaker import CIRCUIT_BREAKER, CircuitBreakerState
from prefect_acms.dao.lines import TRAIL, Row, rows_of
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.schema import table_of
from prefect_acms.dao.transitions import TransitionRow
from prefect_acms.dao.unit import UnitOfWork

_ROWS = table_of(TransitionRow)


class Place(NamedTuple):
    """How far two chains were read: that of a run, and the one of what belongs to no run."""

    run: int = 0
    shared: int = 0


def untold_rows(unit: UnitOfWork, run: RunRow, after: Place) -> Iterator[Row]:
    """What happened to a run after a place, oldest first; breakers, which all runs share, while it went on."""
    own = and_(_ROWS.c.run_id == run.id, _ROWS.c.chain_seq > after.run)
    opened = and_(
        _ROWS.c.run_id.is_(None),
        _ROWS.c.chain_seq > after.shared,
        _ROWS.c.entity_type == CIRCUIT_BREAKER.entity,
        _ROWS.c.to_state == CircuitBreakerState.OPEN.value,
        _ROWS.c.transitioned_at >= run.created_at,
    )
    if run.completed_at is not None:
        opened = and_(opened, _ROWS.c.transitioned_at <= run.completed_at)
    return rows_of(unit.connection, TRAIL.where(or_(own, opened)).order_by(_ROWS.c.transition_id))


def runs_changed_since(unit: UnitOfWork, moment: str) -> list[RunRow]:
    """The runs that were changed since that moment, oldest first."""
    session = unit.session
    wanted = select(RunRow).where(RunRow.updated_at >= moment).order_by(RunRow.created_at, RunRow.id)
    rows = list(session.scalars(wanted))
    session.expunge_all()
    return rows
