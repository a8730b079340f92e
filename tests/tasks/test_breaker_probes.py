"""Probes of a breaker whose cooldown is over: one at a time, among threads and among processes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from breakers import SETTINGS, START, SetClock, breaker_of, fail, let_fail, state_of, work

from prefect_acms.canonical.clock import utc_text
from prefect_acms.canonical.outside_errors import BreakerOpen
from prefect_acms.dao.store import Store, open_store
from prefect_acms.tasks.breakers import ToolBreakers


def test_after_the_cooldown_a_good_probe_closes_it(store: Store, clock: SetClock, opened: ToolBreakers) -> None:
    """By the store's clock, not a second earlier."""
    clock.pass_by(59.9)
    with pytest.raises(BreakerOpen):
        opened.call("tool", work)
    clock.pass_by(0.1)
    assert opened.call("tool", work) == "done"
    row = breaker_of(store)
    assert (row.state, row.failure_count, row.success_count, row.info) == ("CLOSED", 0, 0, {"probe": None})


def test_a_bad_probe_opens_it_again_for_a_whole_cooldown(store: Store, clock: SetClock, opened: ToolBreakers) -> None:
    """From the moment of the bad probe."""
    clock.pass_by(60)
    let_fail(opened, 1)
    row = breaker_of(store)
    assert (row.state, row.opened_at, row.failure_count) == ("OPEN", utc_text(START + timedelta(seconds=60)), 4)
    clock.pass_by(59)
    with pytest.raises(BreakerOpen):
        opened.call("tool", work)
    clock.pass_by(1)
    opened.call("tool", work)
    assert state_of(store) == "CLOSED"


def test_several_good_probes_may_be_asked_for(store: Store, clock: SetClock) -> None:
    """One after the other, and a bad one among them starts over."""
    breakers = ToolBreakers(store, SETTINGS.model_copy(update={"success_threshold": 2}))
    let_fail(breakers, 3)
    clock.pass_by(60)
    breakers.call("tool", work)
    assert state_of(store) == "HALF_OPEN"
    let_fail(breakers, 1)
    assert state_of(store) == "OPEN"
    clock.pass_by(60)
    breakers.call("tool", work)
    assert (state_of(store), breaker_of(store).success_count) == ("HALF_OPEN", 1)
    breakers.call("tool", work)
    assert state_of(store) == "CLOSED"


def test_of_many_threads_exactly_one_probes(store: Store, clock: SetClock, opened: ToolBreakers) -> None:
    """The others are held back while it runs."""
    clock.pass_by(60)
    start, others_are_back = threading.Barrier(8), threading.Event()

    def probing() -> str:
        assert others_are_back.wait(20)
        return "done"

    def call() -> str:
        start.wait(20)
        return opened.call("tool", probing)

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(call) for _ in range(8)]
        while sum(one.done() for one in calls) < 7:
            threading.Event().wait(0.01)
        others_are_back.set()
    outcomes = [type(call.exception()).__name__ for call in calls]
    assert sorted(outcomes) == ["BreakerOpen"] * 7 + ["NoneType"]
    assert state_of(store) == "CLOSED"


IN_ANOTHER_PROCESS = """
import os, sys, time
from pathlib import Path
from prefect_acms.blocks.config import ResilienceSettings
from prefect_acms.canonical.outside_errors import BreakerOpen
from prefect_acms.dao.store import open_store
from prefect_acms.tasks.breakers import ToolBreakers

url, folder, probe_sec, ending = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
breakers = ToolBreakers(open_store(url), ResilienceSettings(failure_threshold=3, cooldown_sec=0), probe_sec=probe_sec)

def probe():
    (folder / f"probed-{os.getpid()}").touch()
    if ending == "die":
        os._exit(9)
    while not (folder / "go").exists():
        time.sleep(0.01)

(folder / f"ready-{os.getpid()}").touch()
while len(list(folder.glob("ready-*"))) < 4 and ending != "die":
    time.sleep(0.005)
try:
    breakers.call("tool", probe)
except BreakerOpen:
    (folder / f"held-{os.getpid()}").touch()
"""


def start_process(url: str, folder: Path, *, probe_sec: float, ending: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen((sys.executable, "-c", IN_ANOTHER_PROCESS, url, str(folder), str(probe_sec), ending))


@pytest.fixture
def opened_without_cooldown(canonical_url: str) -> Iterator[Store]:
    """A store by the machine's clock, for several processes, whose breaker of `tool` waits for a probe."""
    opened = open_store(canonical_url, synchronous="NORMAL")
    let_fail(ToolBreakers(opened, SETTINGS.model_copy(update={"cooldown_sec": 0.0})), 3)
    yield opened
    opened.close()


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.01)
    pytest.fail("it never came about")


def test_of_many_processes_exactly_one_probes(
    canonical_url: str, tmp_path: Path, opened_without_cooldown: Store
) -> None:
    """The store is the only thing that they share."""
    processes = [start_process(canonical_url, tmp_path, probe_sec=600, ending="end") for _ in range(4)]
    wait_until(lambda: len(list(tmp_path.glob("held-*"))) == 3)
    assert len(list(tmp_path.glob("probed-*"))) == 1
    (tmp_path / "go").touch()
    assert [process.wait(20) for process in processes] == [0] * 4
    assert state_of(opened_without_cooldown) == "CLOSED"


def test_a_probe_whose_process_died_is_given_up_after_a_while(
    canonical_url: str, tmp_path: Path, opened_without_cooldown: Store
) -> None:
    """Until then the tool rests; then another call is the probe."""
    assert start_process(canonical_url, tmp_path, probe_sec=1.0, ending="die").wait(20) == 9
    settings = SETTINGS.model_copy(update={"cooldown_sec": 0.0})
    breakers = ToolBreakers(opened_without_cooldown, settings)
    assert state_of(opened_without_cooldown) == "HALF_OPEN"
    until = breaker_of(opened_without_cooldown).info["probe"]["until"]
    if utc_text(datetime.now(UTC)) < until:
        with pytest.raises(BreakerOpen, match="until its probe has ended"):
            breakers.call("tool", work)
    wait_until(lambda: utc_text(datetime.now(UTC)) > until)
    assert breakers.call("tool", work) == "done"
    assert state_of(opened_without_cooldown) == "CLOSED"


def test_the_verdict_of_a_probe_that_was_given_up_is_dropped(store: Store, clock: SetClock) -> None:
    """Another call is the probe by then, and only its word counts."""
    breakers = ToolBreakers(store, SETTINGS, probe_sec=100)
    let_fail(breakers, 3)
    clock.pass_by(60)

    def slow() -> str:
        # This probe is over time; a failing second one takes its place, and only then the first comes back as good.
        clock.pass_by(101)
        let_fail(breakers, 1)
        return "late"

    assert breakers.call("tool", slow) == "late"
    assert state_of(store) == "OPEN"


@pytest.mark.parametrize("first_ends", [work, fail])
def test_while_another_call_is_the_probe_one_that_was_given_up_has_no_say(
    store: Store, clock: SetClock, first_ends: Callable[[], str]
) -> None:
    """Neither closes it nor opens it nor frees the place, whatever it comes back with."""
    breakers = ToolBreakers(store, SETTINGS, probe_sec=100)
    let_fail(breakers, 3)
    clock.pass_by(60)
    first_runs, first_may_end = threading.Event(), threading.Event()

    def first() -> str:
        first_runs.set()
        assert first_may_end.wait(20)
        return first_ends()

    with ThreadPoolExecutor(1) as pool:
        given_up = pool.submit(breakers.call, "tool", first)
        assert first_runs.wait(20)
        clock.pass_by(101)

        def second() -> None:
            first_may_end.set()
            given_up.exception(20)
            row = breaker_of(store)
            assert (row.state, row.success_count) == ("HALF_OPEN", 0)
            assert row.info["probe"] is not None

        breakers.call("tool", second)
    assert state_of(store) == "CLOSED"
