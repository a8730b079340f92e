"""Workers: who may start a task, and what becomes of one that is silent."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from prefect_acms.canonical.errors import GuardRefused, NotFound
from prefect_acms.canonical.task import TaskTrigger
from prefect_acms.canonical.worker import WorkerTrigger
from prefect_acms.dao.store import UnitOfWork

if TYPE_CHECKING:
    from tests.dao.conftest import World


def idle_worker(dao: UnitOfWork, run_id: str) -> str:
    """A new idle worker."""
    worker = dao.workers.create(worker_type="thread", run_id=run_id)
    dao.workers.advance(worker.id, WorkerTrigger.REGISTERED)
    return worker.id


def test_a_task_is_started_by_an_idle_worker_that_can_do_it(any_world: World) -> None:
    """Busy, incapable and unknown workers are refused, whatever the caller says of them."""
    run = any_world.run()
    task = any_world.task(any_world.stream(run.id).id, queued=True, required_capabilities=["python", "fix"])
    weak, fresh = any_world.worker(run.id, capabilities=["python"]), None
    with any_world.store.begin() as dao:
        fresh = dao.workers.create(run_id=run.id, worker_type="thread", capabilities=["fix", "python"])
        lies = {"worker_state": "idle", "worker_capabilities": ["python", "fix"]}
        for worker_id in (weak.id, fresh.id):
            with pytest.raises(GuardRefused, match="idle and has the required capabilities"):
                dao.tasks.advance(task.id, TaskTrigger.WORKER_STARTED, worker_id=worker_id, facts=lies)
        with pytest.raises(GuardRefused):
            dao.tasks.advance(task.id, TaskTrigger.WORKER_STARTED, worker_id="worker_x")
        dao.workers.advance(fresh.id, WorkerTrigger.REGISTERED)
        dao.tasks.advance(task.id, TaskTrigger.WORKER_STARTED, worker_id=fresh.id)


def test_a_claim_finds_the_idle_worker_that_fits(any_world: World) -> None:
    """Both rows move, or none; affinity is heeded; without a fitting worker the task stays."""
    run = any_world.run()
    stream = any_world.stream(run.id)
    task = any_world.task(stream.id, queued=True, required_capabilities=["python"], metadata={"affinity": "gpu"})
    any_world.worker(run.id)
    any_world.worker(run.id, capabilities=["python"], affinity="cpu")
    with any_world.store.begin() as dao, pytest.raises(GuardRefused, match="worker is idle"):
        dao.tasks.claim(task.id)
    fitting = any_world.worker(run.id, capabilities=["python"], affinity="gpu")
    cpu = any_world.worker(None, affinity="cpu")
    with any_world.store.begin() as dao:
        with pytest.raises(GuardRefused, match="capabilities and affinity"):
            dao.tasks.claim(task.id, cpu.id)
        with pytest.raises(NotFound):
            dao.tasks.claim(task.id, "worker_x")
        taken = dao.tasks.claim(task.id)
    with any_world.store.begin(read_only=True) as dao:
        running = dao.tasks.get(task.id)
    assert (taken.id, taken.state, taken.current_load) == (fitting.id, "busy", 1)
    assert (running.state, running.worker_id) == ("running", fitting.id)


def test_a_worker_is_lost_by_its_silence(any_world: World) -> None:
    """The age of its heartbeat is reckoned by the store's clock; a claim must be ended before it comes back."""
    run = any_world.run()
    task = any_world.task(any_world.stream(run.id).id, queued=True)
    store, now = any_world.store, any_world.store.clock
    with store.begin() as dao:
        worker_id = idle_worker(dao, run.id)
        dao.tasks.claim(task.id, worker_id)
        with pytest.raises(GuardRefused, match="older than 120 s"):
            dao.workers.advance(worker_id, WorkerTrigger.HEARTBEAT_MISSED)
        with pytest.raises(GuardRefused, match="its load is 0"):
            dao.workers.advance(worker_id, WorkerTrigger.SHUTDOWN_REQUESTED)
    try:
        store.asker.clock = lambda: now() + timedelta(seconds=121)
        with store.begin() as dao:
            dao.workers.advance(worker_id, WorkerTrigger.HEARTBEAT_MISSED)
            with pytest.raises(GuardRefused, match="older than 300 s"):
                dao.workers.advance(worker_id, WorkerTrigger.RECOVERY_WINDOW_EXCEEDED)
            with pytest.raises(GuardRefused, match="claim has been ended"):
                dao.workers.advance(worker_id, WorkerTrigger.HEARTBEAT_RECOVERED)
            dao.tasks.advance(task.id, TaskTrigger.WORKER_LOST, last_error="lost", facts={"retryable": False})
            dao.workers.beat(worker_id)
            back = dao.workers.get(worker_id)
            assert (back.state, back.current_load) == ("idle", 0)
    finally:
        store.asker.clock = now
