"""`acms doctor`: what a run needs, looked at one by one."""

from __future__ import annotations

import click

from prefect_acms.deployments.options import database_option, json_option

HEAD = ("STATE", "WHAT", "FOUND", "REMEDY")


@click.command()
@database_option
@json_option
def doctor(database_url: str | None, *, as_json: bool) -> int:
    """Check that everything a run needs is in place.

    Nothing is changed. The exit code is 1 if something is missing or broken. The JSON is a list whose items have the
    keys what, state (good, warning or bad), found and remedy.
    """
    from prefect_acms.deployments.checkup import checks
    from prefect_acms.deployments.output import emit_json, emit_table

    found = list(checks(database_url))
    if as_json:
        emit_json([check._asdict() for check in found])
    else:
        emit_table(HEAD, [(check.state, check.what, check.found, check.remedy) for check in found], "")
    return 1 if any(check.state == "bad" for check in found) else 0
