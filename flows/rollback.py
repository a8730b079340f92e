"""Rollback as a flow that can be deployed, so that a person can order one from the Prefect UI."""

from __future__ import annotations

import asyncio
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from prefect_acms.tasks.driving import shared_store
from prefect_acms.tasks.rollback_plans import plan_rollback
from prefect_acms.tasks.rollback_records import plan_record, rollback


@flow(name="acms-rollback", flow_run_name="rollback {target}", persist_result=False)
async def roll_back_patches(
    target: str,
    operator: str,
    reason: str,
    onto: str | None = None,
    database_url: str | None = None,
    *,
    dependents: bool = True,
    dry_run: bool = False,
) -> State[Any]:
    """Take back a patch, a workstream or a run by its id; the Prefect state says what was done, or what would be.

    Raises what `plan_rollback` and `roll_back` raise; then nothing was changed.
    """
    store = shared_store(database_url)
    if dry_run:
        plan = await asyncio.to_thread(plan_rollback, store, target, onto=onto, dependents=dependents)
        told = plan_record(plan)
        names = ", ".join(step.patch_id for step in told.steps)
        return Completed(name="Planned", message=f"would be rolled back on {told.branch}: {names}", data=told)
    done = await asyncio.to_thread(
        rollback, store, target, operator=operator, reason=reason, onto=onto, dependents=dependents
    )
    command = done.plan.merge_command
    return Completed(message=f"{done.sentence}{f': {command}' if command else ''}", data=done)
