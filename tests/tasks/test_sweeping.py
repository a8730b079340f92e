"""Worker health: what silence does to workers, to what they have claimed, and to the processes of tools."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from breakers import SetClock
from hypothesis import given, settings
from hypothesis import strategies as st
from operated import Rows

from prefect_acms.blocks.config import HealthSettings
from prefect_acms.canonical.errors import LostRace, Superseded
from prefect_acms.canonical.uet_worker import UetWorkerTrigger
from prefect_acms.canonical.worker import WorkerTrigger
from prefect_acms.dao.audit import verify
from prefect_acms.dao.ids import Ids
from prefect_acms.dao.store import Fence, Store, UnitOfWork, open_store
from prefect_acms.tasks import sweeping
from prefect_acms.tasks.survivors import RUN_MARK
from prefect_acms.tasks.sweeping import MOST_RACES, sweep
from prefect_acms.tasks.swept import Swept


@pytest.fixture
def rows(store: Store) -> Rows:
    """A run that nobody drives."""
    return Rows(store)


def test_nobody_is_moved_while_all_beat(rows: Rows, clock: SetClock) -> None:
    """120 s are not too long; nothing is written at all."""
    rows.worker()
    clock.pass_by(120)
    before = rows.trail()
    assert sweep(rows.store) == Swept()
    assert Swept().sentence == "nothing to sweep"
    assert rows.trail() == before


def test_a_silent_worker_loses_its_task_and_then_its_place(rows: Rows, clock: SetClock) -> None:
    """Unresponsive after 120 s, its task is to be tried again; shut down after 300 s; the second look does nothing."""
    task, worker = rows.running(rows.stream())
    clock.pass_by(121)
    swept = sweep(rows.store)
    assert (swept.unresponsive, swept.retrying, swept.shut_down) == ((worker,), (task,), ())
    assert rows.states(tasks=task, workers=worker) == ["retrying", "unresponsive"]
    assert sweep(rows.store) == Swept()
    clock.pass_by(180)
    assert sweep(rows.store).shut_down == (worker,)
    assert rows.states(workers=worker) == ["shutdown"]
    with rows.store.begin(read_only=True) as dao:
        lost = dao.tasks.get(task)
        assert (lost.retry_count, lost.worker_id) == (1, None)
        assert str(lost.next_attempt_at) > lost.updated_at
        assert dao.workers.get(worker).current_load == 0
    triggers = [trigger for trigger, entity, _ in rows.trail() if entity in {task, worker}]
    assert triggers.index("worker_lost") < triggers.index("heartbeat_missed")
    assert verify(rows.store).ok


def test_a_task_without_retries_fails_with_its_worker(rows: Rows, clock: SetClock) -> None:
    """Its reason names the worker; both ages in one sweep are two steps of the worker."""
    task, worker = rows.running(rows.stream(), max_retries=0)
    clock.pass_by(1000)
    swept = sweep(rows.store)
    assert (swept.failed, swept.unresponsive, swept.shut_down) == ((task,), (worker,), (worker,))
    with rows.store.begin(read_only=True) as dao:
        assert worker in str(dao.tasks.get(task).last_error)
    assert swept.sentence == "1 worker unresponsive, 1 worker shut down, 1 lost task failed"


def test_a_driver_that_only_slept_finds_that_its_task_is_lost(rows: Rows, clock: SetClock) -> None:
    """The epoch rises with the loss, so that nothing it still writes is accepted."""
    rows.drive()
    with rows.store.begin(read_only=True) as dao:
        epoch = dao.runs.get(rows.run_id).epoch
    task, _ = rows.running(rows.stream())
    clock.pass_by(121)
    sweep(rows.store)

    def late() -> None:
        with rows.store.begin(fence=Fence(rows.run_id, epoch)) as dao:
            dao.tasks.change(task, metadata={"late": True})

    with pytest.raises(Superseded):
        late()


def test_what_a_living_driver_has_is_left_to_it(rows: Rows, clock: SetClock) -> None:
    """Its workers, their tasks and the processes of its tools, silent as they may be."""
    task, worker = rows.running(rows.stream())
    stranger = rows.worker(of_run=False)
    clock.pass_by(1000)
    rows.drive()
    assert sweep(rows.store).shut_down == (stranger,)
    assert rows.states(tasks=task, workers=worker) == ["running", "busy"]


def test_a_worker_that_beats_again_is_back(rows: Rows, clock: SetClock) -> None:
    """By its own beat once its claim has ended; and a sweep sees a beat that came from elsewhere."""
    one, two = rows.worker(), rows.worker()
    clock.pass_by(121)
    sweep(rows.store)
    with rows.store.begin() as dao:
        dao.workers.beat(one)
        dao.workers.change(two, last_heartbeat=dao.workers.get(one).last_heartbeat)
    assert rows.states(workers=one) == ["idle"]
    assert sweep(rows.store).recovered == (two,)


def test_a_beat_does_not_bring_a_worker_back_that_still_holds_a_claim(rows: Rows, clock: SetClock) -> None:
    """The sweep ends the claim first."""
    task, worker = rows.running(rows.stream())
    clock.pass_by(121)
    with rows.store.begin() as dao:
        dao.workers.advance(worker, WorkerTrigger.HEARTBEAT_MISSED)
        dao.workers.beat(worker)
    assert rows.states(workers=worker) == ["unresponsive"]
    swept = sweep(rows.store)
    assert (swept.recovered, swept.retrying) == ((worker,), (task,))


def test_a_worker_that_never_got_ready_is_given_up(rows: Rows, clock: SetClock) -> None:
    """By `init_failed`, once it counts as lost."""
    with rows.store.begin() as dao:
        worker = dao.workers.create(worker_type="slot", run_id=rows.run_id).id
    clock.pass_by(299)
    assert sweep(rows.store) == Swept()
    clock.pass_by(2)
    assert sweep(rows.store).shut_down == (worker,)


def test_a_run_brings_its_own_ages_and_the_caller_may_overrule_them(store: Store, clock: SetClock) -> None:
    """What is set in the call goes first, then the run's configuration, then the defaults."""
    ages = HealthSettings(heartbeat_sec=1, unresponsive_after_sec=10, lost_after_sec=5000)
    own, other = Rows(store, ages).worker(), Rows(store).worker()
    clock.pass_by(11)
    assert sweep(store).unresponsive == (own,)
    assert sweep(store, HealthSettings(heartbeat_sec=1, unresponsive_after_sec=5)).unresponsive == (other,)


@pytest.mark.parametrize("wrong", [{"heartbeat_sec": 200}, {"lost_after_sec": 100}, {"heartbeat_sec": 0}])
def test_ages_that_contradict_each_other_are_refused(wrong: dict[str, float]) -> None:
    """A heartbeat comes before unresponsive, and that before lost."""
    with pytest.raises(ValueError, match=r"heartbeat_sec|greater than 0"):
        HealthSettings(**wrong)


def _process(rows: Rows, pid: int | None, host: str | None = None) -> str:
    with rows.store.begin() as dao:
        row = dao.uet_workers.create(run_id=rows.run_id, worker_type="ruff", host=host or socket.gethostname(), pid=pid)
        if pid is not None:
            dao.uet_workers.advance(row.id, UetWorkerTrigger.SPAWNED)
            dao.uet_workers.advance(row.id, UetWorkerTrigger.TASK_ASSIGNED)
    return row.id


def test_a_process_that_is_gone_is_said_to_be(rows: Rows, clock: SetClock) -> None:
    """Seen at once on this machine, also when its number is somebody else's now; elsewhere by its silence."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    env = {**os.environ, RUN_MARK: f"{rows.run_id}/1"}
    with (
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=env) as ours,
        subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={**env, RUN_MARK: "run_other/1"}
        ) as theirs,
    ):
        lives, gone, taken = (_process(rows, child.pid) for child in (ours, ended, theirs))
        elsewhere, unborn = _process(rows, 1, host="elsewhere"), _process(rows, None)
        assert set(sweep(rows.store).terminated) == {gone, taken}
        clock.pass_by(301)
        assert set(sweep(rows.store).terminated) == {elsewhere, unborn}
        assert rows.states(uet_workers=lives) == ["BUSY"]
        for child in (ours, theirs):
            child.communicate(b"\n")
    assert sweep(rows.store).terminated == (lives,)
    assert verify(rows.store).ok


def test_two_sweeps_at_once_do_it_once(rows: Rows, clock: SetClock) -> None:
    """Each step is in the trail one time, whoever did it."""
    stream = rows.stream()
    pairs = [rows.running(stream) for _ in range(4)]
    clock.pass_by(1000)
    other = open_store(rows.store.url, clock=clock, ids=Ids(seed=7, clock=clock))
    with ThreadPoolExecutor(2) as pool:
        swept = [done.result() for done in [pool.submit(sweep, rows.store), pool.submit(sweep, other)]]
    other.close()
    assert sorted(worker for one in swept for worker in one.shut_down) == sorted(worker for _, worker in pairs)
    assert sorted(task for one in swept for task in one.retrying) == sorted(task for task, _ in pairs)
    told = [entry for entry in rows.trail() if entry[0] in {"worker_lost", "heartbeat_missed"}]
    assert len(told) == len(set(told)) == 8
    assert verify(rows.store).ok


@pytest.mark.parametrize(("races", "calls"), [(MOST_RACES - 1, MOST_RACES), (100, MOST_RACES)])
def test_a_race_that_was_lost_is_run_again_a_few_times(rows: Rows, races: int, calls: int) -> None:
    """And then left for the next sweep."""
    called: list[str] = []

    def move(dao: UnitOfWork, row_id: str, _given: HealthSettings) -> None:
        called.append(row_id)
        if len(called) <= races:
            raise LostRace(entity="worker", id=row_id, seen=1, found=2)
        dao.workers.beat(row_id)

    worker = rows.worker()
    if races < MOST_RACES:
        sweeping._patiently(rows.store, worker, HealthSettings(), move)
    else:
        with pytest.raises(LostRace):
            sweeping._patiently(rows.store, worker, HealthSettings(), move)
    assert len(called) == calls


@settings(max_examples=15)
@given(silences=st.lists(st.floats(min_value=0, max_value=400), min_size=1, max_size=4), times=st.integers(1, 2))
def test_a_worker_is_where_its_silence_puts_it(
    silences: list[float], times: int, empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """However long the pauses between beats and sweeps are, and however often one sweeps."""
    path = tmp_path_factory.mktemp("sweeps") / "canonical.db"
    path.write_bytes(empty_database.read_bytes())
    clock = SetClock()
    store = open_store(f"sqlite:///{path}", clock=clock, synchronous="NORMAL")
    rows = Rows(store)
    worker, expected = rows.worker(), "idle"
    for silence in silences:
        clock.pass_by(silence)
        for _ in range(times):
            sweep(store)
        if expected != "shutdown":
            expected = "shutdown" if silence > 300 else "unresponsive" if silence > 120 else "idle"
            assert rows.states(workers=worker) == [expected]
            with store.begin() as dao:
                dao.workers.beat(worker)
    store.close()
