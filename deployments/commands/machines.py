"""`acms machines`: the lifecycles, from the tables themselves."""

from __future__ import annotations

from typing import Any

import click

from prefect_acms.canonical.errors import UnknownName
from prefect_acms.canonical.machine import Edge, Machine
from prefect_acms.canonical.machines import MACHINES, VERSION
from prefect_acms.deployments.options import json_option

FORMATS = ("table", "mermaid", "json")
HEAD = ("FROM", "TO", "TRIGGERS", "SEVERITY", "GUARD", "SETS", "OPERATOR")


@click.command()
@click.argument("name", required=False)
@click.option("--format", "shape", type=click.Choice(FORMATS), default="table", show_default=True, help="Choose how.")
@json_option
def machines(name: str | None, shape: str, *, as_json: bool) -> None:
    """Show the lifecycles that every state change must obey.

    NAME is run, workstream, task, worker, uet_worker, patch_ledger, test_gate, circuit_breaker or gap; without it all
    are shown. The JSON has the keys version and machines, and for each machine entity, initial, states, terminal and
    edges.
    """
    if name is not None and name not in MACHINES:
        raise UnknownName(kind="machine", name=name, known=list(MACHINES))
    chosen = [MACHINES[name]] if name else list(MACHINES.values())
    if as_json or shape == "json":
        _print_json(chosen)
    elif shape == "mermaid":
        click.echo("\n".join(machine.mermaid() for machine in chosen), nl=False)
    else:
        _print_tables(chosen)


def _print_json(chosen: list[Machine]) -> None:
    from prefect_acms.deployments.output import emit_json

    emit_json({"version": VERSION, "machines": [as_dict(machine) for machine in chosen]})


def as_dict(machine: Machine) -> dict[str, Any]:
    """A machine as plain values."""
    return {
        "entity": machine.entity,
        "initial": str(machine.initial),
        "states": [str(state) for state in machine.states],
        "terminal": [str(state) for state in machine.states if state in machine.terminal],
        "edges": [_edge(str(state), edge) for state, edges in machine.table.items() for edge in edges],
    }


def _edge(source: str, edge: Edge) -> dict[str, Any]:
    return {
        "from": source,
        "to": str(edge.target),
        "triggers": [str(trigger) for trigger in edge.triggers],
        "severity": str(edge.severity),
        "guard": edge.guard.sentence if edge.guard else None,
        "sets": {column: str(fill) for column, fill in edge.sets.items()},
        "operator": [str(trigger) for trigger in edge.operator],
    }


def _print_tables(chosen: list[Machine]) -> None:
    from prefect_acms.deployments.output import emit_table

    for position, machine in enumerate(chosen):
        if len(chosen) > 1:
            click.echo(f"{'' if position == 0 else chr(10)}{machine.entity}")
        emit_table(HEAD, [table_row(edge) for edge in as_dict(machine)["edges"]], "It has no edge.")


def table_row(edge: dict[str, Any]) -> tuple[str, ...]:
    """An edge as the cells of a table."""
    return (
        edge["from"],
        edge["to"],
        ", ".join(edge["triggers"]),
        edge["severity"],
        edge["guard"] or "",
        ", ".join(edge["sets"]),
        "by an operator: " + ", ".join(edge["operator"]) if edge["operator"] else "",
    )
