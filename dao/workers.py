"""Workers: slots of the pool that runs tasks."""

from __future__ import annotations

from sqlalchemy import Index, or_, select
from sqlalchemy.orm import Mapped, mapped_column

from prefect_acms.canonical.errors import GuardRefused
from prefect_acms.canonical.machine import Edge
from prefect_acms.canonical.worker import FITS, WORKER, WorkerState, WorkerTrigger
from prefect_acms.dao.deciding import Values
from prefect_acms.dao.schema import (
    JsonList,
    Moment,
    StateRow,
    at_least,
    check,
    in_order,
    set_exactly_in,
    states_of,
    terminal,
    to,
)
from prefect_acms.dao.service import StateDao


class WorkerRow(StateRow):
    """One slot that takes one task at a time."""

    __tablename__ = "workers"
    machine = WORKER
    __table_args__ = (
        states_of(WORKER),
        at_least("version", 1),
        check("current_load", "current_load IN (0, 1)"),
        check("idle_has_no_load", "state NOT IN ('initializing', 'idle') OR current_load = 0"),
        set_exactly_in("shutdown_at", *terminal(WORKER)),
        in_order("created_at", "shutdown_at"),
        Index(None, "run_id", "state"),
    )

    run_id: Mapped[str | None] = mapped_column(to("runs.id"))
    worker_type: Mapped[str]
    capabilities: Mapped[JsonList]
    affinity: Mapped[str | None]
    current_load: Mapped[int] = mapped_column(default=0)
    last_heartbeat: Mapped[Moment]
    drain_requested_at: Mapped[Moment | None]
    shutdown_at: Mapped[Moment | None]


_LOAD_AFTER = {
    WorkerTrigger.TASK_ASSIGNED: 1,
    WorkerTrigger.TASK_FINISHED: 0,
    WorkerTrigger.HEARTBEAT_RECOVERED: 0,
    WorkerTrigger.WORKER_CRASHED: 0,
}


class WorkerDao(StateDao[WorkerRow]):
    """Workers."""

    row = WorkerRow
    entity = WORKER.entity
    prefix = "worker"
    fixed = frozenset({"run_id"})
    fixed_later = frozenset({"affinity"})

    def of_run(self, run_id: str) -> list[WorkerRow]:
        """The workers of a run in the order they were made."""
        return self._all(select(WorkerRow).where(WorkerRow.run_id == run_id).order_by(WorkerRow.id))

    def beat(self, worker_id: str) -> None:
        """The worker lives: its heartbeat is now; one that was unresponsive is back, once its claim has been ended."""
        self.change(worker_id, last_heartbeat=self._now())
        silent = self.get(worker_id).state == WorkerState.UNRESPONSIVE
        if silent and not self._unit.tasks.of_worker(worker_id):
            self.advance(worker_id, WorkerTrigger.HEARTBEAT_RECOVERED)

    def fitting(self, run_id: str, wish: Values) -> str | None:
        """The first idle worker of the run, or of no run, that has what a task asks for; None where there is none."""
        mine = or_(WorkerRow.run_id == run_id, WorkerRow.run_id.is_(None))
        statement = select(WorkerRow).where(WorkerRow.state == WorkerState.IDLE.value, mine)
        for worker in self._all(statement.order_by(WorkerRow.run_id.is_(None), WorkerRow.id)):
            if FITS.allows({**wish, "capabilities": worker.capabilities, "affinity": worker.affinity}):
                return worker.id
        return None

    def check(self, worker_id: str, wish: Values) -> None:
        """Lock the worker, and see that it has what a task asks for; raises GuardRefused or NotFound."""
        row = self._read((worker_id,), self._cause(WorkerTrigger.TASK_ASSIGNED))[worker_id]
        if not FITS.allows({**wish, **row}):
            facts = {"entity": self.entity, "id": worker_id, "state": row["state"], "target": WorkerState.BUSY.value}
            raise GuardRefused(**facts, guard=FITS.sentence)

    def _completed(self, columns: Values) -> Values:
        """A worker that is made lives."""
        return {"last_heartbeat": self._now(), **columns}

    def _implied(self, trigger: str, _edge: Edge, _facts: Values) -> Values:
        """Its load follows from what happens to it."""
        load = _LOAD_AFTER.get(WorkerTrigger(trigger))
        return {} if load is None else {"current_load": load}
