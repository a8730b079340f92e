"""The sweep of worker health as a flow that can be scheduled."""

from __future__ import annotations

import asyncio
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from prefect_acms.blocks.config import HealthSettings
from prefect_acms.tasks.driving import shared_store
from prefect_acms.tasks.sweeping import sweep


@flow(name="acms-sweep", flow_run_name="sweep", persist_result=False)
async def sweep_workers(database_url: str | None = None, health: HealthSettings | None = None) -> State[Any]:
    """Move workers and tools' processes to what their heartbeats say; the Prefect state says what was done.

    What `health` sets goes before what each run was configured with.
    """
    swept = await asyncio.to_thread(sweep, shared_store(database_url), health)
    return Completed(message=swept.sentence, data=swept)
