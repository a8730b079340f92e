"""The course of a run: the phases that are left, in order; whatever happens, how it ended is told truly."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run

from prefect_acms.blocks.config import Mode
from prefect_acms.canonical.errors import (
    AcmsError,
    RepositoryBusy,
    RunSuspended,
    RunUnsafe,
    StoreUnavailable,
    Superseded,
)
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.dao.home import acms_home
from prefect_acms.dao.outbox import Outbox
from prefect_acms.dao.store import Store
from prefect_acms.flows.clustering import cluster_gaps
from prefect_acms.flows.discovery import discover_gaps
from prefect_acms.flows.execution import execute_plan
from prefect_acms.flows.foreground import ENDS_HERE
from prefect_acms.flows.outcome import outcome_of
from prefect_acms.flows.phases import run_phase
from prefect_acms.flows.planning import compile_run_plan
from prefect_acms.flows.publish import publish_by_policy
from prefect_acms.flows.summary import summarize_run
from prefect_acms.flows.suspending import may_suspend
from prefect_acms.tasks.artifacts import publish_end
from prefect_acms.tasks.bridge import run_state
from prefect_acms.tasks.closing import write_run_reports
from prefect_acms.tasks.driving import Drive, release_run
from prefect_acms.tasks.ending import end_run, remove_worktrees
from prefect_acms.tasks.faults import stops_run
from prefect_acms.tasks.leases import driver_of
from prefect_acms.tasks.locks import repository_lock
from prefect_acms.tasks.notifications import Notifications
from prefect_acms.tasks.prefect_server import UNREACHABLE
from prefect_acms.tasks.recovery import completed_phases
from prefect_acms.tasks.repository import Repository

INTERRUPTED = "interrupted"

INTERRUPTIONS = (asyncio.CancelledError, KeyboardInterrupt, TerminationSignal)
"""What Ctrl-C, SIGTERM and a cancellation by Prefect come as."""

WAIT_STEP_SEC = 0.5
"""How often a repository that somebody else holds is asked for again."""

ASK_SEC = 10.0
"""Seconds that Prefect has to say whether it was a cancellation that interrupted us."""

YIELD_SEC = 10.0
"""Seconds in which a run that somebody else has taken over is ended, if it was taken over for that."""

YIELD_STEP_SEC = 0.2
"""How often it is looked for."""

_log = logging.getLogger(__name__)

_PHASES: dict[Mode, dict[str, Any]] = {
    Mode.ANALYZE_ONLY: {"discovery": discover_gaps},
    Mode.PLAN_ONLY: {"discovery": discover_gaps, "clustering": cluster_gaps, "planning": compile_run_plan},
    Mode.FULL: {
        "discovery": discover_gaps,
        "clustering": cluster_gaps,
        "planning": compile_run_plan,
        "execution": execute_plan,
    },
    Mode.EXECUTE_ONLY: {"execution": execute_plan},
}
"""What each mode does between configure and summary."""


@asynccontextmanager
async def repository_held(
    store: Store, repository: Repository, wait_sec: float, fenced_off: int | None = None
) -> AsyncIterator[None]:
    """Hold the repository for a block of work, after having waited for whoever holds it; raises RepositoryBusy.

    A process that was fenced off (its pid) is not waited for: stopped or hung, it may hold its lock for ever.
    """
    end = time.monotonic() + wait_sec
    with ExitStack() as held:
        while True:
            try:
                _require_no_driver(store, repository, fenced_off)
                held.enter_context(repository_lock(acms_home(), repository.top, owner_of(os.getpid())))
                break
            except RepositoryBusy as busy:
                if fenced_off is not None and busy.facts["owner"] == owner_of(fenced_off):
                    break
                if time.monotonic() >= end:
                    raise
                _log.info("%s; waiting", busy)
            await asyncio.sleep(min(WAIT_STEP_SEC, max(0.0, end - time.monotonic())))
        yield


def owner_of(pid: int) -> str:
    """What the lock of a repository says of the process that holds it."""
    return f"process {pid}"


def _require_no_driver(store: Store, repository: Repository, fenced_off: int | None) -> None:
    """A process of this machine that has another home, and so other locks, still has its lease in the store."""
    with store.begin(read_only=True) as dao:
        runs = dao.runs.unended(str(repository.top))
    for run in runs:
        driver = driver_of(run, store.clock())
        if driver is not None and driver.is_here and driver.pid not in {os.getpid(), fenced_off}:
            raise RepositoryBusy(path=repository.top, owner=f"process {driver.pid} with {run.id}")


async def take_course(drive: Drive) -> State[Any]:
    """Drive a run through the phases that are left; the Prefect state says what its row says, and holds the Outcome.

    Raises RunSuspended when it waits for a person alone and this Prefect run may be suspended; it is let go then.
    """
    drive.suspends = may_suspend()
    try:
        async with Notifications(drive.store, drive.run_id, drive.config.notifications):
            with drive.leased(), Outbox(drive.store, drive.run_id, drive.folder / "transitions.jsonl"):
                await _to_its_end(drive)
        with drive.reading() as dao:
            run = dao.runs.get(drive.run_id)
        return run_state(run, outcome_of(drive))
    finally:
        release_run(drive)


async def _to_its_end(drive: Drive) -> None:
    try:
        await _through_phases(drive)
    except INTERRUPTIONS as interruption:
        if not await was_cancelled():
            _leave(drive)
            raise
        await _end(drive, RunTrigger.USER_CANCELLED, INTERRUPTED)
        if not (ENDS_HERE.get() and isinstance(interruption, asyncio.CancelledError)):
            raise
    except BaseException as error:
        if _is_superseded(drive):
            await _yield_to_other(drive)
        elif stops_run(error):
            _leave(drive)
            raise
        elif isinstance(error, RunUnsafe):
            await _end(drive, RunTrigger.SAFETY_VIOLATION, str(error))
        elif isinstance(error, AcmsError):
            await _end(drive, RunTrigger.RUN_CRASHED, str(error))
        else:
            await _end(drive, RunTrigger.RUN_CRASHED, f"{type(error).__name__}: {error}")
            raise


async def _through_phases(drive: Drive) -> None:
    done = completed_phases(drive)
    for name, phase_flow in _PHASES[drive.config.mode].items():
        if name not in done:
            await run_phase(phase_flow, drive.run_id, epoch=drive.epoch, drive=drive)
        if drive.suspended:
            raise RunSuspended(run_id=drive.run_id)
    await run_phase(summarize_run, drive.run_id, epoch=drive.epoch, drive=drive)
    await publish_by_policy(drive)


async def _end(drive: Drive, trigger: RunTrigger, reason: str) -> None:
    try:
        end_run(drive, trigger, reason)
        summary = write_run_reports(drive)
    except Superseded:
        await _yield_to_other(drive)
    else:
        await publish_end(drive, summary)


def _is_superseded(drive: Drive) -> bool:
    try:
        with drive.reading() as dao:
            return dao.runs.get(drive.run_id).epoch != drive.epoch
    except StoreUnavailable:
        return False


async def _yield_to_other(drive: Drive) -> None:
    """Somebody else drives the run now, or has ended it: its rows are theirs, our processes and worktrees are not.

    Who cancels a run takes it over first, and ends it then: that is waited for. Raises Superseded while the run goes on
    elsewhere.
    """
    drive.stop()
    remove_worktrees(drive, only_own=True)
    patience = time.monotonic() + YIELD_SEC
    while True:
        with drive.reading() as dao:
            run = dao.runs.get(drive.run_id)
        if run.state in MACHINES["run"].terminal:
            return
        if time.monotonic() >= patience:
            raise Superseded(run_id=run.id, held=drive.epoch, current=run.epoch)
        await asyncio.sleep(YIELD_STEP_SEC)


def _leave(drive: Drive) -> None:
    """Stop what runs and let go: the run stays as its rows say, and can be resumed."""
    drive.stop()
    with suppress(AcmsError, OSError):
        remove_worktrees(drive, only_own=True)


async def was_cancelled() -> bool:
    """Whether an interruption is meant as a cancellation: always, but for a worker that is told to stop.

    A worker stops its processes by SIGTERM too; only then Prefect does not say that the run is to be cancelled.
    """
    if ENDS_HERE.get() or "PREFECT__FLOW_RUN_ID" not in os.environ:
        return True
    try:
        async with asyncio.timeout(ASK_SEC), get_client() as client:
            found = await client.read_flow_run(flow_run.id)
    except UNREACHABLE as problem:
        _log.warning("Prefect can't say why the run was interrupted, so it can be resumed: %s", problem)
        return False
    return found.state is not None and (found.state.is_cancelling() or found.state.is_cancelled())
