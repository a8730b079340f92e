"""`acms workers` and `acms breakers`: who serves runs, and which tools are held back."""

from __future__ import annotations

import click

from prefect_acms.deployments.options import database_option, json_option

WORKERS = ("WORKER", "STATE", "TYPE", "LAST HEARTBEAT", "TASK", "RUN")
BREAKERS = ("TOOL", "STATE", "FAILURES", "OPENED", "COOLDOWN")


@click.command()
@click.argument("run", required=False)
@database_option
@json_option
def workers(run: str | None, database_url: str | None, *, as_json: bool) -> None:
    """List the workers that are not shut down, or all of a run.

    RUN is its id, a unique part of it, or `latest`. Each worker has the keys id, run_id, type, state, capabilities,
    affinity, task_id, created_at, last_heartbeat and shutdown_at in JSON.
    """
    from prefect_acms.deployments.client import AcmsClient
    from prefect_acms.deployments.existing import existing_store, found_store
    from prefect_acms.deployments.output import emit_records, emit_table
    from prefect_acms.tasks.reports.text import day_and_time

    store = existing_store(database_url) if run else found_store(database_url)
    found = AcmsClient(store=store).workers(run) if store else []
    if as_json:
        emit_records(found)
        return
    rows = [
        (one.id, one.state, one.type, day_and_time(one.last_heartbeat), one.task_id or "-", one.run_id or "-")
        for one in found
    ]
    emit_table(WORKERS, rows, "There is no worker.")


@click.command()
@database_option
@json_option
def breakers(database_url: str | None, *, as_json: bool) -> None:
    """List the circuit breakers of tools.

    One that is OPEN holds its tool back. Each has the keys id, tool_id, state, failure_count, failure_threshold,
    success_count, success_threshold, cooldown_sec, opened_at and last_failure_at in JSON.
    """
    from prefect_acms.deployments.client import AcmsClient
    from prefect_acms.deployments.existing import found_store
    from prefect_acms.deployments.output import emit_records, emit_table
    from prefect_acms.tasks.reports.text import day_and_time, seconds

    store = found_store(database_url)
    found = AcmsClient(store=store).breakers() if store else []
    if as_json:
        emit_records(found)
        return
    rows = [
        (
            one.tool_id,
            one.state,
            f"{one.failure_count} of {one.failure_threshold}",
            day_and_time(one.opened_at) if one.opened_at else "-",
            seconds(one.cooldown_sec),
        )
        for one in found
    ]
    emit_table(BREAKERS, rows, "No tool has a breaker yet.")
