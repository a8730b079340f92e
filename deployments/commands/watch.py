"""`acms watch`: what became of branches after runs were merged into them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prefect_acms.deployments.options import FILE, database_option, json_option, words

if TYPE_CHECKING:
    from prefect_acms.tasks.watch_records import Watching

HEAD = ("RUN", "BRANCH", "VERDICT", "WHY")


@click.command()
@click.argument("repository", required=False, type=FILE)
@click.option("--branch", metavar="NAME", help="Watch this branch; without it, the one that each run started from.")
@click.option("--test", type=words, metavar="COMMAND", help="What has to pass there; without it, the gates judge.")
@click.option(
    "--window-sec",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Look at merges that are not older; else as each run was configured.",
)
@click.option(
    "--action",
    type=click.Choice(["propose", "rollback"]),
    help="Propose the rollback of what broke something, or make its branch; else as each run was configured.",
)
@database_option
@json_option
def watch(repository: Path | None, database_url: str | None, *, as_json: bool, **given: Any) -> int:
    """Look at branches that runs were merged into, and propose what to roll back.

    REPOSITORY is a path; without it, all repositories of the store are looked at. A branch is tried in a worktree of
    ours against what it was before the merge. If it was broken, the patch is found by bisection. What a test has
    judged it does not judge again until the branch has moved. Your own branches are never moved.

    The exit code is 0, or 1 when something newly found is broken or a run could not be looked at. The JSON has the keys
    found (each with run_id, branch, merge, head, verdict, sentence, regression, target, command and rollback_branch),
    known and problems.
    """
    from prefect_acms.blocks.watch import WatchSettings
    from prefect_acms.deployments.existing import found_store
    from prefect_acms.deployments.output import emit_json
    from prefect_acms.tasks.watch_records import Watching
    from prefect_acms.tasks.watching import watch as look

    store = found_store(database_url)
    options = {name: value for name, value in given.items() if value is not None}
    done = look(store, repository, WatchSettings(**options)) if store is not None else Watching()
    if as_json:
        emit_json(done.model_dump(mode="json"))
    else:
        _show(done)
    return done.exit_code


def _show(done: Watching) -> None:
    from prefect_acms.deployments.output import emit_table

    rows = [(watched.run_id, watched.branch, watched.verdict.value, watched.sentence) for watched in done.found]
    emit_table(HEAD, rows, "There is no merge to look at.")
    for run_id, problem in done.problems.items():
        click.echo(f"{run_id} could not be looked at: {problem}")
    for watched in done.broken:
        click.echo(f"\nTo have it out of {watched.branch}:\n  {watched.command}")
    click.echo(f"\n{done.sentence[0].upper()}{done.sentence[1:]}.")
