"""`acms tools`: which tools there are, whether they are installed, and what they can do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prefect_acms.deployments.options import FILE, build_config, json_option

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prefect_acms.tasks.tool_checks import ToolFacts

LISTED = ("STATE", "TOOL", "KIND", "FOR", "TIER", "TELLS USAGE", "DESCRIPTION")
CHECKED = ("STATE", "TOOL", "FOUND")

_CONFIG = click.option("--config", type=FILE, metavar="FILE.toml", help="Also the tools of this configuration.")
_FILES = click.option("--tool-file", multiple=True, type=FILE, metavar="FILE.toml", help="Load further tool profiles.")


@click.group(invoke_without_command=True)
@click.pass_context
def tools(context: click.Context) -> None:
    """List the tools that may work on gaps, and check whether they are installed."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@tools.command("list")
@_CONFIG
@_FILES
@json_option
def list_command(config: Path | None, tool_file: tuple[Path, ...], *, as_json: bool) -> None:
    """List every tool: whether its program is there, and what it can do.

    Nothing is started. Each has the keys tool_id, state, found, kind, capabilities, safety_tier, edits, network, usage,
    version, keys and description in JSON.
    """
    from prefect_acms.deployments.output import emit_records, emit_table
    from prefect_acms.tasks.profiles import toolbox_of
    from prefect_acms.tasks.tool_checks import facts_of, tool_environment

    settings = build_config(None, {"config": config, "tool_file": tool_file})
    environment = tool_environment(settings)
    found = [facts_of(profile, environment) for profile in toolbox_of(settings.execution)]
    if as_json:
        emit_records(found)
    else:
        emit_table(LISTED, [_listed(one) for one in found], "There is no tool.")


@tools.command()
@click.argument("tool", nargs=-1)
@_CONFIG
@_FILES
@json_option
def check(tool: tuple[str, ...], *, as_json: bool, **given: Any) -> int:
    """Ask tools for their versions, all of them or those that are named.

    An agent of which no key is set is a warning. The exit code is 1 if a tool that is named here, or in `ai.tools` of
    the configuration, is not there. The keys are those of `acms tools list` in JSON.
    """
    from prefect_acms.deployments.output import emit_records, emit_table
    from prefect_acms.tasks.profiles import toolbox_of
    from prefect_acms.tasks.tool_checks import checked, tool_environment

    settings = build_config(None, given)
    toolbox = toolbox_of(settings.execution)
    needed = {*tool, *settings.ai.tools}
    wanted = [toolbox.get(name) for name in dict.fromkeys(tool)] or list(toolbox)
    environment = tool_environment(settings)
    found = [checked(profile, environment) for profile in wanted]
    if as_json:
        emit_records(found)
    else:
        emit_table(CHECKED, [(one.state, one.tool_id, one.found) for one in found], "There is no tool.")
    return 1 if _missing(found, needed) else 0


def _missing(found: Iterable[ToolFacts], needed: set[str]) -> bool:
    return any(one.state == "bad" and one.tool_id in needed for one in found)


def _listed(one: ToolFacts) -> tuple[str, ...]:
    return (
        one.state,
        one.tool_id,
        one.kind,
        ", ".join(one.capabilities),
        one.safety_tier,
        one.usage or "-",
        one.description,
    )
