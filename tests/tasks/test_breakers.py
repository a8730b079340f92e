"""Circuit breakers over a real store, with real programs and threads."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from breakers import SETTINGS, START, SetClock, breaker_of, breaker_of_id, let_fail, state_of, work
from pybreaker import STATE_OPEN

from prefect_acms.blocks.tool_spec import ToolSpec
from prefect_acms.canonical.clock import utc_text
from prefect_acms.canonical.errors import GuardrailViolation
from prefect_acms.canonical.outside_errors import BreakerOpen, ToolUnavailable
from prefect_acms.dao.store import Store, open_store
from prefect_acms.tasks.breaker_storage import StoredBreaker
from prefect_acms.tasks.breakers import ToolBreakers
from prefect_acms.tasks.environment import Environment
from prefect_acms.tasks.processes import ProcessResult
from prefect_acms.tasks.tools import ToolValues, run_tool


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
    profile = ToolSpec(tool_id="tool", command=("{python}", "-c", code), timeout_sec=3)
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
