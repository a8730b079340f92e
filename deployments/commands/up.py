"""`acms up`, `acms server` and `acms worker`: a Prefect server with a worker of ours, whole or in parts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from prefect_acms.deployments.catalog import POOL
from prefect_acms.deployments.options import database_option

if TYPE_CHECKING:
    from prefect_acms.deployments.deploying import Applied
    from prefect_acms.deployments.server import Server

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

LOCAL = "127.0.0.1"

_SUITS_WORKERS = {"PREFECT_WORKER_QUERY_SECONDS": "2"}
"""How often the pool is asked for runs, where the environment says nothing: Prefect's own 10 s is long for a person."""

_HOST = click.option("--host", default=LOCAL, show_default=True, help="Let the server listen on this address.")
_PORT = click.option(
    "--port", type=click.IntRange(1, 65535), default=4200, show_default=True, help="Let the server listen on this port."
)
_POOL = click.option("--pool", default=POOL, show_default=True, metavar="NAME", help="Work for this work pool.")
_NAME = click.option("--name", metavar="NAME", help="Call the worker so; without it, Prefect makes a name.")
_CONCURRENCY = click.option(
    "--concurrency", type=click.IntRange(min=1), metavar="N", help="Carry out at most so many runs at a time."
)


@click.command()
@_HOST
@_PORT
@click.option(
    "--pool",
    metavar="NAME",
    help=f"Work for this work pool, with all deployments in it; without it, work for {POOL}, and a deployment that is"
    " in another pool stays there.",
)
@_NAME
@_CONCURRENCY
@database_option
def up(
    *, host: str, port: int, pool: str | None, name: str | None, concurrency: int | None, database_url: str | None
) -> None:
    """Start all that runs on a Prefect server need: server, work pool, deployments, worker.

    The server is the one that PREFECT_API_URL names; where it names none, one is started here, on loopback, with its
    database where Prefect has it. A work pool and deployments that are there already are used, and updated. Ctrl-C or
    SIGTERM ends the worker, whose runs let go and can be resumed, and then the server that was started here.

    The exit code is 0 after Ctrl-C or SIGTERM, 1 when the server or the worker ended by itself, and 2 when the server
    that PREFECT_API_URL names does not answer, the port is taken, or the work pool is of another type.
    """
    _prepare(database_url)
    from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL

    from prefect_acms.dao.store import open_store
    from prefect_acms.tasks.prefect_server import require_server

    open_store()  # what can't be stored is refused before anything is started
    if PREFECT_API_URL.value():
        require_server()
        asyncio.run(_up_there(PREFECT_UI_URL.value(), pool, name, concurrency))
    else:
        asyncio.run(_up_here(host, port, pool, name, concurrency))
    click.echo("Stopped.")


async def _up_there(ui: str | None, pool: str | None, name: str | None, concurrency: int | None) -> None:
    from prefect_acms.deployments.working import told_to_stop

    async with told_to_stop() as stop:
        await _up(None, ui, pool, name, concurrency, stop)


async def _up_here(host: str, port: int, pool: str | None, name: str | None, concurrency: int | None) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from prefect_acms.deployments.server import Server
    from prefect_acms.deployments.working import told_to_stop, unless_told

    # from before the server is there until it is no more: a signal in between would leave it behind
    async with told_to_stop() as stop:
        server = Server(host, port)
        try:
            _tell_of(server, host)
            os.environ["PREFECT_API_URL"] = server.api_url
            with temporary_settings({PREFECT_API_URL: server.api_url}):
                if await unless_told(stop, _ready(server)):
                    await _up(server, server.url, pool, name, concurrency, stop)
        finally:
            server.stop()


async def _ready(server: Server) -> None:
    # The flows take as long to import as the server takes to start: side by side.
    await asyncio.gather(server.ready(), asyncio.to_thread(_load_flows))


async def _up(  # noqa: PLR0917 - what the options say
    server: Server | None,
    ui: str | None,
    asked: str | None,
    name: str | None,
    concurrency: int | None,
    stop: asyncio.Event,
) -> None:
    from prefect.client.orchestration import get_client

    from prefect_acms.deployments.deploying import Wanted, deploy
    from prefect_acms.deployments.pools import pool_of_kind
    from prefect_acms.deployments.working import work

    pool = asked or POOL
    async with get_client() as client:
        found, made = await pool_of_kind(client, pool, "acms")
        if stop.is_set():
            return
        applied = await deploy(client, pool, Wanted(keeps_pool=asked is None))
    click.echo(f"Work pool {pool} {'made' if made else 'found'}, {len(applied)} deployments up to date.")
    if others := sorted({done.pool for done in applied} - {pool}):
        click.echo(f"Deployments that are in another work pool stay there: {', '.join(others)}.")
    if found.is_paused:
        click.echo(f"The work pool is paused, so that runs wait: `prefect work-pool resume {pool}` lets them start.")
    _tell_next(ui, applied)
    await work(pool, name=name, limit=concurrency, stop=stop, server=server)


def _load_flows() -> None:
    from prefect_acms.deployments.catalog import CATALOG

    for row in CATALOG:
        row.load()


def _tell_of(server: Server, host: str) -> None:
    click.echo(f"Starting a Prefect server at {server.url} (its log: {server.log}); the first start takes longest.")
    if host not in {LOCAL, "localhost", "::1"}:
        click.echo("It asks nobody for a password: whoever reaches it can run flows on this machine.")


def _tell_next(ui: str | None, applied: list[Applied]) -> None:
    from prefect.settings import PREFECT_API_URL

    pipeline = applied[0]
    config = '{"repository": "/path/to/repository"}'
    click.echo(
        f"""
The Prefect UI:      {ui}
Improve something:   {ui}/deployments/deployment/{pipeline.id}
                     Run -> Custom run: the path of a git repository is all that is needed
From another shell:  export PREFECT_API_URL={PREFECT_API_URL.value()}
                     prefect deployment run {pipeline.full_name} --param config='{config}'
To stop:             Ctrl-C
"""
    )


@click.command()
@_HOST
@_PORT
def server(host: str, port: int) -> None:
    """Start a Prefect server with the settings that suit runs.

    It writes down task runs in batches and keeps concurrency leases in files, so that a restart crashes no run, and its
    UI asks the port that it listens on. Variables of Prefect that are set go before this. It runs until Ctrl-C or
    SIGTERM. The exit code is 2 when the port is taken.
    """
    _prepare(None)
    from prefect_acms.deployments.server import local_url, require_address, server_command, server_environment

    require_address(host, port)
    url = local_url(host, port)
    click.echo(f"The Prefect UI: {url}\nFor workers and clients: export PREFECT_API_URL={url}/api")
    command = server_command(host, port)
    os.execve(command[0], command, server_environment(host, port))  # noqa: S606 - the server, in place of this process


@click.command()
@_POOL
@_NAME
@_CONCURRENCY
@database_option
def worker(pool: str, name: str | None, concurrency: int | None, database_url: str | None) -> None:
    """Start a worker that carries out the runs of a work pool.

    The pool is of type `acms` and on the server that PREFECT_API_URL names; `acms deploy` makes it. Each run is a
    process beside the worker, with the worker's environment. Ctrl-C or SIGTERM ends the worker; its runs let go and can
    be resumed. The exit code is 0 then, 1 when the worker ended by itself, and 2 when there is no such server or pool.
    """
    _prepare(database_url)
    from prefect_acms.dao.connections import address
    from prefect_acms.dao.home import database_url as chosen
    from prefect_acms.deployments.server import require_named_server

    # a store that is away does not keep a worker from working, but one that can't be meant does
    address(chosen())
    require_named_server("a worker")
    asyncio.run(_worker(pool, name, concurrency))


async def _worker(pool: str, name: str | None, concurrency: int | None) -> None:
    from prefect.client.orchestration import get_client

    from prefect_acms.deployments.pools import require_pool
    from prefect_acms.deployments.working import told_to_stop, work

    async with told_to_stop() as stop:
        async with get_client() as client:
            await require_pool(client, pool)
        click.echo(f"Working for pool {pool} until Ctrl-C.")
        await work(pool, name=name, limit=concurrency, stop=stop)
    click.echo("Stopped.")


def _prepare(database_url: str | None) -> None:
    """Set the environment of what is started, before Prefect is imported; logs of runs go to the server."""
    from prefect_acms.deployments.surroundings import FOR_THE_EMBEDDED_SERVER, fill_in, take_back

    take_back({*FOR_THE_EMBEDDED_SERVER, "PREFECT_SERVER_LOGGING_LEVEL"})
    fill_in(_SUITS_WORKERS)
    if database_url is not None:
        os.environ["ACMS_DATABASE_URL"] = database_url
