"""`acms stuck` and `acms sweep`: what goes on no more, and what became of who is silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from prefect_acms.deployments.options import database_option, json_option

if TYPE_CHECKING:
    from prefect_acms.blocks.config import HealthSettings
    from prefect_acms.tasks.stuck import Stuck

HEAD = ("KIND", "ID", "STATE", "FOR", "PROBLEM", "WHAT TO DO")

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def _age(name: str, what: str) -> Callable[[Decorated], Decorated]:
    """An option for one of the ages of HealthSettings."""
    kind = click.FloatRange(min=0, min_open=True)
    return click.option(f"--{name}", type=kind, metavar="SECONDS", help=f"{what}; else as each run was configured.")


_UNRESPONSIVE = _age("unresponsive-after-sec", "Call a worker unresponsive after so long without a heartbeat")


@click.command()
@_age("workstream-idle-sec", "Call a workstream stuck of which nothing has moved for so long")
@_age("task-overdue-sec", "Call a task stuck that has run so long beyond its timeout")
@_UNRESPONSIVE
@database_option
@json_option
def stuck(database_url: str | None, *, as_json: bool, **ages: float | None) -> int:
    """List what goes on no more by itself, with the commands that help.

    That are runs that nobody drives, workstreams of which nothing moves, tasks far beyond their timeout, and workers
    without a heartbeat. The exit code is 0 if nothing is stuck, 1 if something is. Each item has the keys kind, id,
    state, run_id, since, age_sec, limit_sec, problem and remedies in JSON.
    """
    from prefect_acms.deployments.existing import found_store
    from prefect_acms.deployments.output import emit_records, emit_table
    from prefect_acms.tasks.stuck import find_stuck

    store = found_store(database_url)
    found = find_stuck(store, _settings(ages)) if store is not None else []
    if as_json:
        emit_records(found)
    else:
        emit_table(HEAD, [_row(item) for item in found], "Nothing is stuck.")
    return 1 if found else 0


@click.command()
@_UNRESPONSIVE
@_age("lost-after-sec", "Give a worker up after so long without a heartbeat")
@database_option
@json_option
def sweep(database_url: str | None, *, as_json: bool, **ages: float | None) -> None:
    """Move silent workers to where their silence puts them, and end their claims.

    A task of a silent worker is tried again within its limits when its run is resumed. What a living process drives is
    left alone. Reviews that nobody has answered in time are dropped. The JSON has the keys unresponsive, recovered,
    shut_down, retrying, failed, terminated, expired and left.
    """
    from prefect_acms.deployments.existing import found_store
    from prefect_acms.deployments.output import emit_json
    from prefect_acms.tasks.sweeping import sweep as sweep_store
    from prefect_acms.tasks.swept import Swept

    store = found_store(database_url)
    swept = sweep_store(store, _settings(ages)) if store is not None else Swept()
    if as_json:
        emit_json(swept.model_dump(mode="json"))
    else:
        click.echo(f"{swept.sentence[0].upper()}{swept.sentence[1:]}.")


def _settings(ages: dict[str, float | None]) -> HealthSettings:
    from prefect_acms.blocks.config import HealthSettings

    return HealthSettings().model_copy(update={name: age for name, age in ages.items() if age is not None})


def _row(item: Stuck) -> tuple[str, ...]:
    from prefect_acms.tasks.reports.text import seconds

    return item.kind, item.id, item.state, seconds(item.age_sec), item.problem, " | ".join(item.remedies)
