"""The pipeline: the six phases in order, as far as the mode goes; whatever happens, the run ends truthfully."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from prefect_acms.blocks.config import Mode, PipelineConfig
from prefect_acms.canonical.errors import BadInput, RepositoryBusy
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.run import RunState
from prefect_acms.dao.connections import told_by_environment
from prefect_acms.dao.error_redaction import clean_errors
from prefect_acms.dao.runs import RunRow
from prefect_acms.flows.configure import RunHandle, check_config, configure_run
from prefect_acms.flows.course import INTERRUPTED, INTERRUPTIONS, repository_held, take_course, was_cancelled
from prefect_acms.flows.foreground import Listener, await_here
from prefect_acms.flows.outcome import Outcome
from prefect_acms.flows.phases import run_phase
from prefect_acms.flows.resume import go_on, tidy_up
from prefect_acms.flows.suspending import suspending
from prefect_acms.tasks.artifacts import publish_name
from prefect_acms.tasks.bridge import (
    on_run_cancelled,
    on_run_completed,
    on_run_ended_badly,
    on_run_running,
)
from prefect_acms.tasks.cancelling import cancel_unless_ended
from prefect_acms.tasks.driving import Attempt, drive_run, shared_store
from prefect_acms.tasks.saved import at_saved_store, chosen, names_of
from prefect_acms.tasks.stored_plans import stored_plan

__all__ = ["Listener", "Outcome", "acms_pipeline", "run_pipeline"]


SKIPPED = "Skipped"
"""Name of the Prefect state of a run that was not begun, since another one still worked in the repository."""


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

    Bad input is told by the message of the state, before anything is written, and raised. Run again by Prefect (Retry,
    or after a suspend), it goes on with the run that it has begun, or tells how that one ended; only one that failed or
    was canceled is begun anew.
    """
    try:
        with clean_errors():
            return await suspending(lambda: _improved(config), lambda: shared_store(config.database))
    except BadInput as refusal:
        # Raised, it would be Prefect's sentence with ours in it; so Prefect raises it for whoever calls the flow.
        return Failed(message=str(refusal), data=refusal)


async def _improved(config: PipelineConfig) -> State[Any]:
    store = shared_store(config.database)
    with store.begin(read_only=True) as dao:
        begun = dao.runs.by_attempt(str(flow_run.id))
    if begun is not None and begun.state not in MACHINES["run"].terminal:
        # An attempt of the same Prefect run is over for Prefect; one of another may drive it all the same.
        is_ours = begun.prefect_flow_run_id == str(flow_run.id)
        return await go_on(begun, config.database, wait_sec=config.wait_sec, force=is_ours)
    if begun is not None and begun.state in {RunState.SUCCEEDED, RunState.QUARANTINED}:
        return tidy_up(begun, config.database)
    saved = names_of(config.blocks)
    config = await asyncio.to_thread(chosen, config)
    repository = check_config(config)
    async with AsyncExitStack() as held:
        try:
            await held.enter_async_context(repository_held(store, repository, config.wait_sec))
        except RepositoryBusy as busy:
            if not config.skip_if_busy:
                raise
            return Completed(name=SKIPPED, message=f"skipped: {busy}")
        handle = await _configured(config, begun, saved)
        drive = drive_run(handle.run_id, epoch=handle.epoch)
        await publish_name(drive)
        return await take_course(drive)


async def _configured(config: PipelineConfig, before: RunRow | None, saved: Mapping[str, Any]) -> RunHandle:
    """Configure the run; one that was made, but whose handle got lost on the way, is canceled or can be resumed."""
    try:
        retry_of = before.id if before else None
        attempt = Attempt(str(flow_run.id), flow_run.run_count)
        handle: RunHandle = await run_phase(configure_run, config, attempt=attempt, retry_of=retry_of, saved=saved)
    except INTERRUPTIONS:
        if not await was_cancelled():
            raise
        store = shared_store(config.database)
        with store.begin(read_only=True) as dao:
            run = dao.runs.by_flow_run(str(flow_run.id))
        if run is not None:
            cancel_unless_ended(store, run, INTERRUPTED)
        raise
    return handle


def run_pipeline(config: PipelineConfig, store_listener: Listener | None = None) -> Outcome:
    """Run the pipeline in this process and wait for it; raises what is wrong with the input before Prefect starts.

    The listener is told every event of the store after its commit, in order.
    """
    config = at_saved_store(config)
    ready = chosen(config)
    repository = check_config(ready)
    with told_by_environment(config.database_url) as url:
        # who calls it waits for an outcome, and is told at once when there can be none
        config = config.model_copy(update={"database_url": url, "skip_if_busy": False})
        if config.mode is Mode.EXECUTE_ONLY:
            stored_plan(ready, repository, lambda: shared_store(url))
        return await_here(acms_pipeline, config, database_url=url, listener=store_listener)
