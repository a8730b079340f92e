"""The deployments served by this process, as Prefect's `serve` does: no work pool, no worker, runs beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runner import Runner

from prefect_acms.deployments.catalog import Deployable
from prefect_acms.deployments.deploying import Wanted, build, deployed
from prefect_acms.deployments.working import told_to_stop


class _Server(Runner):
    """A runner that a SIGTERM ends as a Ctrl-C does: its runs are stopped, and the schedules it serves are paused."""

    stop_serving: Callable[[], object]

    def handle_sigterm(self, *_signal: Any, **_frame: Any) -> None:
        """Prefect's own leaves in the middle of what it does."""
        self.stop_serving()


def serve_rows(rows: Sequence[Deployable], wanted: Wanted, limit: int | None) -> None:
    """Serve these rows of the catalog until told to stop; a deployment that is in a work pool stays in it as well."""
    asyncio.run(_serve(rows, wanted, limit))


async def _serve(rows: Sequence[Deployable], wanted: Wanted, limit: int | None) -> None:
    runner, go_on = _Server(limit=limit), list[UUID]()
    async with get_client() as client:
        for row in rows:
            before = await deployed(client, row)
            made = await runner.aadd_deployment(await build(row, None, wanted, before))
            if before is not None and before.work_pool_name and not before.paused:
                go_on.append(made)
    async with told_to_stop() as stop:
        # the runner takes SIGTERM for itself
        runner.stop_serving = partial(asyncio.get_running_loop().call_soon_threadsafe, stop.set)
        serving = asyncio.create_task(runner.start())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
    async with get_client() as client:
        for deployment in go_on:
            # the pool's worker goes on with what the runner has paused
            await client.resume_deployment(deployment)
