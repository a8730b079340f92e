"""`acms regress`: which patch of a run broke a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prefect_acms.deployments.options import database_option, json_option, words

if TYPE_CHECKING:
    from prefect_acms.tasks.regressions import Regression
    from prefect_acms.tasks.suspects import Suspect


@click.command()
@click.argument("run")
@click.option("--test", required=True, type=words, metavar="COMMAND", help="What passes before the run, and fails now.")
@click.option(
    "--timeout-sec",
    type=click.FloatRange(min=0, min_open=True),
    default=900.0,
    show_default=True,
    help="Call a commit bad at which the test takes longer.",
)
@database_option
@json_option
def regress(run: str, test: tuple[str, ...], timeout_sec: float, database_url: str | None, *, as_json: bool) -> int:
    """Find by bisection which patch of a run broke a test.

    RUN is its id, a unique part of it, or `latest`. The command runs without a shell in a worktree of its own, with the
    environment of the gates. It says with 0 that a commit is good, with 125 that it can't be tried, and with 1 to 127
    that it is bad; anything else ends the search, as with `git bisect run`.

    The exit code is 0 when the commit was found, 1 when only commits are left that can't be tried, and 2 when the test
    does not pass at the run's base commit or does not fail at its end. The JSON has the keys run_id, test, good, bad,
    found (with commit, title, patch_id, workstream_id, task_id, task, tool_id, gaps and rolls_back), suspects, tried,
    output and rollback_command.
    """
    from prefect_acms.deployments.existing import existing_store
    from prefect_acms.deployments.lookup import find_run
    from prefect_acms.deployments.output import emit_json
    from prefect_acms.tasks.regressions import find_regression

    store = existing_store(database_url)
    found = find_regression(store, find_run(store, run).id, test, timeout_sec=timeout_sec)
    if as_json:
        emit_json(found.model_dump(mode="json"))
    else:
        _show(found)
    return 0 if found.found else 1


def _show(regression: Regression) -> None:
    from prefect_acms.tasks.reports.text import count, printable

    click.echo(f"{count(len(regression.tried), 'commit')} tried with {regression.test}")
    if regression.found is None:
        click.echo("The first bad commit is one of these, of which some can't be tried:")
    for suspect in (regression.found,) if regression.found else regression.suspects:
        _show_suspect(suspect)
    if regression.output:
        click.echo(f"\nWhat the test said there:\n{printable(regression.output)}")
    if regression.rollback_command:
        click.echo(f"\nTo take it back:\n  {regression.rollback_command}")


def _show_suspect(suspect: Suspect) -> None:
    from prefect_acms.tasks.reports.text import printable

    click.echo(f"{suspect.commit[:10]} {printable(suspect.title)}")
    click.echo(f"  {suspect.sentence}")
    for gap in suspect.gaps:
        click.echo(f"  {', '.join(gap.file_paths)}: {gap.rule_id} {printable(gap.title)}")
