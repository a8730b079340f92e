"""`acms audit`: the trail of every state change, checked and handed out."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.deployments.options import FILE, database_option, json_option


@click.group(invoke_without_command=True)
@click.pass_context
def audit(context: click.Context) -> None:
    """Verify or export the audit trail."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@audit.command()
@click.argument("run", required=False)
@database_option
@json_option
def verify(run: str | None, database_url: str | None, *, as_json: bool) -> int:
    """Verify the hash chains: that no row was changed, removed, added or put elsewhere.

    RUN is its id, a unique part of it, or `latest`; without it every chain is verified, the global one included. The
    exit code is 1 if a chain is broken, and the first bad row is named. The JSON has the keys ok, chains, rows and
    first_bad (null, or chain, seq, transition_id and problem).
    """
    from prefect_acms.deployments.client import AcmsClient
    from prefect_acms.deployments.output import emit_json
    from prefect_acms.tasks.reports.text import count

    found = AcmsClient(database_url).verify(run)
    if as_json:
        emit_json(found.model_dump(mode="json"))
    elif found.first_bad is not None:
        raise found.first_bad.error()
    else:
        click.echo(f"Intact: {count(found.rows, 'transition')} in {count(found.chains, 'chain')}.")
    return 0 if found.ok else 1


@audit.command()
@click.argument("run", required=False)
@click.option("--output", type=FILE, metavar="FILE", help="Write to this file instead of the standard output.")
@database_option
def export(run: str | None, output: Path | None, database_url: str | None) -> None:
    """Export the audit trail as JSON lines, in the order of the chains.

    RUN is its id, a unique part of it, or `latest`; without it every chain is exported.
    """
    from prefect_acms.dao import audit as trail
    from prefect_acms.deployments.existing import existing_store
    from prefect_acms.deployments.lookup import find_run

    store = existing_store(database_url)
    run_id = find_run(store, run).id if run else None
    if output is None:
        trail.export(store, run_id, sys.stdout)
        return
    try:
        file = output.open("w", encoding="utf-8", newline="\n")
    except OSError as error:
        expected = f"a file that can be written ({error.strerror})"
        raise InvalidValue(field="--output", value=str(output), expected=expected) from error
    with file:
        trail.export(store, run_id, file)
