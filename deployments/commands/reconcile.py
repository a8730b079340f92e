"""`acms reconcile`: the store, Prefect, git and the files of runs brought to one story."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prefect_acms.deployments.options import database_option, json_option

if TYPE_CHECKING:
    from prefect_acms.tasks.drift import Drift, Reconciliation

HEAD = ("KIND", "RUN", "DRIFT", "REPAIR")


@click.command()
@click.argument("run", required=False)
@database_option
@json_option
def reconcile(run: str | None, database_url: str | None, *, as_json: bool) -> int:
    """Compare runs with Prefect, git and their files, and repair what differs.

    RUN is an id, a unique part of it, or `latest`; without it, all runs are compared that have not ended, or ended in
    the last 7 days, or were never compared. The store is right: what differs is put right where a rule allows it, and
    told as an event of the run. What a living process drives is left alone, unless Prefect was told to cancel it. Done
    twice, the second time finds nothing. The exit code is 0, or 1 when something newly found needs a person or the
    Prefect server could not be asked. The JSON has the keys looked_at, drifts, left_alone, resumable and server.
    """
    from prefect_acms.deployments.existing import existing_store, found_store
    from prefect_acms.deployments.lookup import find_run
    from prefect_acms.deployments.output import emit_json
    from prefect_acms.tasks.drift import Reconciliation
    from prefect_acms.tasks.reconciling import reconcile_here

    store = existing_store(database_url) if run else found_store(database_url)
    run_id = find_run(store, run).id if store is not None and run else None
    done = reconcile_here(store, run_id) if store is not None else Reconciliation()
    if as_json:
        emit_json(done.model_dump(mode="json"))
    else:
        _show(done)
    return done.exit_code


def _show(done: Reconciliation) -> None:
    from prefect_acms.deployments.output import emit_table

    emit_table(HEAD, [_row(drift) for drift in done.drifts], "No drift was found.")
    if done.left_alone:
        click.echo("\nKnown, and left alone:")
        emit_table(HEAD, [_row(drift) for drift in done.left_alone], "")
    if done.resumable:
        click.echo("\nCan be resumed:")
        for run_id in done.resumable:
            click.echo(f"  acms resume {run_id}")
    click.echo(f"\n{done.sentence[0].upper()}{done.sentence[1:]}.")


def _row(drift: Drift) -> tuple[str, ...]:
    return drift.kind.value, drift.run_id or "-", drift.sentence, drift.repair or "left alone"
