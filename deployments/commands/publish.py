"""`acms publish`: what a run has made as a pull or merge request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from prefect_acms.deployments.options import database_option, json_option

if TYPE_CHECKING:
    from prefect_acms.blocks.publishing import PublishSettings
    from prefect_acms.dao.runs import RunRow

HEAD = ("BRANCH", "STATE", "PULL REQUEST", "WHAT")


@click.command()
@click.argument("run")
@click.option("--remote", metavar="NAME", help="Push to this remote; without it, to the one of the run's settings.")
@click.option("--credentials", metavar="BLOCK", help="Use this saved ACMS Forge Credentials block.")
@click.option("--per", type=click.Choice(["run", "workstream"]), help="One pull request for all, or one a workstream.")
@click.option("--draft/--ready", default=None, help="Open a new pull request as a draft, or ready for review.")
@click.option("--label", "labels", multiple=True, metavar="NAME", help="Give a new one this label; may be repeated.")
@click.option("--base", metavar="BRANCH", help="Ask for a merge into this branch, not the one that the run came from.")
@click.option("--forge", type=click.Choice(["auto", "github", "gitlab", "gitea"]), help="Speak to this kind of forge.")
@click.option("--forge-url", metavar="URL", help="The forge's address, where it is not that of the remote.")
@click.option("--project", metavar="OWNER/NAME", help="The project there, where the remote's address doesn't say it.")
@database_option
@json_option
def publish(run: str, database_url: str | None, *, as_json: bool, **given: Any) -> int:
    """Push what a run has made, and open or bring up its pull request.

    RUN is its id, a unique part of it, or `latest`. Never a second one is opened for the same. Options go before the
    run's own settings. The token comes from the block that is named, or from ACMS_FORGE_TOKEN (for ACMS_FORGE_URL, else
    github.com), GITHUB_TOKEN, GITLAB_TOKEN or GITEA_TOKEN. Called again, it goes on from wherever it was.

    The exit code is 0, or 1 when something was held back or the forge did not do its part. The JSON has the keys run_id
    and published (each with forge, forge_url, repository, base, branch, workstream, head, number, url, state, gaps,
    labelled and sentence).
    """
    from prefect_acms.deployments.existing import existing_store
    from prefect_acms.deployments.lookup import find_run
    from prefect_acms.deployments.output import emit_json, emit_table
    from prefect_acms.tasks.publishing import publish as carry_out
    from prefect_acms.tasks.reports.text import printable

    store = existing_store(database_url)
    row = find_run(store, run)
    done = carry_out(store, row.id, _settings(row, given))
    if as_json:
        emit_json(done.model_dump(mode="json"))
    else:
        rows = [(one.branch, one.state.value, printable(one.url or "-"), one.sentence) for one in done.published]
        emit_table(HEAD, rows, "There is nothing to publish.")
    return done.exit_code


def _settings(run: RunRow, given: dict[str, Any]) -> PublishSettings:
    from prefect_acms.blocks.publishing import PublishSettings

    options = {name: value for name, value in given.items() if value not in {None, ()}}
    return PublishSettings.model_validate({**run.config.get("publish", {}), **options})
