"""Tool metrics: how often each tool worked and how long it took; whose turn it is in a routing rule."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from prefect_acms.dao.reading import Dao
from prefect_acms.dao.schema import Base, Moment, at_least, check


class ToolMetricRow(Base):
    """The record of one tool; latency is summed in milliseconds."""

    __tablename__ = "tool_metrics"
    __table_args__ = (
        check("success_count", "success_count BETWEEN 0 AND call_count"),
        at_least("total_latency_ms", 0),
    )

    tool_id: Mapped[str] = mapped_column(primary_key=True)
    call_count: Mapped[int] = mapped_column(default=0)
    success_count: Mapped[int] = mapped_column(default=0)
    total_latency_ms: Mapped[float] = mapped_column(default=0.0)
    updated_at: Mapped[Moment]


class RoutingIndexRow(Base):
    """How often a round-robin rule has been asked."""

    __tablename__ = "routing_indexes"
    __table_args__ = (at_least("next_index", 0),)

    rule_id: Mapped[str] = mapped_column(primary_key=True)
    next_index: Mapped[int] = mapped_column(default=0)


class ToolMetricDao(Dao[ToolMetricRow]):
    """Tool metrics."""

    row = ToolMetricRow
    entity = "tool metric"

    def record(self, tool_id: str, success: bool, latency_ms: float) -> None:  # noqa: FBT001 - the contract's order
        """Count one run of a tool."""
        counted = {"call_count": 1, "success_count": int(success), "total_latency_ms": float(latency_ms)}
        first = insert(ToolMetricRow).values(tool_id=tool_id, updated_at=self._now(), **counted)
        more = {name: getattr(ToolMetricRow, name) + first.excluded[name] for name in counted}
        more["updated_at"] = first.excluded.updated_at
        self._do(first.on_conflict_do_update(index_elements=[ToolMetricRow.tool_id], set_=more), tool_id)

    def all(self) -> list[ToolMetricRow]:
        """Every record, by the name of its tool."""
        return self._all(select(ToolMetricRow).order_by(ToolMetricRow.tool_id))

    def next_index(self, rule_id: str) -> int:
        """Whose turn it is in a round-robin rule: 0, 1, 2 … over all processes; counts one up."""
        first = insert(RoutingIndexRow).values(rule_id=rule_id, next_index=1)
        more = {"next_index": RoutingIndexRow.next_index + 1}
        self._do(first.on_conflict_do_update(index_elements=[RoutingIndexRow.rule_id], set_=more), rule_id)
        statement = select(RoutingIndexRow.next_index).where(RoutingIndexRow.rule_id == rule_id)
        return self._unit.session.scalars(statement).one() - 1
