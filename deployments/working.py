"""A worker of our type in this process, which says what it does; told to stop, it lets go of its runs first."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from prefect_acms.canonical.outside_errors import WorkerFailed
from prefect_acms.deployments.failures import failure_of

if TYPE_CHECKING:
    from prefect_acms.deployments.server import Server

_LOOK_SEC = 1.0

_GIVEN_UP = "Service exceeded error threshold."
"""What Prefect says when a loop of its worker has failed so often that it gives up."""


@asynccontextmanager
async def told_to_stop() -> AsyncIterator[asyncio.Event]:
    """A block in which Ctrl-C, SIGTERM and the loss of the terminal set an event, and do nothing else."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        # under nohup nobody wants to be told
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def unless_told(stop: asyncio.Event, doing: Coroutine[Any, Any, None]) -> bool:
    """Do it, and say whether it is done: it is given up when we are told to stop."""
    task, stopping = asyncio.create_task(doing), asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
        return False
    task.result()
    return True


async def work(
    pool: str, *, name: str | None, limit: int | None, stop: asyncio.Event, server: Server | None = None
) -> None:
    """Work for the pool until told to stop; raises WorkerFailed if the worker ends, ServerFailed if our server does."""
    from prefect.settings import PREFECT_WORKER_HEARTBEAT_SECONDS, PREFECT_WORKER_PREFETCH_SECONDS
    from prefect.utilities.services import critical_service_loop
    from prefect.workers import base

    from prefect_acms.deployments.worker import AcmsWorker

    worker = AcmsWorker(
        work_pool_name=pool,
        name=name,
        limit=limit,
        prefetch_seconds=PREFECT_WORKER_PREFETCH_SECONDS.value(),
        heartbeat_interval_seconds=int(PREFECT_WORKER_HEARTBEAT_SECONDS.value()),
        create_pool_if_not_found=False,
        tell=click.echo,
    )
    # the worker does not hand its printer on to its loops, which would print tracebacks where the server is away
    vars(base)["critical_service_loop"] = partial(critical_service_loop, printer=_silent)
    working = asyncio.create_task(worker.start(printer=_silent))
    stopping = asyncio.create_task(stop.wait())
    try:
        while not (working.done() or stopping.done()):
            await asyncio.wait({working, stopping}, timeout=_LOOK_SEC, return_when=asyncio.FIRST_COMPLETED)
            if server is not None:
                server.require_alive()
    finally:
        stopping.cancel()
        if not working.done():
            working.cancel()
            with suppress(OSError):  # the terminal may be gone
                click.echo("Stopping: what runs is told to let go, and can be resumed.")
        (ended,) = await asyncio.gather(working, return_exceptions=True)
    if isinstance(ended, Exception):
        raise WorkerFailed(problem=_problem(ended)) from ended


def _problem(ended: Exception) -> str:
    """Why, out of the group of tasks that a worker of Prefect is."""
    while isinstance(ended, ExceptionGroup):
        ended = ended.exceptions[0]
    if str(ended) == _GIVEN_UP:
        return "the Prefect server did not answer for too long"
    foreseen = failure_of(ended)
    return foreseen.sentence if foreseen is not None else f"{type(ended).__name__}: {ended}"


def _silent(*_words: object) -> None:
    """Prefect says that its worker has started, which we have said already, or prints what we say in a sentence."""
