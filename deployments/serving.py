"""The deployments served by this process, as Prefect's `serve` does: no work pool, no worker, runs beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from prefect_acms.deployments.catalog import Deployable
from prefect_acms.deployments.deploying import Wanted, build, deployed

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment


def serve_rows(rows: Sequence[Deployable], wanted: Wanted, limit: int | None) -> None:
    """Serve these rows of the catalog until told to stop; a deployment that is in a work pool leaves it."""
    from prefect import serve

    serve(*asyncio.run(_built(rows, wanted)), limit=limit, print_starting_message=False)


async def _built(rows: Sequence[Deployable], wanted: Wanted) -> list[RunnerDeployment]:
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        return [await build(row, None, wanted, await deployed(client, row)) for row in rows]
