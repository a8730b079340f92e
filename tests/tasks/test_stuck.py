"""What is stuck: by age, by the store's clock, and by the processes that are there."""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import asdict

import psutil
import pytest
from breakers import SetClock
from operated import Rows

from prefect_acms.blocks.config import HealthSettings
from prefect_acms.canonical.events import Notice
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.canonical.uet_worker import UetWorkerTrigger
from prefect_acms.canonical.workstream import WorkstreamTrigger
from prefect_acms.dao.store import Store
from prefect_acms.tasks.leases import this_driver
from prefect_acms.tasks.stuck import Stuck, find_stuck


def by_kind(store: Store, settings: HealthSettings | None = None) -> dict[str, list[Stuck]]:
    found: dict[str, list[Stuck]] = {}
    for item in find_stuck(store, settings):
        found.setdefault(item.kind, []).append(item)
    return found


def test_nothing_is_stuck_while_a_living_process_drives(store: Store) -> None:
    """A run with its driver, a workstream that moves, a worker that beats."""
    rows = Rows(store)
    rows.running(rows.stream())
    rows.drive()
    assert find_stuck(store) == []


def test_a_run_that_nobody_drives_is_stuck(store: Store, clock: SetClock) -> None:
    """Whether nobody ever did, or the lease has expired; it can be resumed or cancelled. An ended one is not stuck."""
    rows = Rows(store)
    clock.pass_by(31)
    (item,) = find_stuck(store)
    assert (item.kind, item.id, item.run_id) == ("run", rows.run_id, rows.run_id)
    assert item.remedies == (f"acms resume {rows.run_id}", f"acms cancel {rows.run_id}")
    rows.drive()
    clock.pass_by(61)
    (item,) = find_stuck(store)
    assert f"on {socket.gethostname()} drives it no more" in item.problem
    with store.begin() as dao:
        dao.runs.advance(rows.run_id, RunTrigger.RUN_CRASHED, error="it crashed")
    assert find_stuck(store) == []


def test_between_two_phases_a_run_is_not_stuck(store: Store, clock: SetClock) -> None:
    """A living process holds no lease then, and neither does whoever is just about to take a run: no false alarm."""
    rows = Rows(store)
    clock.pass_by(29)
    assert find_stuck(store) == []
    clock.pass_by(100)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        try:
            with store.begin() as dao:
                epoch = dao.runs.take_over(rows.run_id)
                started = psutil.Process(other.pid).create_time()
                dao.runs.lease(
                    rows.run_id, epoch, 60, {**asdict(this_driver(epoch)), "pid": other.pid, "started": started}
                )
                dao.runs.let_go(rows.run_id, epoch)
            assert find_stuck(store) == []
        finally:
            other.kill()
    assert [item.kind for item in find_stuck(store)] == ["run"]


def test_a_workstream_is_stuck_an_hour_after_the_last_change_of_it_or_its_tasks(store: Store, clock: SetClock) -> None:
    """A task's change counts as its own, a notice doesn't; one that has ended is not stuck."""
    rows = Rows(store)
    stream = rows.stream()
    clock.pass_by(3000)
    task = rows.task(stream, queued=True)
    clock.pass_by(3600)
    with store.begin() as dao:
        dao.tasks.note(task, Notice.ANTI_PATTERN_DETECTED, reason="odd")
    assert "workstream" not in by_kind(store)
    clock.pass_by(1)
    (item,) = by_kind(store)["workstream"]
    assert (item.id, item.state, item.age_sec, item.limit_sec) == (stream, "ready", 3601, 3600)
    assert item.remedies[1] == f"acms override skip-workstream {stream} --operator NAME --reason TEXT"
    with store.begin() as dao:
        dao.workstreams.advance(stream, WorkstreamTrigger.DISABLED)
    assert "workstream" not in by_kind(store)


def test_a_workstream_that_waits_says_for_what(store: Store, clock: SetClock) -> None:
    """What it waits for may be what is stuck."""
    rows = Rows(store)
    first, second = rows.stream(), rows.stream(ready=False)
    with store.begin() as dao:
        dao.workstreams.depends(second, on=[first])
    clock.pass_by(3601)
    waiting = next(item for item in by_kind(store)["workstream"] if item.id == second)
    assert waiting.problem.endswith("it waits for style")


def test_a_task_is_stuck_half_an_hour_beyond_its_timeout(store: Store, clock: SetClock) -> None:
    """Reckoned from its start; of a driven run it can only be cancelled with its run."""
    rows = Rows(store)
    task, _ = rows.running(rows.stream(), timeout_sec=60)
    clock.pass_by(60 + 1800)
    assert "task" not in by_kind(store)
    clock.pass_by(1)
    (item,) = by_kind(store)["task"]
    assert (item.id, item.age_sec) == (task, 1801)
    assert item.remedies == (
        f"acms resume {rows.run_id}",
        f"acms override fail-task {task} --operator NAME --reason TEXT",
    )
    rows.drive()
    assert by_kind(store)["task"][0].remedies == (f"acms show {rows.run_id}", f"acms cancel {rows.run_id}")


def test_a_worker_is_stuck_two_minutes_after_its_last_heartbeat(store: Store, clock: SetClock) -> None:
    """Of a run or of none; a sweep helps."""
    rows = Rows(store)
    workers = {rows.worker(), rows.worker(of_run=False)}
    clock.pass_by(120)
    assert "worker" not in by_kind(store)
    clock.pass_by(1)
    found = by_kind(store)["worker"]
    assert {item.id for item in found} == workers
    assert {item.remedies for item in found} == {("acms sweep",)}


def test_a_process_that_is_gone_is_stuck(store: Store, clock: SetClock) -> None:
    """Unless a living driver is about to say so."""
    rows = Rows(store)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with store.begin() as dao:
        row = dao.uet_workers.create(run_id=rows.run_id, worker_type="ruff", host=socket.gethostname(), pid=ended.pid)
        dao.uet_workers.advance(row.id, UetWorkerTrigger.SPAWNED)
    clock.pass_by(121)
    assert [item.id for item in by_kind(store)["uet_worker"]] == [row.id]
    rows.drive()
    assert "uet_worker" not in by_kind(store)


@pytest.mark.parametrize(
    ("own", "asked", "expected"),
    [(None, None, []), (10, None, ["workstream"]), (10, 100, []), (None, 10, ["workstream"])],
)
def test_ages_are_those_of_the_call_then_of_the_run(
    store: Store, clock: SetClock, own: float | None, asked: float | None, expected: list[str]
) -> None:
    """What the caller says goes before what the run was configured with."""
    rows = Rows(store, HealthSettings(workstream_idle_sec=own) if own else None)
    rows.stream()
    clock.pass_by(50)
    settings = HealthSettings(workstream_idle_sec=asked) if asked else None
    assert [item.kind for item in find_stuck(store, settings) if item.kind != "run"] == expected
