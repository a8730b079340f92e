"""Work pools: ours and Prefect's for processes on this machine, and those of Prefect's collections for containers."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from prefect_acms.canonical.errors import PoolUnfit

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import WorkPool

KINDS = ("acms", "process", "docker", "kubernetes")
"""The types of pools that we have a template for; runs in an existing pool of any other type are fine too."""


def template_of(kind: str) -> dict[str, Any]:
    """The base job template of a new pool of that type."""
    if kind == "acms":
        from prefect_acms.deployments.worker import AcmsWorker

        return AcmsWorker.get_default_base_job_template()
    if kind == "process":
        from prefect.workers.process import ProcessWorker

        return ProcessWorker.get_default_base_job_template()
    text = files(__package__).joinpath("templates", f"{kind}.json").read_text(encoding="utf-8")
    template: dict[str, Any] = json.loads(text)
    return template


async def found_pool(client: PrefectClient, name: str) -> WorkPool | None:
    """The pool of that name, or None."""
    from prefect.exceptions import ObjectNotFound

    try:
        return await client.read_work_pool(name)
    except ObjectNotFound:
        return None


async def require_pool(client: PrefectClient, name: str) -> WorkPool:
    """The pool that a worker of ours is to work for; raises PoolUnfit if it is not there, or not ours."""
    pool = await found_pool(client, name)
    if pool is None:
        raise PoolUnfit(pool=name, problem="there is none of that name: `acms deploy --pool` makes it")
    if pool.type != "acms":
        problem = f"it is of type {pool.type}: `prefect worker start --pool {name}` works for it"
        raise PoolUnfit(pool=name, problem=problem)
    return pool


async def pool_of_kind(client: PrefectClient, name: str, kind: str | None = None) -> tuple[WorkPool, bool]:
    """The pool of that name, made where there is none, and whether it was; one that is there is left as it is.

    Raises PoolUnfit if it is there and of another type than the one that is asked for.
    """
    from prefect.client.schemas.actions import WorkPoolCreate

    pool = await found_pool(client, name)
    if pool is not None:
        if kind is not None and pool.type != kind:
            raise PoolUnfit(pool=name, problem=f"it is there already, and of type {pool.type}, not {kind}")
        return pool, False
    kind = kind or "acms"
    beside = ", as processes beside their worker" if kind in {"acms", "process"} else ""
    described = f"Runs of prefect-acms{beside}."
    wanted = WorkPoolCreate(name=name, type=kind, description=described, base_job_template=template_of(kind))
    return await client.create_work_pool(wanted), True
