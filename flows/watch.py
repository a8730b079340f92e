"""Watching merged branches as a flow that can be scheduled."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from prefect_acms.blocks.watch import WatchSettings
from prefect_acms.tasks.artifacts import publish_broken
from prefect_acms.tasks.driving import shared_store
from prefect_acms.tasks.watching import watch


@flow(name="acms-watch", flow_run_name="watch", persist_result=False)
async def watch_branches(
    repository: Path | None = None, database_url: str | None = None, settings: WatchSettings | None = None
) -> State[Any]:
    """Look once at the branches that runs were merged into; the Prefect state says what was found.

    What `settings` sets goes before what each run was configured with. For each merge that broke something there is an
    artifact with the command that takes it back.
    """
    store = shared_store(database_url)
    done = await asyncio.to_thread(watch, store, repository, settings)
    for watched in done.broken:
        with store.begin(read_only=True) as dao:
            root = dao.runs.get(watched.run_id).repo_root
        await publish_broken(store, Path(root).name, watched)
    return Completed(name="Broken" if done.broken else None, message=done.sentence, data=done)
