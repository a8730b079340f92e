"""When something is tried again, and after how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_acms.blocks.config import ResilienceSettings
from prefect_acms.canonical.errors import AcmsError, GuardrailViolation, InvalidValue, LostRace, PatchRefused
from prefect_acms.canonical.outside_errors import BreakerOpen, ToolFailed, ToolUnavailable
from prefect_acms.tasks.retries import is_retryable, retry_delay, retrying

FAILED = ToolFailed(tool="t", problem="timed out")
HELD_BACK = BreakerOpen(tool="t", until="later", wait_sec=42.0)

seeds = st.text(max_size=30)


@given(seeds, st.integers(0, 20), st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_delay_is_the_doubled_base_up_to_the_cap_less_at_most_a_half(
    seed: str, retry_count: int, base: float, cap: float
) -> None:
    """min(base x 2^n, cap) with jitter, and never beyond the cap."""
    settings = ResilienceSettings(retry_base_sec=base, retry_cap_sec=cap)
    full = min(base * 2**retry_count, cap)
    assert full / 2 * 0.999 <= retry_delay(settings, retry_count, seed) <= full * 1.001


@given(seeds, st.integers(0, 20))
def test_the_same_seed_gives_the_same_delay(seed: str, retry_count: int) -> None:
    """A run can be repeated; two tasks that failed together come back apart."""
    settings = ResilienceSettings()
    assert retry_delay(settings, retry_count, seed) == retry_delay(settings, retry_count, seed)
    assert retry_delay(settings, retry_count, seed) != retry_delay(settings, retry_count, seed + "x")


def test_each_attempt_is_jittered_anew() -> None:
    """The share that is left off differs from attempt to attempt."""
    flat = ResilienceSettings(retry_base_sec=10, retry_cap_sec=10)
    assert len({retry_delay(flat, retry_count, "s") for retry_count in range(8)}) == 8


def test_an_open_breaker_is_waited_out() -> None:
    """The wait that the error asks for comes on top, so that not all come back at once."""
    plain = retry_delay(ResilienceSettings(), 0, "s")
    assert retry_delay(ResilienceSettings(), 0, "s", HELD_BACK) == plain + 42


@pytest.mark.parametrize("error", [FAILED, HELD_BACK, LostRace(entity="task", id="t", seen=1, found=2), TimeoutError()])
def test_what_may_work_next_time_is_tried_again(error: Exception) -> None:
    """A timeout is tried again like a failure."""
    assert is_retryable(error)


@pytest.mark.parametrize(
    "error",
    [
        ToolUnavailable(tool="t", problem="missing"),
        GuardrailViolation(rule="scope", problem="outside"),
        PatchRefused(rule="format", where="a", problem="b"),
        InvalidValue(field="a", value=1, expected="b"),
        AcmsError(message="anything else"),
        TypeError("a bug"),
        KeyboardInterrupt(),
    ],
)
def test_what_stays_wrong_is_not(error: BaseException) -> None:
    """Bad input, a refusal, a missing program and a bug are permanent."""
    assert not is_retryable(error)


def run(failures: list[Exception], settings: ResilienceSettings) -> tuple[list[float], list[tuple[int, float]], object]:
    """Let a function fail as told; the waits, what was told before each, and what came out in the end."""
    waits: list[float] = []
    told: list[tuple[int, float]] = []

    def work() -> str:
        if failures:
            raise failures.pop(0)
        return "done"

    attempts = retrying(settings, seed="s", sleep=waits.append, on_retry=lambda n, wait, _error: told.append((n, wait)))
    try:
        return waits, told, attempts(work)
    except Exception as error:  # noqa: BLE001 - the outcome under test
        return waits, told, error


def test_each_retry_is_told_before_its_wait() -> None:
    """So that it can be a canonical `retrying` with its delay."""
    settings = ResilienceSettings(max_retries=3)
    waits, told, outcome = run([FAILED, FAILED], settings)
    expected = [retry_delay(settings, n, "s") for n in range(2)]
    assert (waits, told, outcome) == (expected, list(enumerate(expected)), "done")


def test_retries_end_and_the_last_error_comes_out() -> None:
    """`max_retries` retries are so many attempts and one."""
    waits, _, outcome = run([FAILED] * 9, ResilienceSettings(max_retries=2))
    assert len(waits) == 2
    assert outcome is FAILED


def test_a_permanent_error_ends_it_at_once() -> None:
    """Without a wait."""
    refused = GuardrailViolation(rule="scope", problem="outside")
    assert run([refused, FAILED], ResilienceSettings()) == ([], [], refused)
