"""`acms quarantine`: the patches that were put aside, with their evidence, and what can be done about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prefect_acms.deployments.options import answer_options, database_option, json_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect_acms.tasks.dossiers import QuarantineDossier

HEAD = ("PATCH", "TOOL", "LINES", "FILES", "REASON")


@click.group(invoke_without_command=True)
@click.pass_context
def quarantine(context: click.Context) -> None:
    """List and show quarantined patches, try them again, or drop them."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@quarantine.command("list")
@click.argument("run", default="latest")
@database_option
@json_option
def list_quarantined(run: str, database_url: str | None, *, as_json: bool) -> None:
    """List the quarantined patches of a run.

    RUN is its id, a unique part of it, or `latest`. Each has the keys id, entry_id, run_id, task_id, tool_id, state,
    files, lines_added, lines_removed, sha256, supersedes, superseded_by, review, reason, quarantined_at, violations,
    findings, proof, tree, kept_ref and branch in JSON.
    """
    from prefect_acms.deployments.client import AcmsClient
    from prefect_acms.deployments.output import emit_json, emit_table
    from prefect_acms.tasks.dossiers import BULKY

    found = AcmsClient(database_url).quarantined(run)
    if as_json:
        emit_json([dossier.model_dump(mode="json", exclude=BULKY) for dossier in found])
    else:
        emit_table(HEAD, [_row(dossier) for dossier in found], "No patch of this run is quarantined.")


def _row(dossier: QuarantineDossier) -> tuple[str, ...]:
    lines = f"+{dossier.lines_added} -{dossier.lines_removed}"
    return dossier.id, dossier.tool_id or "-", lines, ", ".join(dossier.files), dossier.reason or ""


@quarantine.command()
@click.argument("patch")
@database_option
@json_option
def show(patch: str, database_url: str | None, *, as_json: bool) -> None:
    """Show why a patch was put aside: the reason, what the gates and the tool have printed, where it is kept, its diff.

    PATCH is the id of the patch or of its ledger entry, or a unique part of it. The JSON has the keys of `list`, and
    gates (id, type, state, judgement, stdout, stderr), transcripts and diff.
    """
    from prefect_acms.deployments.client import AcmsClient
    from prefect_acms.deployments.output import emit_json, show_diff
    from prefect_acms.tasks.reports.text import printable

    dossier = AcmsClient(database_url).evidence(patch)
    if as_json:
        emit_json(dossier.model_dump(mode="json"))
        return
    for line in _told(dossier):
        click.echo(printable(line))
    click.echo()
    show_diff(dossier.diff)


def _told(dossier: QuarantineDossier) -> Iterator[str]:
    yield f"patch {dossier.id} by {dossier.tool_id or 'no tool'}: {dossier.state}"
    yield f"reason: {dossier.reason or 'none, it is not quarantined'}"
    yield from (f"- {violation}" for violation in dossier.violations)
    if dossier.kept_ref:
        yield f"the patched tree: {dossier.kept_ref}"
    if dossier.branch:
        yield f"the branch of its workstream: {dossier.branch}"
    for gate in dossier.gates:
        yield f"\ngate {gate.type} {gate.id}: {gate.state}: {gate.judgement or ''}"
        yield from (text.rstrip() for text in (gate.stdout, gate.stderr) if text.strip())
    for run in dossier.transcripts:
        yield f"\ntool {run['tool']}: exit code {run['exit_code']}"
        yield from (text.rstrip() for text in (run["stdout"], run["stderr"]) if text.strip())


@quarantine.command()
@click.argument("patch")
@answer_options
@database_option
@json_option
def retry(patch: str, operator: str, reason: str, database_url: str | None, *, as_json: bool) -> int:
    """Try a quarantined patch again: a new patch, judged like any other, on the run's branch as it is now.

    The old one is dropped once the new one is kept. The exit code is 1 if it is not kept, or can't be tried at all. The
    JSON has the keys id, entry_id, state, commit and reason.
    """
    from prefect_acms.deployments.answering import answer
    from prefect_acms.tasks.retrials import retry_patch

    return answer(retry_patch, patch, operator=operator, reason=reason, database_url=database_url, as_json=as_json)


@quarantine.command()
@click.argument("patch")
@answer_options
@database_option
@json_option
def drop(patch: str, operator: str, reason: str, database_url: str | None, *, as_json: bool) -> int:
    """Drop a quarantined patch: nobody tries it again, its diff and the evidence against it stay stored.

    The JSON has the keys id, entry_id, state, commit and reason.
    """
    from prefect_acms.deployments.answering import answer
    from prefect_acms.tasks.retrials import drop_quarantined

    return answer(drop_quarantined, patch, operator=operator, reason=reason, database_url=database_url, as_json=as_json)
