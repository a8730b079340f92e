"""The Prefect worker type `acms`: it runs flow runs as processes, and leaves none of them behind when it stops."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio
import anyio.abc
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.utilities.urls import url_for
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

if TYPE_CHECKING:
    from prefect_acms.tasks.presence import Presence

GRACE_SEC = 25.0
"""Seconds that a flow run's process has to let go of its run, between SIGTERM and SIGKILL."""

END_SEC = 10.0
"""Seconds in which Prefect's own part of a flow run's end must be over, and each answer of its server be there."""

_log = logging.getLogger(__name__)


class AcmsWorker(ProcessWorker):
    """Runs flow runs in processes of its own, as Prefect's process worker does, and is itself known to the store.

    Told to stop, it ends the processes, waits for them, and tells Prefect the truth about each flow run that it had in
    hand. A store that is away never stops it.
    """

    type = "acms"
    _description = (
        "Execute flow runs as subprocesses, register as a worker of the ACMS store, and put the runs right when the"
        " worker is told to stop: nothing stays Running that nobody works on."
    )
    _display_name = "ACMS"
    _documentation_url = "https://docs.prefect.io/v3/concepts/workers"
    _logo_url = ProcessWorker._logo_url  # noqa: SLF001 - where Prefect keeps what its catalogue shows

    def __init__(self, *args: Any, tell: Callable[[str], object] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tell = tell
        self._in_hand: set[UUID] = set()
        self._presence: Presence | None = None
        self._beating: asyncio.Task[None] | None = None
        self._telling = threading.Lock()

    async def setup(self) -> None:
        """Get ready to run, and be known to the store from now on."""
        await super().setup()
        self._beating = asyncio.create_task(self._keep_beating(), name=f"heartbeat of {self.name}")

    async def teardown(self, *exc_info: Any) -> None:
        """Stop the runs that are under way, put them right, and be shut down in the store."""
        self._in_hand |= self._submitting_flow_run_ids
        try:
            await super().teardown(*exc_info)
        finally:
            for flow_run_id in sorted(self._in_hand):
                await self._put_right(flow_run_id)
            self._in_hand.clear()
            await self._sign_off(exc_info[1] if len(exc_info) > 1 else None)

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Run a flow run in a process of its own, which is stopped and waited for if the worker is told to stop."""
        self._in_hand.add(flow_run.id)
        if self._tell is not None:
            what = (configuration.labels or {}).get("prefect.io/deployment-name") or flow_run.name
            self._tell(f"{what}: started, {url_for(flow_run) or flow_run.id}")
        started = _Started(task_status or anyio.TASK_STATUS_IGNORED)
        # In a task that a stop of the worker does not reach, so that Prefect sees the process end as it always does.
        running = asyncio.create_task(super().run(flow_run, configuration, started))
        try:
            result = await asyncio.shield(running)
        except asyncio.CancelledError:
            self.get_flow_run_logger(flow_run).warning("the worker was told to stop: the run's process is stopped")
            with anyio.CancelScope(shield=True):
                await _stop(running, started.pid)
            raise
        self._in_hand.discard(flow_run.id)
        await self._tell_end(flow_run.id)
        return result

    async def _tell_end(self, flow_run_id: UUID) -> None:
        """Say how a run has ended, by the name that it has then."""
        from prefect_acms.tasks.prefect_server import UNREACHABLE

        if self._tell is None:
            return
        try:
            ended = await self.client.read_flow_run(flow_run_id)
        except UNREACHABLE as problem:
            self._logger.warning("the end of flow run %s could not be asked for: %s", flow_run_id, problem)
            return
        if ended.state is not None:
            message = " ".join((ended.state.message or "").split())
            self._tell(f"{ended.name}: {ended.state.name}{f', {message}' if message else ''}")

    # the store

    async def _keep_beating(self) -> None:
        from prefect_acms.blocks.config import HealthSettings

        pause = min(float(self.heartbeat_interval_seconds), HealthSettings().heartbeat_sec)
        while True:
            await self._tell_store(self._beat)
            await asyncio.sleep(pause)

    async def _sign_off(self, error: BaseException | None) -> None:
        if self._beating is not None:
            self._beating.cancel()
            with suppress(asyncio.CancelledError):
                await self._beating
        told = error is None or isinstance(error, asyncio.CancelledError | KeyboardInterrupt)
        reason = "the worker was told to stop" if told else f"the worker failed: {type(error).__name__}: {error}"
        await self._tell_store(lambda: self._end(reason))

    async def _tell_store(self, message: Any) -> None:
        """Tell it in a thread, since a store may let one wait; if it refuses, the next heartbeat says it again."""
        from prefect_acms.canonical.errors import AcmsError

        def tell() -> None:
            # a heartbeat that was cancelled goes on in its thread, and the farewell has to come after it
            with self._telling:
                message()

        try:
            await asyncio.to_thread(tell)
        except (AcmsError, OSError) as problem:
            self._logger.warning("the store was not told of this worker: %s", problem)

    def _beat(self) -> None:
        from prefect_acms.tasks.driving import shared_store
        from prefect_acms.tasks.presence import Presence

        if self._presence is None:
            self._presence = Presence(self.name, self._work_pool_name)
        self._presence.beat(shared_store())

    def _end(self, reason: str) -> None:
        from prefect_acms.tasks.driving import shared_store

        if self._presence is not None:
            self._presence.end(shared_store(), reason)

    # Prefect's side

    async def _put_right(self, flow_run_id: UUID) -> None:
        """Tell Prefect the state of a flow run that nobody works on any more, if it thinks otherwise."""
        from prefect_acms.canonical.errors import AcmsError
        from prefect_acms.tasks.prefect_server import UNREACHABLE

        try:
            async with asyncio.timeout(END_SEC), get_client() as client:
                flow_run = await client.read_flow_run(flow_run_id)
                state = await asyncio.to_thread(left_state, flow_run)
                if state is not None:
                    await client.set_flow_run_state(flow_run_id, state, force=True)
        except (AcmsError, *UNREACHABLE) as problem:
            self._logger.warning("flow run %s was not put right, which is left to reconcile: %s", flow_run_id, problem)


def left_state(flow_run: FlowRun) -> State[Any] | None:
    """The Prefect state of a flow run whose process is gone; None where Prefect's own says it already.

    What is left of its tools is stopped. Its canonical run is canceled where that was asked for, and else resumable.
    """
    from prefect.states import Cancelled, Crashed

    from prefect_acms.tasks.bridge import run_state, store_of
    from prefect_acms.tasks.cancelling import cancel_unless_ended
    from prefect_acms.tasks.leases import driver_of
    from prefect_acms.tasks.survivors import stop_survivors

    store = store_of(flow_run.parameters)
    with store.begin(read_only=True) as dao:
        run = dao.runs.by_flow_run(str(flow_run.id))
    if run is not None and driver_of(run, store.clock()) is None:
        stop_survivors(run.id, run.epoch + 1)
    state = flow_run.state
    if state is None or not (state.is_running() or state.is_pending() or state.is_cancelling()):
        return None
    if run is None and state.is_cancelling():
        return Cancelled(message="canceled before it began")
    if run is None:
        return Crashed(message="the worker was told to stop before the run began: Retry begins it")
    if state.is_cancelling():
        cancel_unless_ended(store, run, f"Prefect reports {state.name}: {state.message or 'no message'}")
        with store.begin(read_only=True) as dao:
            run = dao.runs.get(run.id)
    derived = run_state(run)
    return Crashed(message=f"the worker was told to stop; {derived.message}") if derived.is_crashed() else derived


class _Started(anyio.abc.TaskStatus[int]):
    """Remembers the pid of the process while it tells whoever waits for its start."""

    def __init__(self, told: anyio.abc.TaskStatus[int]) -> None:
        self._told = told
        self.pid: int | None = None

    def started(self, value: int | None = None) -> None:
        self.pid = value
        if value is not None:
            self._told.started(value)


async def _stop(running: asyncio.Task[Any], pid: int | None) -> None:
    """End the process of a flow run, by force if it takes too long, and wait until Prefect has dealt with its end."""
    if pid is None:
        running.cancel()
    else:
        _signal(pid, signal.SIGTERM)
        await asyncio.wait({running}, timeout=GRACE_SEC)
        if not running.done():
            _signal(pid, signal.SIGKILL)
    await asyncio.wait({running}, timeout=END_SEC)
    if not running.done():
        running.cancel()
        await asyncio.wait({running}, timeout=END_SEC)
    if running.done() and not running.cancelled() and (problem := running.exception()) is not None:
        _log.warning("a flow run ended badly while the worker stopped: %s", problem)


def _signal(pid: int, number: signal.Signals) -> None:
    """Send a signal to the process, and to its group where that is its own; one that is gone is fine."""
    with suppress(ProcessLookupError, PermissionError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
