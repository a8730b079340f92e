"""Retries: which errors are worth another try, and how long to wait before it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential
from tenacity.wait import wait_base

from prefect_acms.blocks.config import ResilienceSettings
from prefect_acms.canonical.errors import LostRace
from prefect_acms.canonical.outside_errors import ToolFailed, ToolUnavailable

OnRetry = Callable[[int, float, BaseException], None]
"""Told before each wait: how many retries there were before, the seconds to wait, and why."""


def is_retryable(error: BaseException) -> bool:
    """Whether the same thing may work next time; bad input, a refusal and a missing program stay what they are."""
    if isinstance(error, ToolUnavailable):
        return False
    return isinstance(error, (ToolFailed, LostRace, TimeoutError, ConnectionError, BlockingIOError))


class jittered(wait_base):  # noqa: N801 - named as tenacity names its strategies
    """Waits min(base x 2^n, cap), less up to a half of it, so that tasks that failed together don't return together.

    The same seed gives the same waits. What an error asks to wait at least (`wait_sec`) comes on top.
    """

    def __init__(self, settings: ResilienceSettings, seed: str | int) -> None:
        self._growing = wait_exponential(multiplier=settings.retry_base_sec, max=settings.retry_cap_sec, exp_base=2)
        self._seed = seed

    def __call__(self, retry_state: RetryCallState) -> float:
        """Seconds to wait after this attempt."""
        full = self._growing(retry_state)
        chance = random.Random(f"{self._seed}/{retry_state.attempt_number}")  # noqa: S311 - spreads load, hides nothing
        return full * chance.uniform(0.5, 1.0) + _asked_for(retry_state)


def retry_delay(
    settings: ResilienceSettings, retry_count: int, seed: str | int, error: BaseException | None = None
) -> float:
    """Seconds to wait before retry number `retry_count` (the first is 0)."""
    state = RetryCallState(retry_object=Retrying(), fn=None, args=(), kwargs={})
    state.attempt_number = retry_count + 1
    if error is not None:
        state.set_exception((type(error), error, error.__traceback__))
    return jittered(settings, seed)(state)


def retrying(
    settings: ResilienceSettings,
    *,
    seed: str | int,
    sleep: Callable[[float], None] = time.sleep,
    on_retry: OnRetry | None = None,
) -> Retrying:
    """A tenacity `Retrying` by these settings; the last error is raised as it is."""

    def tell(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if on_retry is not None and error is not None:
            on_retry(state.attempt_number - 1, state.upcoming_sleep, error)

    return Retrying(
        sleep=sleep,
        stop=stop_after_attempt(settings.max_retries + 1),
        wait=jittered(settings, seed),
        retry=retry_if_exception(is_retryable),
        before_sleep=tell,
        reraise=True,
    )


def _asked_for(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return float(getattr(error, "facts", {}).get("wait_sec", 0.0))
