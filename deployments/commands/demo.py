"""`acms demo`: the whole thing on a repository that the package makes itself."""

from __future__ import annotations

from pathlib import Path

import click

from prefect_acms.deployments.options import FILE, database_option


@click.command()
@click.option("--into", type=FILE, metavar="DIR", help="Make the repository here; else in a temporary folder.")
@database_option
def demo(into: Path | None, database_url: str | None) -> int:
    """Make a small sample repository and improve it before your eyes.

    The repository is real: ruff finds things in it, one test fails, the others pass, and one of the fixes that ruff
    offers would break a test. Nothing leaves your machine. The exit code is 0 if everything went as it is meant to go.
    """
    from prefect_acms.blocks.config import PipelineConfig
    from prefect_acms.dao.store import open_store
    from prefect_acms.deployments.carrying_out import watch
    from prefect_acms.deployments.demo import disappointments, make_repository, measure, measure_branch, require_room
    from prefect_acms.deployments.output import console
    from prefect_acms.deployments.verdict import show_before_and_after, show_summary
    from prefect_acms.tasks.repository import Repository

    require_room(into)
    open_store(database_url)  # what can't be stored is refused before anything is made
    screen = console()
    folder = make_repository(into)
    screen.print(f"A sample repository is at {folder}; what ruff and pytest say about it:")
    before = measure(folder)
    screen.print(f"  {before.findings} findings; tests: {before.tests} ({', '.join(before.failing)})")
    screen.print(f"Now `acms run {folder}`:")
    repository = Repository.open(folder)
    head = repository.head()
    carried = watch(PipelineConfig(repository=folder, database_url=database_url), screen)
    untouched = repository.head() == head and not repository.dirty_files(untracked=True)
    show_summary(carried.summary, screen)
    branch = carried.summary.run.branch
    after = measure_branch(repository, branch) if branch else None
    show_before_and_after(before, after, screen)
    if untouched:
        screen.print(f"Branch {repository.branch()} and the working tree are as they were.")
    problems = list(disappointments(before, after, carried.summary, untouched=untouched))
    for problem in problems:
        click.echo(f"acms: the demonstration did not go as it is meant to go: {problem}", err=True)
    return 1 if problems else 0
