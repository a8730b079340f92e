"""Reconciliation as a flow that can be scheduled."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from prefect_acms.tasks.driving import shared_store
from prefect_acms.tasks.reconciling import reconcile


@flow(name="acms-reconcile", flow_run_name="reconcile", persist_result=False)
async def reconcile_runs(run_id: str | None = None, database_url: str | None = None) -> State[Any]:
    """Compare one run, or all that may differ, with its files, git and Prefect; the Prefect state tells the counts.

    Raises NotFound for a run that there is not.
    """
    done = await reconcile(shared_store(database_url), run_id)
    return Completed(name="LeftAlone" if done.exit_code else None, message=done.sentence, data=done)
