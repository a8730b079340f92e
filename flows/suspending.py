"""A run that only waits for a person: it suspends, so that no process waits with it, and goes on after the answer.

Only the outermost flow of a deployment can: Prefect runs it again from the top, in a new process, once somebody has
filled in the form or has answered elsewhere. The patches wait in the store all the while.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from prefect import suspend_flow_run
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.exceptions import Pause
from prefect.input.actions import aread_flow_run_input
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL

from prefect_acms.canonical.clock import utc_text
from prefect_acms.canonical.errors import RunSuspended
from prefect_acms.dao.store import Store
from prefect_acms.dao.unit import Fence
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.ending import release_workers
from prefect_acms.tasks.prefect_server import UNREACHABLE, problem_of
from prefect_acms.tasks.review_form import form_about, form_key, record_answer
from prefect_acms.tasks.suspension import SUSPENSION, Suspension, suspension_of, wake

_log = logging.getLogger(__name__)


def may_suspend() -> bool:
    """Whether the Prefect run that this is part of can be suspended: the outermost one, of a deployment."""
    context = FlowRunContext.get()
    known = context.flow_run if context is not None else None
    return known is not None and known.deployment_id is not None and known.parent_task_run_id is None


async def suspending(carry_out: Callable[[], Awaitable[State[Any]]], store: Callable[[], Store]) -> State[Any]:
    """Carry a run out; if it comes to wait for a person alone, this Prefect run is suspended, which raises Pause.

    Where Prefect refuses, the run is carried on with here, as if it had never stopped.
    """
    while True:
        try:
            return await carry_out()
        except RunSuspended as waiting:
            await _suspend(store(), str(waiting.facts["run_id"]))


async def _suspend(store: Store, run_id: str) -> None:
    """Suspend this Prefect run with the form about the patch that waits longest; does nothing once none waits."""
    with store.begin(read_only=True) as dao:
        run = dao.runs.get(run_id)
        waiting = [entry for entry in dao.ledger.waiting() if entry.run_id == run_id]
        if not waiting:
            return
        form = form_about(dao, waiting[0], others=len(waiting) - 1)
    suspension = Suspension(
        flow_run_id=flow_run.id,
        api_url=PREFECT_API_URL.value(),
        # Prefect fires a pause of one name once: each suspension of the same patch has its own.
        key=f"{form_key(waiting[0].id)}-{run.epoch}",
        entry_id=waiting[0].id,
        waiting=tuple(entry.id for entry in waiting),
        since=utc_text(store.clock()),
    )
    # Before Prefect knows, so that whoever answers from now on knows whom to tell.
    with store.begin(fence=Fence(run_id, run.epoch)) as dao:
        dao.runs.change(run_id, metadata={SUSPENSION: suspension.model_dump(mode="json")})
        release_workers(dao, run_id, reason="the run is suspended")
    try:
        # without a time limit: it is our own that ends the review
        asked: Any = suspend_flow_run(wait_for_input=form, key=suspension.key)
        await asked
    except Pause:
        _log.info("run %s waits for a review of patch %s: it is suspended", run_id, waiting[0].patch_id)
        # whoever has answered since the last look did not know yet that Prefect has to be told
        await asyncio.to_thread(wake, store, run_id)
        raise
    except (*UNREACHABLE, RuntimeError) as problem:
        _log.warning("run %s can't be suspended, so it waits here: %s", run_id, problem_of(problem))


async def take_answer(drive: Drive) -> None:
    """Store what was answered in the form of a run that was suspended, if anything was; it is not suspended any more.

    A Prefect server that can't be asked now may hold an answer: the suspension is remembered then.
    """
    with drive.reading() as dao:
        suspension = suspension_of(dao.runs.get(drive.run_id))
    if suspension is None:
        return
    try:
        given = await aread_flow_run_input(suspension.response, flow_run_id=suspension.flow_run_id)
    except UNREACHABLE as problem:
        _log.warning("Prefect can't say what was answered about %s: %s", suspension.entry_id, problem_of(problem))
        return
    refusal = None if given is None else record_answer(drive.begin(), suspension.entry_id, given)
    if refusal is not None:
        _log.warning("%s", refusal)
    with drive.begin() as dao:
        dao.runs.change(drive.run_id, metadata={SUSPENSION: None})
