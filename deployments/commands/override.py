"""`acms override`: what an operator does by hand, with a name and a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prefect_acms.canonical.overrides import Override
from prefect_acms.deployments.options import database_option, json_option

if TYPE_CHECKING:
    from prefect_acms.dao.store import Store
    from prefect_acms.tasks.overrides import Change


@click.command()
@click.argument("action", type=click.Choice([override.value for override in Override]), metavar="ACTION")
@click.argument("entity_id", metavar="ID")
@click.option("--operator", required=True, metavar="NAME", help="Who orders it; it is kept in the audit trail.")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept in the audit trail.")
@database_option
@json_option
def override(
    action: str, entity_id: str, operator: str, reason: str, database_url: str | None, *, as_json: bool
) -> None:
    """Change a state by hand, along the same edges and past the same guards as always.

    ACTION is complete-task, fail-task, reset-task, unblock-task, skip-workstream, fail-workstream, validate-workstream,
    rollback-patch, drop-patch, reset-breaker or quarantine-run. ID is the entity's id or a unique part of it; for a
    breaker it is the tool's name, for a run it may be `latest`.

    What is not legal is refused with exit code 1, bad input with 2, and then nothing was changed. While a living
    process drives the run, only quarantine-run, reset-breaker, and drop-patch of a quarantined patch are possible. The
    JSON has the keys action, entity_type, entity_id, run_id, operator, reason and changes (each with entity_type,
    entity_id, from_state and to_state).
    """
    from prefect_acms.deployments.existing import existing_store
    from prefect_acms.deployments.output import emit_json
    from prefect_acms.tasks.overrides import override as carry_out

    store = existing_store(database_url)
    done = carry_out(store, action, _whole_id(store, Override(action), entity_id), operator=operator, reason=reason)
    if as_json:
        emit_json(done.model_dump(mode="json"))
        return
    for change in done.changes:
        click.echo(_line(change))


def _whole_id(store: Store, action: Override, text: str) -> str:
    from prefect_acms.deployments.lookup import find_patch, find_run, find_task, find_workstream

    match action.value.rpartition("-")[2]:
        case "run":
            return find_run(store, text).id
        case "task":
            return find_task(store, text)
        case "workstream":
            return find_workstream(store, text)
        case "patch":
            return find_patch(store, text).id
        case _:
            return text


def _line(change: Change) -> str:
    before = f"{change.from_state} -> " if change.from_state else "new, "
    return f"{change.entity_type} {change.entity_id}: {before}{change.to_state}"
