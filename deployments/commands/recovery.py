"""`acms resume` and `acms cancel`: go on with a run that was cut off, or end it."""

from __future__ import annotations

import click

from prefect_acms.deployments.options import WAIT_OPTION, database_option, json_option

RUN = click.argument("run")


@click.command()
@RUN
@WAIT_OPTION
@click.option("--take-over", is_flag=True, help="Fence off the process that drives the run, be it alive or not.")
@database_option
@json_option
def resume(run: str, wait_sec: float | None, database_url: str | None, *, take_over: bool, as_json: bool) -> int:
    """Go on with a run that was cut off, from where it was.

    RUN is its id, a unique part of it, or `latest`. What was completed is not done again. A run that has ended is told
    once more, and what its process had no time to put away is put away. The exit codes are those of `acms run`; a run
    that a living process drives is refused with 2.
    """
    from prefect_acms.deployments.carrying_out import go_on_with
    from prefect_acms.deployments.existing import existing_store
    from prefect_acms.deployments.lookup import find_run

    found = find_run(existing_store(database_url), run)
    return go_on_with(found, database_url, wait_sec=wait_sec or 0, take_over=take_over, as_json=as_json)


@click.command()
@RUN
@click.option("--reason", default="cancelled by hand", show_default=True, help="Why; it is kept in the audit trail.")
@click.option("--operator", metavar="NAME", help="Who; without it, the name of the user.")
@database_option
def cancel(run: str, reason: str, operator: str | None, database_url: str | None) -> None:
    """Cancel a run, whoever drives it.

    RUN is its id, a unique part of it, or `latest`. Its tools are stopped, what was merged stays on its branch, and its
    other patches are reverted and quarantined. The exit code is 0, or 2 for a run that has ended already.
    """
    from prefect_acms.deployments import answering
    from prefect_acms.deployments.existing import existing_store
    from prefect_acms.deployments.lookup import find_run
    from prefect_acms.deployments.surroundings import caller

    store = existing_store(database_url)
    ended = answering.cancel(store, find_run(store, run).id, reason, operator=operator or caller())
    click.echo(f"{ended.id} is {ended.state}")
