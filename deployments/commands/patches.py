"""`acms patches` and `acms diff`: what tools made, and what became of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from prefect_acms.deployments.options import database_option, json_option

if TYPE_CHECKING:
    from prefect_acms.tasks.summary_model import PatchRecord

HEAD = ("PATCH", "STATE", "LINES", "COMMIT", "FILES", "REASON")


@click.command()
@click.argument("run")
@click.option("--state", metavar="STATE", help="List only patches in this state, for example quarantined.")
@database_option
@json_option
def patches(run: str, state: str | None, database_url: str | None, *, as_json: bool) -> None:
    """List the patches of a run and what became of them.

    RUN is its id, a unique part of it, or `latest`. Each patch has the keys id, entry_id, task_id, workstream_id,
    state, on_branch, commit, files, lines_added, lines_removed, sha256, reason, supersedes, gates, resolves and proof
    in JSON; a proof has before, after, gone, new, command, versions, tree, files and problem.
    """
    from prefect_acms.deployments.client import AcmsClient
    from prefect_acms.deployments.output import emit_records, emit_table

    found = AcmsClient(database_url).patches(run, state=state)
    if as_json:
        emit_records(found)
    else:
        emit_table(HEAD, [_row(patch) for patch in found], "There is no such patch.")


def _row(patch: PatchRecord) -> tuple[str, ...]:
    lines = f"+{patch.lines_added} -{patch.lines_removed}"
    commit = patch.commit[:10] if patch.commit else "-"
    return patch.id, patch.state, lines, commit, ", ".join(patch.files), patch.reason or ""


@click.command()
@click.argument("patch")
@database_option
def diff(patch: str, database_url: str | None) -> None:
    """Print the diff of a patch.

    PATCH is the id of the patch or of its ledger entry, or a unique part of it. What is piped is byte for byte what
    was stored, so `acms diff PATCH | git apply` works.
    """
    from prefect_acms.deployments.client import AcmsClient
    from prefect_acms.deployments.output import show_diff

    content = AcmsClient(database_url).diff(patch)
    if sys.stdout.isatty():
        show_diff(content.decode("utf-8", errors="replace"))
    else:
        sys.stdout.buffer.write(content)
