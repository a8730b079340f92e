"""The Prefect server, which may be away: whether it answers, how long it is waited for, and how to leave without it."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import cache

import httpx
from prefect.client.orchestration import get_client
from prefect.context import AsyncClientContext
from prefect.events.worker import EventsWorker
from prefect.exceptions import PrefectException, PrefectHTTPStatusError
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_API_SSL_CERT_FILE,
    PREFECT_API_TLS_INSECURE_SKIP_VERIFY,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)

from prefect_acms.canonical.errors import ServerUnavailable
from prefect_acms.tasks.following import close_followers
from prefect_acms.tasks.reports.text import one_line

UNREACHABLE = (httpx.HTTPError, PrefectException, OSError)
"""What comes out of Prefect's client when the server does not do what it was asked for; OSError holds TimeoutError."""

ANSWER_SEC = 3.0
"""Seconds in which a server that is there says so."""

START_SEC = 30.0
"""The same before anything was begun, when it is worth while to wait for a slow one."""

RETRIES = 3
"""How often a request is repeated at most: after 2, 4 and 8 seconds, so that an outage of 12 s is waited out."""

REQUEST_SEC = 10.0
"""Seconds that one request may take."""

FAREWELL_SEC = 10.0
"""Seconds in which a process that ends hands over what Prefect was still to be told."""

_LOOK_SEC = 0.5
_GLANCE_SEC = 1.0
_WITHOUT: ContextVar[bool] = ContextVar("without_prefect", default=False)


def require_server() -> None:
    """Raise ServerUnavailable when PREFECT_API_URL names a server that does not answer; an embedded one always does."""
    url = PREFECT_API_URL.value()
    trouble = asyncio.run(server_trouble(START_SEC)) if url else None
    if trouble is not None:
        raise ServerUnavailable(url=url, problem=problem_of(trouble))


def problem_of(trouble: Exception) -> str:
    """What is wrong with the server, in a few words."""
    if isinstance(trouble, TimeoutError | httpx.TimeoutException):
        return "it does not answer in time"
    if isinstance(trouble, httpx.HTTPStatusError):
        why = _detail(trouble.response) if isinstance(trouble, PrefectHTTPStatusError) else ""
        return f"it answers {trouble.response.status_code} {trouble.response.reason_phrase}{why and f': {why}'}"
    return next(iter(str(trouble).splitlines()), type(trouble).__name__)


def _detail(answer: httpx.Response) -> str:
    """What Prefect's server says of a request that it refuses; never the request, which it sends back too."""
    try:
        told = answer.json()
    except ValueError:
        return ""
    said = told.get("detail") or told.get("exception_detail") if isinstance(told, dict) else None
    if isinstance(said, list) and said and isinstance(said[0], dict):
        place = ".".join(str(part) for part in said[0].get("loc", ()))
        said = f"{place}: {said[0].get('msg', 'it is not as expected')}"
    return one_line(said, 300) if isinstance(said, str) and said != answer.reason_phrase else ""


async def server_trouble(within: float = ANSWER_SEC) -> Exception | None:
    """Why the server gives no good answer within so many seconds; None when it does."""
    try:
        # With settings of its own it is a client of its own, whose connections nobody else waits for.
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            asked = get_client(httpx_settings={"timeout": within, "verify": trust()})
            async with asyncio.timeout(within), asked as client:
                return await client.api_healthcheck()
    except (*UNREACHABLE, RuntimeError) as trouble:
        return trouble


async def wait_for_server(seconds: float) -> bool:
    """Whether the server answers before so many seconds are over."""
    end = time.monotonic() + seconds
    while True:
        if await server_trouble(min(ANSWER_SEC, seconds)) is None:
            return True
        if time.monotonic() + _LOOK_SEC >= end:
            return False
        await asyncio.sleep(_LOOK_SEC)


@asynccontextmanager
async def patience() -> AsyncIterator[None]:
    """A block in which Prefect's engine has a client that gives up in bounded time: after 4 requests, 54 s, at most.

    Who has set less patience keeps it. The client of Prefect's own default waits 62 s, and for a request that hangs six
    minutes more; and it waits as long as ever a `Retry-After` or a maintenance header asks for.
    """
    most = {
        PREFECT_CLIENT_MAX_RETRIES: min(RETRIES, PREFECT_CLIENT_MAX_RETRIES.value()),
        PREFECT_API_REQUEST_TIMEOUT: min(REQUEST_SEC, PREFECT_API_REQUEST_TIMEOUT.value()),
    }
    ours = {"event_hooks": {"response": [_take_our_own_time]}, "verify": trust()}
    with temporary_settings(most):
        async with AsyncClientContext(httpx_settings=ours):
            yield


async def _take_our_own_time(response: httpx.Response) -> None:
    ask_no_patience(response)


def ask_no_patience(response: httpx.Response) -> None:
    """Take out of a response how long the server asks to be waited for."""
    for name in ("Retry-After", "Prefect-Maintenance"):
        response.headers.pop(name, None)


@cache
def trust() -> ssl.SSLContext:
    """Whom TLS trusts, as Prefect's settings have it; read once, since that takes each client 20 ms."""
    own = PREFECT_API_SSL_CERT_FILE.value()
    context = ssl.create_default_context(cafile=own) if own else httpx.create_ssl_context()
    if PREFECT_API_TLS_INSECURE_SKIP_VERIFY.value():
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def no_retries() -> Iterator[None]:
    """A block in which a request that fails is not repeated."""
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        yield


@contextmanager
def without_prefect() -> Iterator[None]:
    """A block in which Prefect is told nothing that it would have to be there for: no log lines, no artifacts."""
    token = _WITHOUT.set(True)
    try:
        with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}):
            yield
    finally:
        _WITHOUT.reset(token)


def is_told() -> bool:
    """Whether Prefect is told anything here."""
    return not _WITHOUT.get()


def hand_over() -> bool:
    """Send the events and log lines that are still to be sent; False when that takes longer than it may.

    Then the process must not end as usual: Prefect's workers wait at exit for as long as it takes, which with the
    server away is about five seconds an event. An embedded server is never left.
    """
    close_followers()
    if not PREFECT_API_URL.value() or _sent(_GLANCE_SEC):
        return True
    return asyncio.run(server_trouble()) is None and _sent(FAREWELL_SEC)


def _sent(within: float) -> bool:
    end = time.monotonic() + within
    for worker in (EventsWorker, APILogWorker):
        ended = worker.drain_all(timeout=max(0.0, end - time.monotonic()))
        if not isinstance(ended, tuple) or ended[1]:
            return False
    return True
