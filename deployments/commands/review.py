"""`acms review`: the patches that wait for a person, and the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prefect_acms.deployments.options import answer_options, database_option, json_option

if TYPE_CHECKING:
    from prefect_acms.tasks.dossiers import Dossier
    from prefect_acms.tasks.reviews import Review

HEAD = ("PATCH", "TOOL", "LINES", "EXPIRES", "FILES", "REASONS")


@click.group(invoke_without_command=True)
@click.pass_context
def review(context: click.Context) -> None:
    """List, show and answer the patches that wait for a review."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@review.command("list")
@click.argument("run", required=False)
@database_option
@json_option
def list_waiting(run: str | None, database_url: str | None, *, as_json: bool) -> None:
    """List the patches that wait for a review.

    RUN is its id, a unique part of it, or `latest`; without it those of every run are listed. Each has the keys id,
    entry_id, run_id, task_id, tool_id, state, files, lines_added, lines_removed, sha256, supersedes, superseded_by and
    review (reasons, findings, gates, requested_at, expires_at, sha256, base, tree, decision, operator, reason,
    decided_at) in JSON.
    """
    from prefect_acms.deployments.client import AcmsClient
    from prefect_acms.deployments.existing import existing_store
    from prefect_acms.deployments.output import emit_json, emit_table
    from prefect_acms.tasks.dossiers import BULKY
    from prefect_acms.tasks.suspension import expire_and_wake

    store = existing_store(database_url)
    expire_and_wake(store)
    found = AcmsClient(store=store).waiting(run)
    if as_json:
        emit_json([dossier.model_dump(mode="json", exclude=BULKY) for dossier in found])
    else:
        emit_table(HEAD, [_row(dossier) for dossier in found], "No patch waits for a review.")


def _row(dossier: Dossier) -> tuple[str, ...]:
    lines = f"+{dossier.lines_added} -{dossier.lines_removed}"
    asked = dossier.review
    expires, reasons = (asked.expires_at[:16], "; ".join(asked.reasons)) if asked else ("", "")
    return dossier.id, dossier.tool_id or "-", lines, expires, ", ".join(dossier.files), reasons


@review.command()
@click.argument("patch")
@database_option
@json_option
def show(patch: str, database_url: str | None, *, as_json: bool) -> None:
    """Show why a patch waits, which gates can judge it, and its diff.

    PATCH is the id of the patch or of its ledger entry, or a unique part of it. The JSON has the keys of `list`, and
    diff.
    """
    from prefect_acms.deployments.client import AcmsClient
    from prefect_acms.deployments.existing import existing_store
    from prefect_acms.deployments.output import emit_json, show_diff
    from prefect_acms.tasks.suspension import expire_and_wake

    store = existing_store(database_url)
    expire_and_wake(store)
    dossier = AcmsClient(store=store).patch(patch)
    if as_json:
        emit_json(dossier.model_dump(mode="json"))
        return
    click.echo(f"patch {dossier.id} by {dossier.tool_id or 'no tool'}: {dossier.state}")
    for line in _told(dossier.review):
        click.echo(line)
    click.echo()
    show_diff(dossier.diff)


def _told(review: Review | None) -> list[str]:
    from prefect_acms.tasks.reports.text import printable

    if review is None:
        return ["it was never asked about"]
    lines = [f"- {printable(reason)}" for reason in review.reasons]
    lines.append(f"gates that can judge it: {', '.join(review.gates) or 'none'}")
    if review.decision is None:
        return [*lines, f"asked at {review.requested_at}, expires at {review.expires_at}"]
    said = f"{review.decision} by {review.operator or 'nobody'} at {review.decided_at}: {review.reason}"
    return [*lines, printable(said)]


@review.command()
@click.argument("patch")
@answer_options
@database_option
@json_option
def approve(patch: str, operator: str, reason: str, database_url: str | None, *, as_json: bool) -> int:
    """Approve a patch: exactly this diff on exactly this base.

    The run that waits for it goes on, also one that is suspended. If the run has ended, the patch is judged and
    committed here; if the run's branch has moved on since, the approval is refused with exit code 1, and a new patch
    waits in its place. The exit code is 1 as well if the gates object. The JSON has the keys id, entry_id, state,
    commit and reason.
    """
    from prefect_acms.deployments import answering

    return answering.answer(
        answering.approve, patch, operator=operator, reason=reason, database_url=database_url, as_json=as_json
    )


@review.command()
@click.argument("patch")
@answer_options
@database_option
@json_option
def reject(patch: str, operator: str, reason: str, database_url: str | None, *, as_json: bool) -> int:
    """Reject a patch: it is dropped, and the task that waits for it goes on without it.

    The JSON has the keys id, entry_id, state, commit and reason.
    """
    from prefect_acms.deployments import answering

    return answering.answer(
        answering.reject, patch, operator=operator, reason=reason, database_url=database_url, as_json=as_json
    )
