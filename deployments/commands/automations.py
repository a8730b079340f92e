"""`acms automations`: what a Prefect server does by itself when something happens to a run."""

from __future__ import annotations

import click

from prefect_acms.deployments.options import json_option

HEAD = ("NAME", "STATE", "WHAT IT DOES")


@click.group(invoke_without_command=True)
@click.pass_context
def automations(context: click.Context) -> None:
    """Let a Prefect server notify, resume and run by itself.

    The server is the one that PREFECT_API_URL names.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@automations.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--notify", "block", metavar="TYPE/NAME", help="The notification block to use, like slack-webhook/ops.")
@click.option("--postgresql", is_flag=True, help="The database of the Prefect server is PostgreSQL.")
def install(names: tuple[str, ...], block: str | None, *, postgresql: bool) -> None:
    """Put our automations on the server, or bring them up to date there.

    Without NAME all that fit are installed. One that watches for silent flow runs is only for a server on PostgreSQL;
    on SQLite the deployment of `reconcile` does its work. Those that notify need a block. One that was paused stays so.
    """
    from prefect_acms.deployments import automations as ours

    with ours.server() as client:
        done, left = ours.install(client, names, ours.Target(postgresql=postgresql, block=block))
    for name in done:
        click.echo(f"installed {name}")
    for name, why in left.items():
        click.echo(f"left out  {name}: {why}")


@automations.command("list")
@json_option
def list_automations(*, as_json: bool) -> None:
    """List our automations, and how each stands on the server: enabled, paused, or not installed.

    Each has the keys name, state and description in JSON.
    """
    from prefect_acms.deployments import automations as ours
    from prefect_acms.deployments.output import emit_json, emit_table

    with ours.server() as client:
        found = ours.standings(client)
    rows = [(automation.name, found[automation.name].value, automation.description) for automation in ours.shipped()]
    if as_json:
        emit_json([dict(zip(("name", "state", "description"), row, strict=True)) for row in rows])
    else:
        emit_table(HEAD, rows, "")


@automations.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
def remove(names: tuple[str, ...]) -> None:
    """Take our automations off the server; without NAME all of them."""
    from prefect_acms.deployments import automations as ours

    with ours.server() as client:
        done = ours.remove(client, names)
    for name in done:
        click.echo(f"removed {name}")
    if not done:
        click.echo("None of them is on the server.")
