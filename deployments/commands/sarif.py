"""`acms sarif`: what a run knows as SARIF, and what a SARIF file would bring."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prefect_acms.deployments.options import FILE, database_option, json_option

if TYPE_CHECKING:
    from prefect_acms.tasks.sarif.checking import Log


@click.group(invoke_without_command=True)
@click.pass_context
def sarif(context: click.Context) -> None:
    """Export the gaps of a run as SARIF 2.1.0, and check SARIF files."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@sarif.command()
@click.argument("run")
@click.option("--output", type=FILE, metavar="FILE", help="Write to this file instead of the standard output.")
@click.option(
    "--remaining", is_flag=True, help="Leave out what is resolved, as code scanning of the result branch wants it."
)
@database_option
def export(run: str, output: Path | None, database_url: str | None, *, remaining: bool) -> None:
    """Export the gaps of a run, each with its fate and its fix; what came from SARIF files is in it whole.

    RUN is its id, a unique part of it, or `latest`. Without --remaining it is the run's report.sarif.
    """
    from prefect_acms.deployments.existing import existing_store
    from prefect_acms.deployments.lookup import find_run
    from prefect_acms.deployments.output import emit_file
    from prefect_acms.tasks.run_files import repository_at
    from prefect_acms.tasks.sarif.writing import sarif_text
    from prefect_acms.tasks.summary import build_summary

    store = existing_store(database_url)
    found = find_run(store, run)
    content = sarif_text(build_summary(store, found.id, repository_at(found.repo_root)), remaining=remaining).encode()
    emit_file(content, output)


@sarif.command()
@click.argument("files", type=FILE, nargs=-1, required=True)
@click.option(
    "--repository", type=FILE, default=".", metavar="PATH", help="Look for the files here; without it, where you are."
)
@json_option
def check(files: tuple[Path, ...], repository: Path, *, as_json: bool) -> None:
    """Check that files are SARIF 2.1.0, and tell what a run would make of them in this repository.

    A file that is not SARIF is refused with the JSON pointer of the place. The JSON has an entry a run of a tool, with
    the keys file, tool, version, results, open, in_repository and with_fix.
    """
    from prefect_acms.deployments.output import emit_json, emit_table
    from prefect_acms.tasks.sarif.checking import read_log

    told = [row for path in files for row in _rows(path, read_log(path), repository)]
    if as_json:
        emit_json(told)
    else:
        head = tuple(name.upper().replace("_", " ") for name in _KEYS)
        emit_table(head, [tuple(map(str, row.values())) for row in told], "There is no run in it.")


_KEYS = ("file", "tool", "version", "results", "open", "in_repository", "with_fix")


def _rows(path: Path, log: Log, repository: Path) -> list[dict[str, Any]]:
    from prefect_acms.tasks.sarif.places import Tree
    from prefect_acms.tasks.sarif.reading import findings_of
    from prefect_acms.tasks.sources.sarif import translated

    gaps = translated(log, repository, ())
    run_of = {finding.at: finding.at.split("/")[2] for finding in findings_of(log, repository)}
    results, found = Counter(run_of.values()), Counter(run_of[at] for at in gaps)
    tree = Tree(repository)
    here = Counter(run_of[at] for at, gap in gaps.items() if any(map(tree.holds, gap.file_paths)))
    fixes = Counter(run_of[at] for at, gap in gaps.items() if gap.fixable)
    rows = []
    for number, run in enumerate(log["runs"] or ()):
        driver, key = run["tool"]["driver"], str(number)
        version = driver.get("semanticVersion") or driver.get("version") or ""
        values = (str(path), driver["name"], version, results[key], found[key], here[key], fixes[key])
        rows.append(dict(zip(_KEYS, values, strict=True)))
    return rows
