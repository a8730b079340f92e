"""Engine workers: the processes that tools run in."""

from __future__ import annotations

from sqlalchemy import Index, select
from sqlalchemy.orm import Mapped, mapped_column

from prefect_acms.canonical.uet_worker import UET_WORKER
from prefect_acms.dao.deciding import Values
from prefect_acms.dao.schema import (
    Moment,
    StateRow,
    at_least,
    in_order,
    set_exactly_in,
    states_of,
    terminal,
    to,
)
from prefect_acms.dao.service import StateDao


class UetWorkerRow(StateRow):
    """One process of the execution engine."""

    __tablename__ = "uet_workers"
    machine = UET_WORKER
    __table_args__ = (
        states_of(UET_WORKER),
        at_least("version", 1),
        set_exactly_in("terminated_at", *terminal(UET_WORKER)),
        in_order("created_at", "terminated_at"),
        Index(None, "run_id", "state"),
    )

    run_id: Mapped[str | None] = mapped_column(to("runs.id"))
    worker_type: Mapped[str]
    pid: Mapped[int | None]
    host: Mapped[str | None]
    affinity: Mapped[str | None]
    last_heartbeat: Mapped[Moment]
    terminated_at: Mapped[Moment | None]


class UetWorkerDao(StateDao[UetWorkerRow]):
    """Engine workers."""

    row = UetWorkerRow
    entity = UET_WORKER.entity
    prefix = "uet"
    fixed = frozenset({"run_id"})

    def of_run(self, run_id: str) -> list[UetWorkerRow]:
        """The processes of a run in the order they were made."""
        return self._all(select(UetWorkerRow).where(UetWorkerRow.run_id == run_id).order_by(UetWorkerRow.id))

    def beat(self, worker_id: str) -> None:
        """The process lives: its heartbeat is now."""
        self.change(worker_id, last_heartbeat=self._now())

    def _completed(self, columns: Values) -> Values:
        """A process that is made lives."""
        return {"last_heartbeat": self._now(), **columns}
