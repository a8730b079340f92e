"""`acms route explain`: which tools could have worked on a task, which one did, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prefect_acms.deployments.options import database_option, json_option

if TYPE_CHECKING:
    from prefect_acms.dao.tasks import TaskRow
    from prefect_acms.tasks.routing import Decision

HEAD = ("TOOL", "ANSWER", "SCORE", "WHY")

SENTENCES = {
    "fixed": "rule {rule} names it",
    "round_robin": "it was its turn in rule {rule}",
    "metrics": "it has the best score of those that rule {rule} looks at",
    "cascade": "it is the first in the order of rule {rule} that could do it",
    "first": "no rule matches the task, so it is the first that could do it",
}


@click.group()
def route() -> None:
    """Explain which tool works on which task."""


@route.command()
@click.argument("task")
@database_option
@json_option
def explain(task: str, database_url: str | None, *, as_json: bool) -> None:
    """Tell which tool was chosen for a task, among which, and why.

    TASK is its id, a unique part of it, or its key in the latest run that has one of that key, for example
    ws-01-style/implementation. There may be several choices, when a tool did not succeed and another was tried. Each
    has the keys tool_id, rule, strategy, risk, complexity, offered, candidates, scores, tried and left_out in JSON.
    """
    from prefect_acms.deployments.existing import existing_store
    from prefect_acms.deployments.lookup import find_task
    from prefect_acms.deployments.output import emit_records
    from prefect_acms.tasks.choices import decisions_of

    store = existing_store(database_url)
    task_id = find_task(store, task)
    with store.begin(read_only=True) as dao:
        row = dao.tasks.get(task_id)
    decisions = decisions_of(row)
    if as_json:
        emit_records(decisions)
        return
    _tell_task(row)
    for number, decision in enumerate(decisions, start=1):
        _tell(number, decision)


def _tell_task(row: TaskRow) -> None:
    from prefect_acms.tasks.reports.text import printable

    click.echo(printable(f"{row.id} ({row.info.get('key', row.kind)}) is {row.state}, governed by {row.pattern_id}."))
    if not row.info.get("routings"):
        named = f"; its plan names {row.tool_id}" if row.tool_id else ""
        click.echo(printable(f"No tool had to be chosen for it so far{named}."))


def _tell(number: int, decision: Decision) -> None:
    from prefect_acms.deployments.output import emit_table
    from prefect_acms.tasks.reports.text import printable

    why = SENTENCES[decision.strategy].format(rule=decision.rule)
    click.echo(
        printable(f"\n{number}. {decision.tool_id}: {why} (risk {decision.risk}, complexity {decision.complexity}).")
    )
    rows = []
    for tool_id in decision.offered:
        answer = "chosen" if tool_id == decision.tool_id else "left out" if tool_id in decision.left_out else "could"
        given = decision.scores.get(tool_id)
        rows.append((tool_id, answer, "-" if given is None else f"{given:.2f}", decision.left_out.get(tool_id, "")))
    emit_table(HEAD, rows, "")
