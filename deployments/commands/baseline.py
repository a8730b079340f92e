"""`acms baseline`: the gaps that are known, in a file that runs hold back by `--baseline`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from prefect_acms.deployments.options import FILE, database_option, json_option

KEYS = ("gaps", "severity", "source", "rule_id", "files")


@click.group(invoke_without_command=True)
@click.pass_context
def baseline(context: click.Context) -> None:
    """Write and show the gaps that are known, for runs to hold back."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@baseline.command()
@click.argument("run", default="latest")
@click.option(
    "--file", "path", type=FILE, default=Path("acms-baseline.json"), show_default=True, help="Write to this file."
)
@database_option
def write(run: str, path: Path, database_url: str | None) -> None:
    """Write what a run found, and has not fixed, to a file.

    RUN is its id, a unique part of it, or `latest`. Commit the file, and hand it to runs by --baseline or the setting
    discovery.baseline: they hold its gaps back, wherever lines move and files are renamed to.
    """
    from prefect_acms.canonical.gap import GapState
    from prefect_acms.deployments.existing import existing_store
    from prefect_acms.deployments.lookup import find_run
    from prefect_acms.tasks.documents import report_of, write_document
    from prefect_acms.tasks.gap_rows import gap_of
    from prefect_acms.tasks.gaps import gap_order

    store = existing_store(database_url)
    found = find_run(store, run)
    with store.begin(read_only=True) as dao:
        gaps = [gap_of(row) for row in dao.gaps.of_run(found.id) if row.state != GapState.RESOLVED]
    write_document(report_of(sorted(gaps, key=gap_order), store.clock()), path)
    click.echo(f"{path} holds {len(gaps)} gap(s) of {found.id}; hand it to runs by --baseline {path}")


@baseline.command()
@click.argument("path", type=FILE, default=Path("acms-baseline.json"))
@json_option
def show(path: Path, *, as_json: bool) -> None:
    """Show what a baseline holds, by rule.

    PATH is the file, acms-baseline.json where none is given. Each rule has the keys gaps, severity, source, rule_id
    and files in JSON.
    """
    from prefect_acms.deployments.output import emit_json, emit_table
    from prefect_acms.tasks.documents import read_report
    from prefect_acms.tasks.gaps import severity_order

    files_of: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for gap in sorted(read_report(path), key=lambda gap: (severity_order(gap.severity), gap.source, gap.rule_id)):
        files_of.setdefault((gap.severity.value, gap.source, gap.rule_id), []).append(gap.file_paths)
    if as_json:
        emit_json([dict(zip(KEYS, _row(kind, files), strict=True)) for kind, files in files_of.items()])
    else:
        rows = [tuple(map(str, _row(kind, files))) for kind, files in files_of.items()]
        emit_table(tuple(key.upper() for key in KEYS), rows, "It holds no gap.")


def _row(kind: tuple[str, ...], files: Sequence[tuple[str, ...]]) -> tuple[int | str, ...]:
    return len(files), *kind, len({path for paths in files for path in paths})
