"""The sweep: who is silent loses its claim or is given up, who is back may work again, unanswered reviews expire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from prefect_acms.blocks.config import HealthSettings, ResilienceSettings
from prefect_acms.canonical.clock import utc_text
from prefect_acms.canonical.errors import LostRace
from prefect_acms.canonical.events import Event
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.uet_worker import UetWorkerState, UetWorkerTrigger
from prefect_acms.canonical.worker import WorkerState, WorkerTrigger
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.dao.stuck import open_processes, open_workers
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.dao.uet_workers import UetWorkerRow
from prefect_acms.dao.workers import WorkerRow
from prefect_acms.tasks.catching_up import tell_news
from prefect_acms.tasks.gone import is_gone
from prefect_acms.tasks.health import age_sec, health_of, stored_settings
from prefect_acms.tasks.leases import driver_of
from prefect_acms.tasks.recovery import lose_worker
from prefect_acms.tasks.retries import retry_delay
from prefect_acms.tasks.run_files import refresh_files
from prefect_acms.tasks.suspension import expire_and_wake
from prefect_acms.tasks.swept import Swept, summed

MOST_RACES = 5
"""How often a row is looked at again that somebody else has changed meanwhile."""


def sweep(store: Store, settings: HealthSettings | None = None) -> Swept:
    """Move every worker and process to what its heartbeat says, by the store's clock, and end the claims of the lost.

    Patches that have waited too long for a review are dropped, so that suspended runs of theirs go on, and channels are
    told what they could not be told.
    What belongs to a run with a living driver is left to that driver. A task is lost together with its run's epoch,
    so that a driver that only slept is fenced off. Safe to do twice, and by several processes at once. What `settings`
    sets goes before what each run was configured with.
    """
    given = settings or HealthSettings()
    with store.begin(read_only=True) as dao:
        workers = [row.id for row in open_workers(dao) if _is_due(dao, row, given)]
        processes = [row.id for row in open_processes(dao) if _is_over(dao, row, given)]
    events: list[Event] = []
    left: list[str] = []
    for ids, move in ((workers, _move_worker), (processes, _end_process)):
        for row_id in ids:
            try:
                events += _patiently(store, row_id, given, move)
            except LostRace:
                left.append(row_id)
    events += expire_and_wake(store)
    for run_id in sorted({event.context.run_id for event in events if event.context.run_id}):
        refresh_files(store, run_id)
    tell_news(store)
    return summed(events, left)


Move = Callable[[UnitOfWork, str, HealthSettings], None]


def _patiently(store: Store, row_id: str, given: HealthSettings, move: Move) -> Sequence[Event]:
    """One row in one unit of work; a race that was lost is run again, a few times."""
    for attempt in Retrying(stop=stop_after_attempt(MOST_RACES), retry=retry_if_exception_type(LostRace), reraise=True):
        with attempt, store.begin() as dao:
            move(dao, row_id, given)
            return tuple(dao.trail.events)
    return ()


# workers


def _is_due(dao: UnitOfWork, worker: WorkerRow, given: HealthSettings) -> bool:
    return bool(_steps(dao, worker, given))


def _steps(dao: UnitOfWork, worker: WorkerRow, given: HealthSettings) -> list[WorkerTrigger]:
    """What is due for a worker, in order."""
    runs = _runs_of(dao, worker)
    now = dao.store.clock()
    if any(driver_of(run, now) is not None for run in runs):
        return []
    health, age = health_of(next(iter(runs), None), given), age_sec(worker.last_heartbeat, now)
    is_silent, is_lost = age > health.unresponsive_after_sec, age > health.lost_after_sec
    match worker.state:
        case WorkerState.INITIALIZING:
            return [WorkerTrigger.INIT_FAILED] if is_lost else []
        case WorkerState.IDLE | WorkerState.BUSY if is_silent:
            missed = [WorkerTrigger.HEARTBEAT_MISSED]
            return [*missed, WorkerTrigger.RECOVERY_WINDOW_EXCEEDED] if is_lost else missed
        case WorkerState.UNRESPONSIVE if is_lost:
            return [WorkerTrigger.RECOVERY_WINDOW_EXCEEDED]
        case WorkerState.UNRESPONSIVE if not is_silent:
            return [WorkerTrigger.HEARTBEAT_RECOVERED]
    return []


def _runs_of(dao: UnitOfWork, worker: WorkerRow) -> list[RunRow]:
    """The runs that a worker has to do with: its own, and that of the task it has claimed."""
    ids = {task.run_id for task in dao.tasks.of_worker(worker.id)} | ({worker.run_id} if worker.run_id else set())
    return [dao.runs.get(run_id) for run_id in sorted(ids)]


def _move_worker(dao: UnitOfWork, worker_id: str, given: HealthSettings) -> None:
    worker = dao.workers.get(worker_id)
    steps = _steps(dao, worker, given)
    if not steps:
        return
    health = health_of(next(iter(_runs_of(dao, worker)), None), given)
    facts = {"unresponsive_after_sec": health.unresponsive_after_sec, "lost_after_sec": health.lost_after_sec}
    reason = f"last heartbeat at {worker.last_heartbeat}"
    for task in dao.tasks.of_worker(worker_id):
        _lose(dao, task, f"worker {worker_id} is silent: {reason}")
    for trigger in steps:
        # its claim has just been ended, whatever it was; the other triggers bring their own load
        load: dict[str, Any] = {} if trigger is WorkerTrigger.HEARTBEAT_RECOVERED else {"current_load": 0}
        dao.workers.advance(worker_id, trigger, reason=reason, facts=facts, **load)


def _lose(dao: UnitOfWork, task: TaskRow, reason: str) -> None:
    """End the claim of a silent worker; who thought that it drives the run finds that it does no more."""
    run = dao.runs.get(task.run_id)
    if run.state not in MACHINES["run"].terminal:
        dao.runs.take_over(run.id)
    resilience = stored_settings(ResilienceSettings, run, "resilience")
    delay = timedelta(seconds=retry_delay(resilience, task.retry_count, seed=task.id))
    lose_worker(dao, task, reason, now=utc_text(dao.store.clock() + delay))


# processes

_GONE = {
    UetWorkerState.SPAWNING: UetWorkerTrigger.SPAWN_FAILED,
    UetWorkerState.IDLE: UetWorkerTrigger.HEARTBEAT_LOST,
    UetWorkerState.BUSY: UetWorkerTrigger.HEARTBEAT_LOST,
    UetWorkerState.DRAINING: UetWorkerTrigger.CRASHED,
}


def _is_over(dao: UnitOfWork, process: UetWorkerRow, given: HealthSettings) -> bool:
    run, now = dao.runs.find(process.run_id) if process.run_id else None, dao.store.clock()
    if process.state not in _GONE or (run is not None and driver_of(run, now) is not None):
        return False
    return is_gone(process, now, health_of(run, given))


def _end_process(dao: UnitOfWork, process_id: str, given: HealthSettings) -> None:
    process = dao.uet_workers.get(process_id)
    if _is_over(dao, process, given):
        reason = f"process {process.pid or '?'} on {process.host or '?'} is gone"
        dao.uet_workers.advance(process_id, _GONE[UetWorkerState(process.state)], reason=reason)
