"""The pipeline: the six phases in order, as far as the mode goes; whatever happens, the run ends truthfully."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict

from prefect_acms.blocks.config import Mode, PipelineConfig
from prefect_acms.canonical.errors import AcmsError, Superseded
from prefect_acms.canonical.events import Event
from prefect_acms.canonical.run import RunState, RunTrigger
from prefect_acms.dao.home import acms_home
from prefect_acms.dao.outbox import Outbox
from prefect_acms.flows.clustering import cluster_gaps
from prefect_acms.flows.configure import RunHandle, check_config, configure_run
from prefect_acms.flows.discovery import discover_gaps
from prefect_acms.flows.execution import execute_plan
from prefect_acms.flows.planning import compile_run_plan
from prefect_acms.flows.summary import summarize_run, write_run_reports
from prefect_acms.tasks.artifacts import publish_name
from prefect_acms.tasks.bridge import (
    end_run_of,
    on_run_cancelled,
    on_run_completed,
    on_run_ended_badly,
    on_run_running,
    run_state,
)
from prefect_acms.tasks.driving import Drive, drive_run, release_run, shared_store
from prefect_acms.tasks.ending import end_run, stop_tools
from prefect_acms.tasks.locks import repository_lock
from prefect_acms.tasks.stored_plans import stored_plan
from prefect_acms.tasks.summary import build_summary

Listener = Callable[[Sequence[Event]], None]

INTERRUPTED = "interrupted"

_INTERRUPTIONS = (asyncio.CancelledError, KeyboardInterrupt, TerminationSignal)
"""What Ctrl-C, SIGTERM and a cancellation by Prefect come as."""

_ENDS_HERE: ContextVar[bool] = ContextVar("ends_here", default=False)
"""Whether the pipeline is all that its event loop does: then a Ctrl-C becomes its end, not an exception."""


class Outcome(BaseModel):
    """What a caller of the pipeline gets back."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    state: str
    degraded: bool = False
    branch: str | None = None
    found: int = 0
    resolved: int = 0
    deferred: int = 0
    exit_code: int = 0
    folder: str
    error: str | None = None


_PHASES: dict[Mode, tuple[Any, ...]] = {
    Mode.ANALYZE_ONLY: (discover_gaps,),
    Mode.PLAN_ONLY: (discover_gaps, cluster_gaps, compile_run_plan),
    Mode.FULL: (discover_gaps, cluster_gaps, compile_run_plan, execute_plan),
    Mode.EXECUTE_ONLY: (execute_plan,),
}
"""What each mode does between configure and summary."""


@flow(
    name="acms-pipeline",
    flow_run_name="{config.title}",
    persist_result=False,
    on_running=[on_run_running],
    on_completion=[on_run_completed],
    on_failure=[on_run_ended_badly],
    on_crashed=[on_run_ended_badly],
    on_cancellation=[on_run_cancelled],
)
async def acms_pipeline(config: PipelineConfig) -> State[Any]:
    """Improve a repository; the Prefect state says what the canonical run says, and holds the Outcome.

    Bad input raises before anything is written. After that the run ends in the store, whatever happens.
    """
    repository = check_config(config)
    with repository_lock(acms_home(), repository.top, f"process {os.getpid()}"):
        handle = await _configured(config)
        drive = drive_run(handle.run_id, epoch=handle.epoch)
        await publish_name(f"{config.title} {handle.run_id[-8:]}")
        try:
            with Outbox(drive.store, handle.run_id, drive.folder / "transitions.jsonl"):
                await _drive_to_its_end(drive, handle)
            with drive.reading() as dao:
                run = dao.runs.get(handle.run_id)
            return run_state(run, outcome_of(drive))
        finally:
            release_run(handle.run_id)


async def _configured(config: PipelineConfig) -> RunHandle:
    """Configure the run; one that was made, but whose handle got lost on the way, is canceled."""
    try:
        return await configure_run(config)
    except _INTERRUPTIONS:
        end_run_of(str(flow_run.id), shared_store(config.database_url), RunTrigger.USER_CANCELLED, INTERRUPTED)
        raise


async def _drive_to_its_end(drive: Drive, handle: RunHandle) -> None:
    try:
        for phase_flow in _PHASES[drive.config.mode]:
            await phase_flow(handle.run_id, epoch=handle.epoch)
        await summarize_run(handle.run_id, epoch=handle.epoch)
    except _INTERRUPTIONS as interruption:
        end_run(drive, RunTrigger.USER_CANCELLED, INTERRUPTED)
        write_run_reports(drive)
        if not (_ENDS_HERE.get() and isinstance(interruption, asyncio.CancelledError)):
            raise
    except Superseded:
        # Somebody else drives the run now: its rows, worktrees and files are theirs.
        stop_tools(drive)
        raise
    except AcmsError as error:
        end_run(drive, RunTrigger.RUN_CRASHED, str(error))
        write_run_reports(drive)
    except BaseException as error:
        end_run(drive, RunTrigger.RUN_CRASHED, f"{type(error).__name__}: {error}")
        write_run_reports(drive)
        raise


def outcome_of(drive: Drive) -> Outcome:
    """What became of the run, counted from the store and from git."""
    summary = build_summary(drive.store, drive.run_id, drive.repository)
    run, counts = summary.run, summary.counts
    return Outcome(
        run_id=run.id,
        state=run.state,
        degraded=run.degraded,
        branch=run.branch,
        found=counts.found,
        resolved=counts.resolved,
        deferred=counts.deferred,
        exit_code=exit_code_of(run.state, drive.config.mode, counts.selected - counts.resolved),
        folder=str(drive.folder),
        error=run.error or run.quarantine_reason,
    )


def exit_code_of(state: str, mode: Mode, unresolved: int) -> int:
    """The exit code of the command for a run in that state with so many selected gaps not resolved."""
    if state == RunState.SUCCEEDED:
        changes_something = mode in {Mode.FULL, Mode.EXECUTE_ONLY}
        return 1 if changes_something and unresolved else 0
    return {RunState.QUARANTINED: 3, RunState.CANCELED: 130}.get(RunState(state), 1)


async def _awaited(config: PipelineConfig) -> Any:
    _ENDS_HERE.set(True)
    state: State[Any] = await acms_pipeline(config, return_state=True)
    return await state.aresult(raise_on_failure=False)


def run_pipeline(config: PipelineConfig, store_listener: Listener | None = None) -> Outcome:
    """Run the pipeline in this process and wait for it; raises what is wrong with the input before Prefect starts.

    The listener is told every event of the store after its commit, in order.
    """
    repository = check_config(config)
    if config.mode is Mode.EXECUTE_ONLY:
        stored_plan(config, repository, lambda: shared_store(config.database_url))
    store = shared_store(config.database_url)
    unsubscribe = store.subscribe(store_listener) if store_listener else None
    try:
        outcome = asyncio.run(_awaited(config))
    except TerminationSignal as terminated:
        raise KeyboardInterrupt from terminated
    finally:
        if unsubscribe is not None:
            unsubscribe()
    if isinstance(outcome, BaseException):
        raise outcome
    return Outcome.model_validate(outcome)
