"""`acms gaps`: what was found, and why some of it is still there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prefect_acms.deployments.options import database_option, json_option

if TYPE_CHECKING:
    from prefect_acms.tasks.summary_model import GapRecord

HEAD = ("STATE", "SEVERITY", "RULE", "WHERE", "FINDING", "REASON")


@click.command()
@click.argument("run")
@click.option("--state", metavar="STATE", help="List only gaps in this state, for example deferred.")
@click.option("--new", "only_new", is_flag=True, help="List only gaps that the run before in the repository had not.")
@database_option
@json_option
def gaps(run: str, state: str | None, database_url: str | None, *, only_new: bool, as_json: bool) -> None:
    """List the gaps of a run, with the reasons of the deferred ones.

    New are those that the last earlier run of the same repository did not find, in which all the sources worked that
    worked in this one; moved, reformatted and renamed code counts as known, and without such a run everything is new.
    RUN is its id, a unique part of it, or `latest`. Each gap has the keys id, fingerprint, source, rule_id, title,
    description, category, severity, file_paths, start_line, end_line, state, reason, workstream_id and commit in JSON.
    """
    from prefect_acms.deployments.client import AcmsClient
    from prefect_acms.deployments.output import emit_records, emit_table

    found = AcmsClient(database_url).gaps(run, state=state)
    if only_new:
        from prefect_acms.deployments.existing import existing_store
        from prefect_acms.deployments.lookup import find_run
        from prefect_acms.tasks.new_gaps import new_gaps

        store = existing_store(database_url)
        new = new_gaps(store, find_run(store, run))
        found = [gap for gap in found if gap.fingerprint in new.fingerprints]
        if new.since is None:
            click.echo("No earlier run has asked the same sources: everything is new.", err=True)
    if as_json:
        emit_records(found)
    else:
        emit_table(HEAD, [_row(gap) for gap in found], "There is no such gap.")


def _row(gap: GapRecord) -> tuple[str, ...]:
    from prefect_acms.tasks.reports.text import one_line, place

    rule = f"{gap.source} {gap.rule_id}"
    return gap.state, gap.severity, rule, place(gap), one_line(gap.title), one_line(gap.reason or "")
