"""`acms db`: the version of the canonical database."""

from __future__ import annotations

import click

from prefect_acms.deployments.options import database_option, json_option


@click.group(invoke_without_command=True)
@click.pass_context
def db(context: click.Context) -> None:
    """Migrate the canonical database, or tell its version."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@db.command()
@click.argument("revision", default="head")
@database_option
def upgrade(revision: str, database_url: str | None) -> None:
    """Migrate the database up to a revision, or to the newest.

    Other commands do this by themselves; each step is one transaction, so a failed one leaves the version before it.
    """
    from prefect_acms.dao.connections import shown
    from prefect_acms.dao.home import database_url as chosen
    from prefect_acms.dao.migration import current, upgrade

    url = chosen(database_url)
    upgrade(url, revision)
    click.echo(f"{shown(url)} is at revision {current(url)}.")


@db.command()
@click.argument("revision")
@database_option
def downgrade(revision: str, database_url: str | None) -> None:
    """Migrate the database down to a revision.

    No row is lost: what the older revision has no place for is set aside, and comes back with the next upgrade. Of a
    SQLite file a copy is made first.
    """
    from prefect_acms.dao.connections import shown
    from prefect_acms.dao.home import database_url as chosen
    from prefect_acms.dao.migration import current, downgrade

    url = chosen(database_url)
    backup = downgrade(url, revision)
    kept = f" What it was is kept in {backup}." if backup else ""
    click.echo(f"{shown(url)} is at revision {current(url)}.{kept}")


@db.command()
@database_option
@json_option
def current(database_url: str | None, *, as_json: bool) -> None:
    """Tell the revision of the database and the newest one; the JSON has the keys url, current and head."""
    from prefect_acms.dao.connections import shown
    from prefect_acms.dao.home import database_url as chosen
    from prefect_acms.dao.migration import current, head
    from prefect_acms.deployments.output import emit_json

    url = chosen(database_url)
    found = current(url)
    if as_json:
        emit_json({"url": shown(url), "current": found, "head": head()})
    else:
        where = f"is at revision {found}" if found else "does not exist yet"
        click.echo(f"{shown(url)} {where}, the newest revision is {head()}.")
