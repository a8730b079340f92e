"""`acms rollback`: patches taken back by a plan that is shown first."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from prefect_acms.deployments.options import database_option, json_option

if TYPE_CHECKING:
    from prefect_acms.tasks.rollback_records import PlanRecord, StepRecord

HEAD = ("", "PATCH", "COMMIT", "FILES", "WHY")


@click.command()
@click.argument("target")
@click.option("--reason", metavar="TEXT", help="Why; it is kept in the audit trail and in the commits.")
@click.option("--operator", metavar="NAME", help="Who orders it; it is kept in the audit trail.")
@click.option(
    "--onto",
    metavar="BRANCH",
    help="Start from this branch, into which the run was merged; without it, from the one that the run started from if "
    "what is asked for was merged there, else the reverts go on the run's own branch.",
)
@click.option("--no-dependents", is_flag=True, help="Refuse, with their names, if other patches build on it.")
@click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")
@click.option("--yes", is_flag=True, help="Don't ask on a terminal.")
@database_option
@json_option
def rollback(
    target: str,
    reason: str | None,
    operator: str | None,
    onto: str | None,
    database_url: str | None,
    *,
    no_dependents: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Take committed patches back, with all that builds on them.

    TARGET is a patch, a workstream or a run: its id, a unique part of it, or `latest` for the latest run. The plan is
    shown first: which commits are reverted, the newest first, and why each; which gates judge what is left; what stays.
    Your own branch is never moved: after a merge the reverts are on a new branch acms/rollback/TARGET.

    What can't be rolled back is refused with exit code 1, bad input with 2, and then nothing was changed. The JSON of
    `--dry-run` has the keys target, run_id, branch, onto, steps (each with patch_id, entry_id, commit, files, why and
    revert), gates and left_alone; else these are under `plan`, beside operator, reason and gate_ids.
    """
    from prefect_acms.deployments.existing import existing_store
    from prefect_acms.deployments.lookup import find_target
    from prefect_acms.deployments.output import emit_json
    from prefect_acms.tasks.rollback_plans import plan_rollback
    from prefect_acms.tasks.rollback_records import plan_record
    from prefect_acms.tasks.rollback_records import rollback as carry_out

    if not dry_run and not (reason and operator):
        message = "--reason and --operator are needed, but for --dry-run"
        raise click.UsageError(message)
    store = existing_store(database_url)
    name = find_target(store, target)
    if dry_run:
        plan = plan_record(plan_rollback(store, name, onto=onto, dependents=not no_dependents))
        emit_json(plan.model_dump(mode="json")) if as_json else _show(plan)
        return

    def confirm(plan: PlanRecord) -> None:
        if not as_json:
            _show(plan)
        if sys.stdin.isatty() and not yes:
            click.confirm("Roll that back?", abort=True, err=True)

    done = carry_out(
        store,
        name,
        operator=operator or "",
        reason=reason or "",
        onto=onto,
        dependents=not no_dependents,
        confirm=confirm,
    )
    if as_json:
        emit_json(done.model_dump(mode="json"))
        return
    click.echo(f"\n{done.sentence}.")
    if done.plan.merge_command:
        click.echo(f"To have it in {done.plan.onto}:\n  {done.plan.merge_command}")


def _show(plan: PlanRecord) -> None:
    from prefect_acms.deployments.output import emit_table

    where = f"the new branch {plan.branch}, from {plan.onto}" if plan.onto else f"branch {plan.branch}"
    click.echo(f"Reverts on {where}, in this order:")
    emit_table(HEAD, [_row(number, step) for number, step in enumerate(plan.steps, 1)], "Nothing.")
    click.echo(f"Gates that judge what is left: {', '.join(plan.gates) or 'those of the run'}")
    click.echo(f"Patches of the run that stay: {', '.join(plan.left_alone) or 'none'}")


def _row(number: int, step: StepRecord) -> tuple[str, ...]:
    found = f"; reverted already by {step.revert[:10]}" if step.revert else ""
    return str(number), step.patch_id, step.commit[:10], ", ".join(step.files), step.why + found
