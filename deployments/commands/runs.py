"""`acms runs` and `acms show`: what is in the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from prefect_acms.deployments.options import FILE, database_option, json_option

if TYPE_CHECKING:
    from prefect_acms.tasks.summary_model import ListedRun

HEAD = ("RUN", "STATE", "MODE", "CREATED", "TIME", "REPOSITORY")


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="List at most so many runs.")
@click.option("--repository", type=FILE, metavar="PATH", help="List only runs of this repository.")
@database_option
@json_option
def runs(limit: int, repository: Path | None, database_url: str | None, *, as_json: bool) -> None:
    """List the runs in the store, the latest first.

    Each run has the keys id, state, degraded, mode, repository, base_commit, branch, head, created_at, started_at,
    completed_at, duration_sec, error, quarantine_reason, news, meanwhile and driver in JSON; branch and head are told
    by `acms show` only. The driver of a run that has not ended is a process, or `nobody`: then `acms resume` goes on
    with it.
    """
    from prefect_acms.deployments.client import AcmsClient
    from prefect_acms.deployments.existing import found_store
    from prefect_acms.deployments.output import emit_records, emit_table
    from prefect_acms.tasks.repository import Repository

    top = Repository.open(repository).top if repository else None
    store = found_store(database_url)
    found = AcmsClient(store=store).runs(repository=top, limit=limit) if store else []
    if as_json:
        emit_records(found)
    else:
        emit_table(HEAD, [_row(run) for run in found], "There is no run yet.")


def _row(run: ListedRun) -> tuple[str, ...]:
    from prefect_acms.tasks.reports.text import day_and_time, seconds

    state = f"{run.state} by {run.driver}" if run.driver else run.state
    return run.id, state, run.mode, day_and_time(run.created_at), seconds(run.duration_sec), run.repository


@click.command()
@click.argument("run")
@database_option
@json_option
def show(run: str, database_url: str | None, *, as_json: bool) -> None:
    """Show what a run found, fixed and deferred.

    RUN is its id, a unique part of it, or `latest`. The JSON is the summary, as in the run's summary.json.
    """
    from prefect_acms.deployments.client import AcmsClient
    from prefect_acms.deployments.output import emit_json
    from prefect_acms.deployments.verdict import show_summary

    summary = AcmsClient(database_url).summary(run)
    if as_json:
        emit_json(summary.model_dump(mode="json"))
    else:
        show_summary(summary)
