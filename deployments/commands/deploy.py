"""`acms deploy` and `acms serve`: the flows of the catalog on a Prefect server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from prefect_acms.deployments.catalog import CATALOG, POOL
from prefect_acms.deployments.options import database_option

if TYPE_CHECKING:
    from prefect_acms.deployments.deploying import Applied, Wanted

KINDS = ("acms", "process", "docker", "kubernetes")

_SCHEDULE = click.option(
    "--schedule",
    "schedules",
    multiple=True,
    metavar="NAME[=WHEN]",
    help="Let this deployment run by itself: `reconcile` as it comes, or `improve=0 2 * * *`, `sweep=every 5 m`,"
    " `watch=FREQ=DAILY`; may be repeated.",
)
_TIMEZONE = click.option(
    "--timezone", default="UTC", show_default=True, metavar="ZONE", help="Read the WHEN of schedules in this timezone."
)
_PARAMETER = click.option(
    "--parameter",
    "parameters",
    multiple=True,
    metavar="NAME.PARAMETER=JSON",
    help='Give a deployment this default, such as `improve.config={"repository": "/srv/shop"}`; may be repeated.',
)


@click.command()
@click.option(
    "--pool",
    metavar="NAME",
    help=f"Run in this work pool; without it, each in the pool that it is in, and in {POOL} where it is in none.",
)
@click.option(
    "--pool-type",
    type=click.Choice(KINDS),
    help="Of what type a pool that is not there yet is made; without it, acms: processes beside a worker.",
)
@_SCHEDULE
@_TIMEZONE
@_PARAMETER
@click.option(
    "--database-url",
    metavar="URL",
    help="Let runs use this canonical store; one with a password is saved as the Secret block acms-database-url."
    " Without it, runs use the one of their worker's environment.",
)
@click.option(
    "--yaml", "as_yaml", is_flag=True, help="Print a file for `prefect deploy --prefect-file`, and do no more."
)
@click.option("--pool-template", is_flag=True, help="Print the base job template of such a pool, and do no more.")
def deploy(
    *,
    pool: str | None,
    pool_type: str | None,
    schedules: tuple[str, ...],
    timezone: str,
    parameters: tuple[str, ...],
    database_url: str | None,
    as_yaml: bool,
    pool_template: bool,
) -> None:
    """Make or update the deployments on a Prefect server.

    The server is the one that PREFECT_API_URL names. A pool that is there already is used as it is. The pool,
    parameters, schedules and job variables that a deployment has on the server stay, where no option says otherwise;
    schedules that no option asks for are there, but switched off.

    The exit code is 2 when an option is wrong, there is no such server, or the pool is of another type.
    """
    from prefect_acms.deployments.deploying import Wanted, parameters_wanted, schedules_wanted
    from prefect_acms.deployments.output import emit_json
    from prefect_acms.deployments.pools import template_of
    from prefect_acms.deployments.prefect_file import prefect_file
    from prefect_acms.deployments.server import require_named_server

    if pool_template:
        emit_json(template_of(pool_type or KINDS[0]))
        return
    if as_yaml:
        click.echo(prefect_file(pool or POOL), nl=False)
        return
    wanted = Wanted(
        schedules=schedules_wanted(schedules, timezone),
        parameters=parameters_wanted(parameters),
        keeps_pool=pool is None,
    )
    require_named_server("a deployment")
    asyncio.run(_deploy(pool or POOL, pool_type, wanted, database_url))


async def _deploy(pool: str, pool_type: str | None, wanted: Wanted, database_url: str | None) -> None:
    from dataclasses import replace

    from prefect.client.orchestration import get_client

    from prefect_acms.deployments.deploying import deploy, store_variables
    from prefect_acms.deployments.pools import pool_of_kind

    async with get_client() as client:
        found, made = await pool_of_kind(client, pool, pool_type)
        variables = await store_variables(database_url)
        applied = await deploy(client, pool, replace(wanted, job_variables=variables))
    _show(applied)
    start = f"acms worker --pool {pool}" if found.type == "acms" else f"prefect worker start --pool {pool}"
    click.echo(f"\nWork pool {pool} of type {found.type} {'made' if made else 'found'}; its worker: {start}")


def _show(applied: list[Applied]) -> None:
    from prefect_acms.deployments.output import emit_table

    emit_table(("DEPLOYMENT", "WHAT A RUN DOES"), [(done.full_name, done.row.description) for done in applied], "")


@click.command()
@click.option(
    "--only",
    multiple=True,
    type=click.Choice([row.name for row in CATALOG]),
    help="Serve this deployment; may be repeated; without it, all.",
)
@_SCHEDULE
@_TIMEZONE
@_PARAMETER
@click.option(
    "--concurrency", type=click.IntRange(min=1), metavar="N", help="Carry out at most so many runs at a time."
)
@database_option
def serve(
    *,
    only: tuple[str, ...],
    schedules: tuple[str, ...],
    timezone: str,
    parameters: tuple[str, ...],
    concurrency: int | None,
    database_url: str | None,
) -> None:
    """Serve the deployments from this process, without a work pool.

    The server is the one that PREFECT_API_URL names. Each run is a process beside this one. Ctrl-C or SIGTERM ends it;
    what runs then is found by `acms reconcile` and gone on with by `acms resume`: a worker of `acms worker` puts its
    runs right by itself. The exit code is 0 then, and 2 when an option is wrong or there is no such server.
    """
    import os

    from prefect_acms.deployments.surroundings import FOR_THE_EMBEDDED_SERVER, take_back

    # before Prefect is imported: also a server that a profile names is to have the logs of runs
    take_back(FOR_THE_EMBEDDED_SERVER)
    from prefect_acms.deployments.deploying import Wanted, parameters_wanted, schedules_wanted
    from prefect_acms.deployments.server import require_named_server
    from prefect_acms.deployments.serving import serve_rows
    from prefect_acms.tasks.reports.text import count

    if database_url is not None:
        os.environ["ACMS_DATABASE_URL"] = database_url
    wanted = Wanted(schedules=schedules_wanted(schedules, timezone), parameters=parameters_wanted(parameters))
    require_named_server("serving")
    rows = [row for row in CATALOG if not only or row.name in only]
    click.echo(f"Serving {count(len(rows), 'deployment')} until Ctrl-C.")
    serve_rows(rows, wanted, concurrency)
    click.echo("Stopped.")
