"""Flows that don't depend on the Prefect server: it keeps books about them, and may be away at any moment.

What a body returned or raised counts, whether or not Prefect's engine could tell the server. An outage costs a bounded
time: 3 s before each phase (`ANSWER_SEC`), and where it begins in the middle of one, 15 s at its end (`END_SEC`), so
that a short one is waited out and Prefect's state is right; what it could not be told is left to reconciliation.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from copy import copy
from functools import wraps
from typing import Any

import httpx
from prefect import Flow
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES

from prefect_acms.canonical.errors import ServerUnavailable
from prefect_acms.canonical.events import Notice
from prefect_acms.dao.error_redaction import clean_error
from prefect_acms.tasks.artifacts import shown_here
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.prefect_server import (
    no_retries,
    patience,
    problem_of,
    server_trouble,
    wait_for_server,
    without_prefect,
)

END_SEC = 15.0
"""Seconds that a flow which has done its work waits for the server to be told; none where requests aren't repeated."""

_log = logging.getLogger(__name__)


class _Body:
    """The body of a flow, run once at most; what came of it is known whatever the engine around it does."""

    def __init__(self, flow: Flow[..., Any]) -> None:
        self._fn = flow.fn
        self.flow = copy(flow)
        self.flow.fn = self._observed()
        # Prefect validates parameters with the names that the module of the function knows: not ours.
        self.flow.validate_parameters = flow.validate_parameters  # type: ignore[method-assign]
        self.begun = False
        self.ended = False
        self.raised: BaseException | None = None
        self.result: Any = None
        self._returned: Any = None
        self._settings = ExitStack()

    async def run(self, *args: Any, **kwargs: Any) -> None:
        """Run the flow under Prefect's engine; raises what the body raised, or what kept it from beginning."""
        trouble: Exception | None = None
        try:
            async with patience():
                with self._settings:
                    await self.flow(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the engine's troubles are of any kind, and count for nothing here
            trouble = error
        if self.raised is not None:
            raise self.raised
        if trouble is not None:
            if not self.ended:
                raise trouble
            _log.info("Prefect could not be told the end of %s: %s", self.flow.name, trouble)

    def outcome(self) -> Any:
        """What the body came to; raises the error that is the data of a state."""
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result

    def _observed(self) -> Any:
        @wraps(self._fn)
        async def observed(*args: Any, **kwargs: Any) -> Any:
            if not self.begun:
                await self._run(*args, **kwargs)
            if self.raised is not None:
                raise self.raised
            return self._returned

        return observed

    async def _run(self, *args: Any, **kwargs: Any) -> None:
        self.begun = True
        try:
            self._returned = await self._fn(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - it is raised again by who called
            clean_error(error)
            self.raised = error
        else:
            # The engine puts a record of its own where the data of a state is now.
            self.result = self._returned.data if isinstance(self._returned, State) else self._returned
            self.ended = True
        await self._await_server()

    async def _await_server(self) -> None:
        """Wait for a server that is away, so that it can be told; after a vain wait, the engine asks only once."""
        interrupted = self.raised is not None and not isinstance(self.raised, Exception)
        answers = False
        try:
            repeats = PREFECT_CLIENT_MAX_RETRIES.value() > 0
            answers = repeats and not interrupted and await wait_for_server(END_SEC)
        finally:
            if not answers:
                self._settings.enter_context(no_retries())


async def run_phase(phase_flow: Flow[..., Any], *args: Any, drive: Drive | None = None, **kwargs: Any) -> Any:
    """Run a phase as a subflow where Prefect lets us, else its function alone; what it returned.

    The body runs once, and what it raises comes through unchanged, as do interruptions. With a drive, a phase that runs
    without Prefect is noted in the run's trail; its tasks are the calling flow's then.
    """
    trouble = await server_trouble()
    if trouble is None:
        body = _Body(phase_flow)
        try:
            with shown_here():
                await body.run(*args, **kwargs)
        except Exception as error:
            if body.begun:
                raise
            trouble = error
        else:
            return body.result
    told = f"{phase_flow.name} runs without the Prefect server: {problem_of(trouble)}"
    _log.warning("%s", told)
    if drive is not None:
        with drive.begin() as dao:
            dao.runs.note(drive.run_id, Notice.DRIFT_DETECTED, reason=told)
    with without_prefect():
        return await phase_flow.fn(*args, **kwargs)


async def run_flow(flow: Flow[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run the outermost flow of a process: what its body returned (of a State, the data), as soon as it has ended.

    Raises what the body raised, and ServerUnavailable when the server went away before it began. An interruption after
    the body's end changes nothing any more.
    """
    body = _Body(flow)
    try:
        await body.run(*args, **kwargs)
    except BaseException as error:
        if body.ended:
            return body.outcome()
        if body.begun or not isinstance(error, Exception):
            raise
        trouble = error if isinstance(error, httpx.HTTPError | OSError) else await server_trouble()
        if trouble is None:
            raise
        raise ServerUnavailable(url=PREFECT_API_URL.value(), problem=problem_of(trouble)) from error
    return body.outcome()
