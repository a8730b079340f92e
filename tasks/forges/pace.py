"""The pace at which a forge is asked: as it says itself, again after a trouble that passes, and never without end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception

from prefect_acms.canonical.outside_errors import ForgeFailed
from prefect_acms.tasks.forge_addresses import ForgeAddress
from prefect_acms.tasks.reports.text import one_line

T = TypeVar("T")

WRITE_PAUSE_SEC = 1.0
"""Seconds between two requests that change something, as GitHub asks for."""

TRANSIENT_SEC = (1.0, 4.0)
"""Seconds before a request is repeated that got no answer, or one of the server's own trouble."""

UNSAID_SEC = 60.0
"""Seconds to wait when a forge says to slow down and not for how long."""

MOST_ATTEMPTS = 6

NO_ANSWER = 0
"""The status of a request to which there was no answer."""


class Trouble(Exception):
    """What a forge's client raised, in the terms that all of them share."""

    def __init__(self, status: int, said: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(said)
        self.status = status
        self.said = one_line(said, 300)
        self._headers = {name.lower(): value for name, value in (headers or {}).items()}

    @property
    def is_limit(self) -> bool:
        """Whether the forge says to slow down; GitHub says so by 403 as well."""
        if self.status == HTTPStatus.TOO_MANY_REQUESTS:
            return True
        told = "retry-after" in self._headers or self._headers.get("x-ratelimit-remaining") == "0"
        return self.status == HTTPStatus.FORBIDDEN and (told or "rate limit" in self.said.lower())

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed in a moment."""
        return self.status == NO_ANSWER or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR

    @property
    def pause_sec(self) -> float:
        """Seconds for which a forge that says to slow down wants to be left alone."""
        after = self._headers.get("retry-after")
        if after is not None:
            return _seconds_of(after)
        reset = self._headers.get("x-ratelimit-reset") or self._headers.get("ratelimit-reset") or ""
        return max(0.0, float(reset) - time.time()) + 1 if reset.isdecimal() else UNSAID_SEC


def unanswered(error: Exception) -> Trouble:
    """The trouble that a request got no answer, told by what lies under all that the libraries have wrapped it in."""
    root: BaseException = error
    while (below := root.__cause__ or root.__context__) is not None:
        root = below
    return Trouble(NO_ANSWER, str(root) or type(root).__name__)


def _seconds_of(after: str) -> float:
    """The value of Retry-After, which is a number of seconds or a date."""
    if after.strip().isdecimal():
        return float(after)
    try:
        moment = parsedate_to_datetime(after)
    except ValueError:
        return UNSAID_SEC
    return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())


class Pace:
    """Calls a forge with patience: `patience_sec` is what is waited in all when it says to slow down."""

    def __init__(self, patience_sec: float, sleep: Callable[[float], None] = time.sleep) -> None:
        self._left = patience_sec
        self._sleep = sleep
        self._last_write: float | None = None

    def read(self, address: ForgeAddress, request: Callable[[], T]) -> T:
        """What the forge answers; raises ForgeFailed."""
        try:
            return self._patiently(request)
        except Trouble as trouble:
            raise failure_of(address, trouble) from trouble

    def write(self, address: ForgeAddress, request: Callable[[], T]) -> T:
        """The same for a request that changes something, not sooner after the last one than is polite."""
        if self._last_write is not None:
            self._sleep(max(0.0, WRITE_PAUSE_SEC - (time.monotonic() - self._last_write)))
        try:
            return self.read(address, request)
        finally:
            self._last_write = time.monotonic()

    def _patiently(self, request: Callable[[], T]) -> T:
        retrying = Retrying(
            retry=retry_if_exception(
                lambda error: isinstance(error, Trouble) and (error.is_limit or error.is_transient)
            ),
            wait=_pause,
            stop=self._is_over,
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(request)

    def _is_over(self, state: RetryCallState) -> bool:
        """Whether it is not asked again; what is waited on demand of the forge is taken from the patience left."""
        trouble, pause = _trouble_of(state), state.upcoming_sleep
        if not trouble.is_limit:
            return state.attempt_number > len(TRANSIENT_SEC)
        if state.attempt_number >= MOST_ATTEMPTS or pause > self._left:
            return True
        self._left -= pause
        return False


def _trouble_of(state: RetryCallState) -> Trouble:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, Trouble)  # noqa: S101 - nothing else is retried
    return error


def _pause(state: RetryCallState) -> float:
    trouble = _trouble_of(state)
    if trouble.is_limit:
        return trouble.pause_sec
    return TRANSIENT_SEC[min(state.attempt_number, len(TRANSIENT_SEC)) - 1]


def failure_of(address: ForgeAddress, trouble: Trouble) -> ForgeFailed:
    """The one sentence that a trouble comes down to."""
    said, code = trouble.said, trouble.status
    if trouble.is_limit:
        problem = (
            f"it says to slow down for {trouble.pause_sec:.0f} s ({code}), longer than publish.patience_sec allows"
        )
    elif code == NO_ANSWER:
        problem = f"there is no answer: {said}"
    elif code == HTTPStatus.UNAUTHORIZED:
        problem = "the token is not accepted (401)"
    elif code == HTTPStatus.FORBIDDEN:
        problem = f"the token may not do that (403): {said}"
    elif code == HTTPStatus.NOT_FOUND:
        problem = f"there is no {address.project}, or the token may not see it (404)"
    elif trouble.is_transient:
        problem = f"it has trouble of its own ({code}), try again later"
    else:
        problem = f"it refuses ({code}): {said}"
    return ForgeFailed(forge=address.url, problem=problem)
