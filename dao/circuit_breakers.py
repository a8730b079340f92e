"""Circuit breakers: one a tool, shared by every process."""

from __future__ import annotations

from sqlalchemy import UniqueConstraint, select
from sqlalchemy.orm import Mapped, mapped_column

from prefect_acms.canonical.circuit_breaker import CIRCUIT_BREAKER
from prefect_acms.dao.schema import Moment, StateRow, at_least, check, set_in, states_of
from prefect_acms.dao.service import StateDao


class BreakerRow(StateRow):
    """The breaker of one tool."""

    __tablename__ = "circuit_breakers"
    machine = CIRCUIT_BREAKER
    __table_args__ = (
        states_of(CIRCUIT_BREAKER),
        at_least("version", 1),
        at_least("failure_count", 0),
        at_least("success_count", 0),
        at_least("failure_threshold", 1),
        at_least("success_threshold", 1),
        check("cooldown_seconds", "cooldown_seconds >= 0"),
        set_in("opened_at", "OPEN", "HALF_OPEN"),
        UniqueConstraint("tool_id"),
    )

    tool_id: Mapped[str]
    failure_count: Mapped[int] = mapped_column(default=0)
    success_count: Mapped[int] = mapped_column(default=0)
    failure_threshold: Mapped[int] = mapped_column(default=5)
    cooldown_seconds: Mapped[float] = mapped_column(default=60.0)
    success_threshold: Mapped[int] = mapped_column(default=1)
    opened_at: Mapped[Moment | None]
    last_failure_at: Mapped[Moment | None]


class BreakerDao(StateDao[BreakerRow]):
    """Circuit breakers."""

    row = BreakerRow
    entity = CIRCUIT_BREAKER.entity
    prefix = "breaker"
    fixed = frozenset({"tool_id"})

    def for_tool(self, tool_id: str) -> BreakerRow | None:
        """The breaker of a tool, or None where it has none yet."""
        return next(iter(self._all(select(BreakerRow).where(BreakerRow.tool_id == tool_id))), None)

    def all(self) -> list[BreakerRow]:
        """Every breaker, by the name of its tool."""
        return self._all(select(BreakerRow).order_by(BreakerRow.tool_id))
