"""`acms run`, `analyze`, `plan` and `execute`: the pipeline, in its four modes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from prefect_acms.deployments.options import FILE, MODE_OPTION, build_config, json_option, run_options

PATH = click.argument("path", required=False, type=FILE)


@click.command()
@PATH
@MODE_OPTION
@run_options
@json_option
def run(path: Path | None, *, as_json: bool, **given: Any) -> int:
    """Improve a git repository and leave the result on a branch of its own.

    PATH is the repository; without it, the current folder is meant. Your own branch, index and working tree stay as
    they are; the result is branch acms/RUN, and the report is in .acms_runs/RUN/ of the repository.

    The exit code is 0 if every gap that was taken up is fixed or none was found, 1 if some gap or task failed,
    2 for bad input, 3 if the run was quarantined, 130 if it was cancelled.
    """
    return _carry_out(path, given, as_json=as_json)


@click.command()
@PATH
@run_options
@json_option
def analyze(path: Path | None, *, as_json: bool, **given: Any) -> int:
    """Find the gaps of a git repository and change nothing.

    PATH is the repository; without it, the current folder is meant. The exit code is 0 if the run succeeded.
    """
    return _carry_out(path, {**given, "mode": "analyze_only"}, as_json=as_json)


@click.command()
@PATH
@run_options
@json_option
def plan(path: Path | None, *, as_json: bool, **given: Any) -> int:
    """Find gaps and compile the plan that would fix them.

    PATH is the repository; without it, the current folder is meant. The plan is .acms_runs/RUN/plan.json of the
    repository: read it, edit it, and hand it to `acms execute`. The exit code is 0 if the run succeeded.
    """
    return _carry_out(path, {**given, "mode": "plan_only"}, as_json=as_json)


@click.command()
@click.argument("plan_or_run")
@click.option("--repository", type=FILE, metavar="PATH", help="Work on this repository; else on the plan's own.")
@run_options
@json_option
def execute(plan_or_run: str, repository: Path | None, *, as_json: bool, **given: Any) -> int:
    """Execute a plan file, or the stored plan of an earlier run.

    PLAN_OR_RUN is the path of a plan.json, or a run: its id, a unique part of it, or `latest`. A plan file is meant
    for the repository of the current folder, a run's plan for the repository of that run.
    """
    if not Path(plan_or_run).is_file():
        stored = _stored(plan_or_run, given["database_url"])
        plan_or_run, repository = stored[0], repository or stored[1]
    else:
        plan_or_run = str(Path(plan_or_run).absolute())
    return _carry_out(repository, {**given, "mode": "execute_only", "plan": plan_or_run}, as_json=as_json)


def _stored(text: str, database_url: str | None) -> tuple[str, Path]:
    from prefect_acms.deployments.existing import existing_store
    from prefect_acms.deployments.lookup import find_run

    row = find_run(existing_store(database_url), text)
    return row.id, Path(row.repo_root)


def _carry_out(path: Path | None, given: dict[str, Any], *, as_json: bool) -> int:
    config = build_config(path, given)

    from prefect_acms.deployments.carrying_out import carry_out

    return carry_out(config, as_json=as_json)
