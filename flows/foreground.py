"""A flow as all that a process does, as the command line runs it: waited for, watched, and ended by a Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

from prefect import Flow
from prefect.exceptions import TerminationSignal

from prefect_acms.canonical.events import Event
from prefect_acms.flows.outcome import Outcome
from prefect_acms.flows.phases import run_flow
from prefect_acms.tasks.driving import shared_store
from prefect_acms.tasks.prefect_server import require_server

Listener = Callable[[Sequence[Event]], None]
"""Is told the events of a commit, in order."""

ENDS_HERE: ContextVar[bool] = ContextVar("ends_here", default=False)
"""Whether the flow is all that its event loop does: then a Ctrl-C becomes its end, not an exception."""


def await_here(
    flow: Flow[..., Any], *args: Any, database_url: str | None, listener: Listener | None, **kwargs: Any
) -> Outcome:
    """Run a flow that gives an Outcome, and wait for it; the listener is told every event after its commit.

    The outcome is the store's, whether or not Prefect could be told. Raises ServerUnavailable when the server that
    PREFECT_API_URL names is away before the flow begins.
    """
    require_server()
    store = shared_store(database_url)
    unsubscribe = store.subscribe(listener) if listener else None
    try:
        outcome = asyncio.run(_awaited(flow, *args, **kwargs))
    except TerminationSignal as terminated:
        raise KeyboardInterrupt from terminated
    finally:
        if unsubscribe is not None:
            unsubscribe()
    return Outcome.model_validate(outcome)


async def _awaited(flow: Flow[..., Any], *args: Any, **kwargs: Any) -> Any:
    ENDS_HERE.set(True)
    return await run_flow(flow, *args, **kwargs)
