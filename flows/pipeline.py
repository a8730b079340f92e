"""The pipeline: the six phases in order, as far as the mode goes; whatever happens, the run ends truthfully."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import BaseModel, ConfigDict

from prefect_acms.blocks.config import Mode, PipelineConfig
from prefect_acms.canonical.errors import AcmsError
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
from prefect_acms.tasks.bridge import (
    on_run_cancelled,
    on_run_completed,
    on_run_ended_badly,
    on_run_running,
    run_state,
)
from prefect_acms.tasks.driving import Drive, drive_run, release_run, shared_store
from prefect_acms.tasks.ending import end_run
from prefect_acms.tasks.locks import repository_lock
from prefect_acms.tasks.stored_plans import stored_plan
from prefect_acms.tasks.summary import build_summary

Listener = Callable[[Sequence[Event]], None]


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
    flow_run_name="{config.mode} {config.repository}",
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
        handle = await configure_run(config)
        drive = drive_run(handle.run_id, epoch=handle.epoch)
        try:
            with Outbox(drive.store, handle.run_id, drive.folder / "transitions.jsonl"):
                await _drive_to_its_end(drive, handle)
            with drive.reading() as dao:
                run = dao.runs.get(handle.run_id)
            return run_state(run, outcome_of(drive))
        finally:
            release_run(handle.run_id)


async def _drive_to_its_end(drive: Drive, handle: RunHandle) -> None:
    try:
        for phase_flow in _PHASES[drive.config.mode]:
            await phase_flow(handle.run_id, epoch=handle.epoch)
        await summarize_run(handle.run_id, epoch=handle.epoch)
    except (asyncio.CancelledError, KeyboardInterrupt):
        end_run(drive, RunTrigger.USER_CANCELLED, "interrupted")
        write_run_reports(drive)
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
    finally:
        if unsubscribe is not None:
            unsubscribe()
    if isinstance(outcome, BaseException):
        raise outcome
    return Outcome.model_validate(outcome)
