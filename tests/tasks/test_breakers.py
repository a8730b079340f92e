"""Circuit breakers over a real store, with real processes and threads."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pybreaker import STATE_OPEN

from prefect_acms.blocks.config import ResilienceSettings
from prefect_acms.blocks.tool_spec import ToolSpec
from prefect_acms.canonical.clock import utc_text
from prefect_acms.canonical.errors import (
    BreakerOpen,
    GuardrailViolation,
    GuardRefused,
    InvalidTransition,
    NotFound,
    ToolUnavailable,
)
from prefect_acms.dao.circuit_breakers import BreakerRow
from prefect_acms.dao.store import Store, open_store
from prefect_acms.tasks.breaker_storage import StoredBreaker
from prefect_acms.tasks.breakers import ToolBreakers
from prefect_acms.tasks.environment import Environment
from prefect_acms.tasks.processes import ProcessResult
from prefect_acms.tasks.tools import ToolValues, run_tool

SETTINGS = ResilienceSettings(failure_threshold=3, cooldown_sec=60)
START = datetime(2026, 1, 31, tzinfo=UTC)


class SetClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        """What time it is."""
        return self.now

    def pass_by(self, seconds: float) -> None:
        """Let it go on."""
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> SetClock:
    """The store's clock."""
    return SetClock()


@pytest.fixture
def store(canonical_url: str, clock: SetClock) -> Iterator[Store]:
    """An open store."""
    opened = open_store(canonical_url, clock=clock, synchronous="NORMAL")
    yield opened
    opened.close()


def fail() -> str:
    raise TimeoutError


def work() -> str:
    return "done"


def breaker_of(store: Store, tool_id: str = "tool") -> BreakerRow:
    with store.begin(read_only=True) as dao:
        row = dao.circuit_breakers.for_tool(tool_id)
    assert row is not None
    return row


def state_of(store: Store) -> str:
    return breaker_of(store).state


def let_fail(breakers: ToolBreakers, times: int) -> None:
    for _ in range(times):
        with pytest.raises(TimeoutError):
            breakers.call("tool", fail)


@pytest.fixture
def opened(store: Store) -> ToolBreakers:
    """Breakers of which that of `tool` is open."""
    breakers = ToolBreakers(store, SETTINGS)
    let_fail(breakers, 3)
    assert state_of(store) == "OPEN"
    return breakers


def test_a_good_call_hands_on_its_result_and_its_arguments_stay_its_own(store: Store) -> None:
    """The breaker is made when a tool is first called, with the thresholds of the settings."""
    assert ToolBreakers(store, SETTINGS).call("tool", work) == "done"
    row = breaker_of(store)
    assert (row.state, row.failure_count, row.failure_threshold, row.cooldown_seconds) == ("CLOSED", 0, 3, 60.0)


def test_failures_in_a_row_open_the_breaker_and_the_tool_rests(store: Store) -> None:
    """The call that is held back is not made; the error says until when."""
    breakers = ToolBreakers(store, SETTINGS)
    let_fail(breakers, 3)
    made: list[int] = []
    with pytest.raises(BreakerOpen) as caught:
        breakers.call("tool", lambda: made.append(1))
    assert made == []
    assert caught.value.facts == {"tool": "tool", "until": utc_text(START + timedelta(seconds=60)), "wait_sec": 60.0}
    row = breaker_of(store)
    assert (row.state, row.failure_count, row.opened_at, row.last_failure_at) == (
        "OPEN",
        3,
        utc_text(START),
        utc_text(START),
    )


def test_a_success_in_between_starts_the_count_again(store: Store) -> None:
    """Only failures in a row count."""
    breakers = ToolBreakers(store, SETTINGS)
    for _ in range(3):
        let_fail(breakers, 2)
        breakers.call("tool", work)
    assert (state_of(store), breaker_of(store).failure_count) == ("CLOSED", 0)


def test_each_tool_has_a_breaker_of_its_own(opened: ToolBreakers) -> None:
    """One bad tool holds back no other."""
    assert opened.call("other", work) == "done"


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


def test_every_change_is_a_transition_in_the_trail(store: Store, clock: SetClock, opened: ToolBreakers) -> None:
    """Opening, probing and closing can be read there."""
    clock.pass_by(60)
    opened.call("tool", work)
    with store.begin(read_only=True) as dao:
        rows = dao.transitions.of_entity("circuit_breaker", breaker_of_id(dao.circuit_breakers.for_tool("tool")))
    assert [(row.trigger, row.to_state) for row in rows] == [
        ("created", "CLOSED"),
        ("failure_threshold_exceeded", "OPEN"),
        ("cooldown_expired", "HALF_OPEN"),
        ("success_threshold_met", "CLOSED"),
    ]


def breaker_of_id(row: BreakerRow | None) -> str:
    assert row is not None
    return row.id


def test_what_says_nothing_about_the_tool_does_not_count(store: Store, clock: SetClock) -> None:
    """A refusal, a bug or a cancellation neither opens a breaker, nor clears its count, nor closes it as a probe."""
    breakers = ToolBreakers(store, SETTINGS)
    let_fail(breakers, 2)

    def call(error: BaseException) -> None:
        def function() -> None:
            raise error

        with pytest.raises(type(error)):
            breakers.call("tool", function)

    others = (GuardrailViolation(rule="scope", problem="outside"), TypeError(), KeyboardInterrupt())
    for error in others:
        call(error)
    assert (state_of(store), breaker_of(store).failure_count) == ("CLOSED", 2)
    let_fail(breakers, 1)
    clock.pass_by(60)
    for error in others:
        call(error)
        assert state_of(store) == "HALF_OPEN"
    breakers.call("tool", work)
    assert state_of(store) == "CLOSED"


@pytest.mark.parametrize(
    ("code", "counts"),
    [
        ("raise SystemExit(0)", False),
        ("raise SystemExit(1)", False),
        ("raise SystemExit(2)", False),
        ("import os; os.kill(os.getpid(), 15)", False),
        ("import os; os.abort()", True),
        ("import time; time.sleep(60)", True),
    ],
)
def test_only_a_tool_that_hangs_or_crashes_counts(store: Store, tmp_path: Path, code: str, counts: bool) -> None:  # noqa: FBT001
    """Findings and other exit codes are about the repository; being told to end is no crash. The result comes back."""
    profile = ToolSpec(tool_id="tool", command=("{python}", "-c", code), timeout_sec=0.5)
    result = ToolBreakers(store, SETTINGS).call("tool", lambda: run(profile, tmp_path))
    assert result.exit_code != 0 or "SystemExit(0)" in code
    assert breaker_of(store).failure_count == int(counts)


def run(profile: ToolSpec, worktree: Path) -> ProcessResult:
    environment = Environment(Path(sys.executable))
    return run_tool(profile, worktree=worktree, environment=environment, values=ToolValues())


def test_a_missing_program_counts(store: Store, tmp_path: Path) -> None:
    """It is a fault of this machine."""
    profile = ToolSpec(tool_id="tool", command=("/no/such/program",))
    with pytest.raises(ToolUnavailable):
        ToolBreakers(store, SETTINGS).call("tool", lambda: run(profile, tmp_path))
    assert breaker_of(store).failure_count == 1


def test_a_faulty_result_opens_the_breaker_and_is_still_handed_on(store: Store) -> None:
    """What is faulty, the caller may say."""
    breakers = ToolBreakers(store, SETTINGS)
    assert [breakers.call("tool", lambda: 7, faulty=lambda result: result == 7) for _ in range(3)] == [7, 7, 7]
    assert state_of(store) == "OPEN"


def test_a_tool_may_run_many_times_at_once(store: Store) -> None:
    """No lock is held while it runs: all four are inside at the same time, or the barrier breaks."""
    breakers = ToolBreakers(store, SETTINGS)
    barrier = threading.Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(breakers.call, "tool", lambda: barrier.wait(20)) for _ in range(4)]
        assert sorted(call.result() for call in calls) == [0, 1, 2, 3]


def test_failures_of_many_threads_are_all_counted(store: Store) -> None:
    """None is lost, and the breaker opens exactly once."""
    breakers = ToolBreakers(store, SETTINGS.model_copy(update={"failure_threshold": 8}))
    barrier = threading.Barrier(8)

    def failing() -> None:
        barrier.wait(20)
        raise TimeoutError

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(breakers.call, "tool", failing) for _ in range(8)]
    assert all(isinstance(call.exception(), TimeoutError) for call in calls)
    assert (state_of(store), breaker_of(store).failure_count) == ("OPEN", 8)


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
from prefect_acms.canonical.errors import BreakerOpen
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


def test_of_two_failures_that_reach_the_threshold_together_one_opens(store: Store) -> None:
    """Both were counted before either opened it; the second finds it done."""
    ToolBreakers(store, SETTINGS).call("tool", work)
    together = [StoredBreaker(store, breaker_of(store), 60) for _ in range(4)]
    for one in together:
        one.increment_counter()
    assert [one.counter for one in together] == [1, 2, 3, 4]
    for one in together[2:]:
        one.state = STATE_OPEN
    assert (state_of(store), breaker_of(store).failure_count) == ("OPEN", 3)


def test_a_call_that_was_let_in_before_has_no_say_after(store: Store, clock: SetClock) -> None:
    """Its success does not clear the count of a breaker that others have opened; its failure does not spoil a probe."""
    breakers = ToolBreakers(store, SETTINGS)

    def good_but_late() -> str:
        let_fail(breakers, 3)
        return "late"

    assert breakers.call("tool", good_but_late) == "late"
    assert (state_of(store), breaker_of(store).failure_count) == ("OPEN", 3)
    clock.pass_by(60)
    breakers.call("tool", work)

    def bad_and_late() -> None:
        let_fail(breakers, 3)
        clock.pass_by(60)
        breakers.call("tool", work)
        let_fail(breakers, 3)
        raise TimeoutError

    with pytest.raises(TimeoutError):
        breakers.call("tool", bad_and_late)
    assert (state_of(store), breaker_of(store).failure_count) == ("OPEN", 3)


def test_the_state_survives_a_restart(canonical_url: str, store: Store, clock: SetClock, opened: ToolBreakers) -> None:
    """A store that is opened anew knows that the tool rests."""
    with pytest.raises(BreakerOpen):
        opened.call("tool", work)
    store.close()
    again = open_store(canonical_url, clock=clock)
    with pytest.raises(BreakerOpen):
        ToolBreakers(again, SETTINGS).call("tool", work)
    again.close()


def test_the_thresholds_are_those_of_the_settings_now(store: Store, clock: SetClock, opened: ToolBreakers) -> None:
    """A breaker that was made under other settings goes by the new ones."""
    del opened
    clock.pass_by(10)
    assert ToolBreakers(store, SETTINGS.model_copy(update={"cooldown_sec": 10.0})).call("tool", work) == "done"


def test_an_operator_closes_an_open_breaker_by_way_of_half_open(store: Store, opened: ToolBreakers) -> None:
    """Both steps are in the trail under their name."""
    opened.reset("tool", "ada", "the disk is free again")
    assert opened.call("tool", work) == "done"
    with store.begin(read_only=True) as dao:
        last = dao.transitions.of_entity("circuit_breaker", breaker_of_id(dao.circuit_breakers.for_tool("tool")))[-2:]
    assert [(row.from_state, row.to_state, row.operator, row.reason) for row in last] == [
        ("OPEN", "HALF_OPEN", "ada", "the disk is free again"),
        ("HALF_OPEN", "CLOSED", "ada", "the disk is free again"),
    ]


def test_an_operator_may_end_a_probe_too(store: Store, clock: SetClock) -> None:
    """A half-open breaker is closed, and the probe that is under way has no say any more."""
    breakers = ToolBreakers(store, SETTINGS)
    let_fail(breakers, 3)
    clock.pass_by(60)

    def reset_meanwhile() -> None:
        breakers.reset("tool", "ada")
        raise TimeoutError

    with pytest.raises(TimeoutError):
        breakers.call("tool", reset_meanwhile)
    assert (state_of(store), breaker_of(store).failure_count) == ("CLOSED", 0)


def test_a_reset_needs_a_name_and_a_breaker_that_is_not_closed(store: Store, opened: ToolBreakers) -> None:
    """Otherwise it is refused, and nothing has changed."""
    with pytest.raises(GuardRefused, match="an operator resets it"):
        opened.reset("tool", "")
    assert state_of(store) == "OPEN"
    with pytest.raises(NotFound, match="'unknown'"):
        opened.reset("unknown", "ada")
    opened.call("other", work)
    with pytest.raises(InvalidTransition, match="is CLOSED"):
        opened.reset("other", "ada")
