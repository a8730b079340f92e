"""What goes on no more by itself, and what a person can do about it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from prefect_acms.blocks.config import HealthSettings
from prefect_acms.canonical.clock import utc_moment, utc_text
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.schema import StateRow
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.dao.stuck import open_processes, open_workers, open_workstreams, running_tasks
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.dao.uet_workers import UetWorkerRow
from prefect_acms.dao.workers import WorkerRow
from prefect_acms.dao.workstreams import WorkstreamRow
from prefect_acms.tasks.gone import is_gone
from prefect_acms.tasks.health import age_sec, health_of
from prefect_acms.tasks.leases import driver_of, recorded_driver
from prefect_acms.tasks.standing import Standing, standing_of
from prefect_acms.tasks.suspension import is_waiting

_BY_HAND = "--operator NAME --reason TEXT"


class Stuck(BaseModel):
    """One entity that goes on no more: since when, how long that may be, and the commands that help."""

    model_config = ConfigDict(frozen=True)

    kind: str
    id: str
    state: str
    run_id: str | None
    since: str
    age_sec: float
    limit_sec: float
    problem: str
    remedies: tuple[str, ...]


def find_stuck(store: Store, settings: HealthSettings | None = None) -> list[Stuck]:
    """Everything that is stuck by the store's clock: runs, then workstreams, tasks, workers and tools' processes.

    What `settings` sets goes before what each run was configured with.
    """
    with store.begin(read_only=True) as dao:
        runs = {run.id: run for run in dao.runs.unended()}
        look = _Look(dao, store.clock(), settings or HealthSettings(), runs)
        return [
            *filter(None, map(look.at_run, runs.values())),
            *filter(None, (look.at_workstream(row, last) for row, last in open_workstreams(dao))),
            *filter(None, map(look.at_task, running_tasks(dao))),
            *filter(None, map(look.at_worker, open_workers(dao))),
            *filter(None, map(look.at_process, open_processes(dao))),
        ]


class _Look:
    """One look at everything, at one moment."""

    def __init__(self, dao: UnitOfWork, now: datetime, given: HealthSettings, runs: Mapping[str, RunRow]) -> None:
        self._dao = dao
        self._now = now
        self._given = given
        self._runs = runs
        self._suspended = {run.id for run in runs.values() if is_waiting(dao, run)}
        """Runs that go on by themselves once a person has answered: nothing of them is stuck."""
        # a living process holds no lease between two phases: that it may go on is no news for anybody
        self._driven = {
            run.id
            for run in runs.values()
            if driver_of(run, now) is not None or standing_of(run, now) is not Standing.LEFT
        }

    def at_run(self, run: RunRow) -> Stuck | None:
        """A run that nobody drives."""
        if run.id in self._driven | self._suspended:
            return None
        last = recorded_driver(run)
        who = f"process {last.pid} on {last.host} drives it no more" if last else "nobody has driven it yet"
        remedies = (f"acms resume {run.id}", f"acms cancel {run.id}")
        return self._told("run", run, run.updated_at, 0.0, f"nobody drives it: {who}", remedies)

    def at_workstream(self, row: WorkstreamRow, last: str) -> Stuck | None:
        """A workstream of which nothing has moved for too long."""
        limit = self._health(row.run_id).workstream_idle_sec
        if row.run_id in self._suspended or age_sec(last, self._now) <= limit:
            return None
        waits = [other.name for other in self._dao.workstreams.prerequisites(row.id) if other.completed_at is None]
        problem = "neither it nor a task of it has moved" + (f"; it waits for {', '.join(waits)}" if waits else "")
        verb = "fail-workstream" if row.started_at else "skip-workstream"
        return self._told("workstream", row, last, limit, problem, self._remedies(row.run_id, verb, row.id))

    def at_task(self, row: TaskRow) -> Stuck | None:
        """A task that runs far beyond its timeout."""
        limit = self._health(row.run_id).task_overdue_sec
        due = utc_text(utc_moment(row.started_at or row.updated_at) + timedelta(seconds=row.timeout_sec))
        if age_sec(due, self._now) <= limit:
            return None
        problem = f"it still runs, though its {row.timeout_sec:g} s are over"
        return self._told("task", row, due, limit, problem, self._remedies(row.run_id, "fail-task", row.id))

    def at_worker(self, row: WorkerRow) -> Stuck | None:
        """A worker that is silent."""
        limit = self._health(row.run_id).unresponsive_after_sec
        if age_sec(row.last_heartbeat, self._now) <= limit:
            return None
        return self._told("worker", row, row.last_heartbeat, limit, "no heartbeat", self._sweep(row.run_id))

    def at_process(self, row: UetWorkerRow) -> Stuck | None:
        """A tool's process that is gone, though nobody has said so."""
        health = self._health(row.run_id)
        silent = age_sec(row.last_heartbeat, self._now) > health.unresponsive_after_sec
        if row.run_id in self._driven or not silent or not is_gone(row, self._now, health):
            return None
        problem = f"process {row.pid or '?'} on {row.host or '?'} is gone"
        limit = health.unresponsive_after_sec
        return self._told("uet_worker", row, row.last_heartbeat, limit, problem, self._sweep(row.run_id))

    def _health(self, run_id: str | None) -> HealthSettings:
        return health_of(self._runs.get(run_id) if run_id else None, self._given)

    def _sweep(self, run_id: str | None) -> tuple[str, ...]:
        """A sweep leaves to a living driver what is that driver's."""
        return (f"acms cancel {run_id}",) if run_id in self._driven else ("acms sweep",)

    def _remedies(self, run_id: str, verb: str, row_id: str) -> tuple[str, ...]:
        """A living driver is not helped by hand: its run can only be ended."""
        if run_id in self._driven:
            return (f"acms show {run_id}", f"acms cancel {run_id}")
        return (f"acms resume {run_id}", f"acms override {verb} {row_id} {_BY_HAND}")

    def _told(  # noqa: PLR0917 - each says what it is
        self, kind: str, row: StateRow, since: str, limit: float, problem: str, remedies: tuple[str, ...]
    ) -> Stuck:
        return Stuck(
            kind=kind,
            id=row.id,
            state=row.state,
            run_id=row.id if kind == "run" else getattr(row, "run_id", None),
            since=since,
            age_sec=age_sec(since, self._now),
            limit_sec=limit,
            problem=problem,
            remedies=remedies,
        )
