"""The options that commands share, and how those of a run become its configuration."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from prefect_acms.canonical.errors import InvalidValue

if TYPE_CHECKING:
    from prefect_acms.blocks.config import PipelineConfig

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

MODES = ("full", "analyze_only", "plan_only", "execute_only")
ISOLATION = ("auto", "required", "off")
CLUSTER_BY = ("category", "proximity")

FILE = click.Path(path_type=Path)


def words(value: str) -> tuple[str, ...]:
    """Split a command the way a shell splits words; no shell ever runs it. An open quote or no word is refused."""
    try:
        found = tuple(shlex.split(value))
    except ValueError as error:
        message = f"{value!r} can't be split into words: {error}"
        raise click.BadParameter(message) from error
    if not found:
        message = "the command is empty"
        raise click.BadParameter(message)
    return found


_DATABASE = click.option(
    "--database-url",
    envvar="ACMS_DATABASE_URL",
    show_envvar=True,
    metavar="URL",
    help="Use this canonical store, a SQLAlchemy URL; without it, canonical.db under $ACMS_HOME is used.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, whose keys are documented and stable.")

_ANSWER = (
    click.option("--operator", required=True, metavar="NAME", help="Who decides; it is kept in the audit trail."),
    click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept in the audit trail."),
)

WAIT_OPTION = click.option(
    "--wait",
    "wait_sec",
    type=click.FloatRange(min=0),
    is_flag=False,
    flag_value=7 * 24 * 3600,
    metavar="[SECONDS]",
    help="Wait until nobody else works in the repository, at most so long; without it, be refused.",
)

_RUN_OPTIONS = (
    click.option("--config", type=FILE, metavar="FILE.toml", help="Read the configuration from a file; options win."),
    click.option("--source", multiple=True, metavar="NAME", help="Ask this gap source; may be repeated."),
    click.option("--report", multiple=True, type=FILE, metavar="FILE", help="Read a gap report; may be repeated."),
    click.option(
        "--sarif",
        multiple=True,
        type=FILE,
        metavar="FILE",
        help="Read a SARIF 2.1.0 file of any tool; may be repeated.",
    ),
    click.option(
        "--only",
        multiple=True,
        metavar="NAME",
        help="Take up only gaps of this source, rule, category or path pattern; may be repeated.",
    ),
    click.option("--max-gaps", type=int, metavar="N", help="Take up at most so many gaps, the most severe first."),
    click.option("--baseline", type=FILE, metavar="FILE", help="Hold back the gaps of this report, they are known."),
    click.option("--remember", is_flag=True, default=None, help="Hold back what earlier runs know of the repository."),
    click.option("--by", type=click.Choice(CLUSTER_BY), help="Put gaps together by category or by proximity of files."),
    click.option("--unsafe-fixes", is_flag=True, default=None, help="Also make the fixes that ruff calls unsafe."),
    WAIT_OPTION,
    click.option("--concurrency", type=int, metavar="N", help="Work on so many tasks at a time."),
    click.option("--allow-dirty", is_flag=True, default=None, help="Start from HEAD though files have changes."),
    click.option("--python", type=FILE, metavar="PATH", help="Run tools and gates with this Python."),
    click.option(
        "--setup",
        multiple=True,
        type=words,
        metavar="COMMAND",
        help="Run this in each new worktree; may be repeated.",
    ),
    click.option("--tool-file", multiple=True, type=FILE, metavar="FILE.toml", help="Load further tool profiles."),
    click.option("--lint", type=words, metavar="COMMAND", help="Judge patches by this lint command."),
    click.option("--unit", type=words, metavar="COMMAND", help="Judge patches by this test command."),
    click.option("--integration", type=words, metavar="COMMAND", help="Judge patches by these integration tests too."),
    click.option("--security", type=words, metavar="COMMAND", help="Judge patches by this security scanner too."),
    click.option("--no-lint", is_flag=True, default=None, help="Judge patches without a LINT gate."),
    click.option("--no-unit", is_flag=True, default=None, help="Judge patches without a UNIT gate."),
    click.option("--no-integration", is_flag=True, default=None, help="Judge patches without an INTEGRATION gate."),
    click.option("--no-security", is_flag=True, default=None, help="Judge patches without a SECURITY gate."),
    click.option(
        "--isolation",
        type=click.Choice(ISOLATION),
        help="Isolate tools and gates where that works (auto), or not at all (off), or run only where it does.",
    ),
    click.option("--publish", is_flag=True, default=None, help="Open a pull request at the end, as settings say."),
    _DATABASE,
)

MODE_OPTION = click.option("--mode", type=click.Choice(MODES), help="Stop early, or start from a stored plan.")

FIELDS: Mapping[str, tuple[str, ...]] = {
    "source": ("discovery", "sources"),
    "report": ("discovery", "reports"),
    "sarif": ("discovery", "sarif"),
    "only": ("discovery", "only"),
    "max_gaps": ("discovery", "max_gaps"),
    "baseline": ("discovery", "baseline"),
    "unsafe_fixes": ("discovery", "unsafe_fixes"),
    "remember": ("discovery", "remember"),
    "by": ("clustering", "by"),
    "concurrency": ("execution", "concurrency"),
    "tool_file": ("execution", "tool_files"),
    "allow_dirty": ("allow_dirty",),
    "wait_sec": ("wait_sec",),
    "python": ("environment", "interpreter"),
    "setup": ("environment", "setup"),
    "lint": ("gates", "lint"),
    "unit": ("gates", "unit"),
    "integration": ("gates", "integration"),
    "security": ("gates", "security"),
    "isolation": ("environment", "isolation"),
    "publish": ("publish", "enabled"),
    "mode": ("mode",),
    "plan": ("plan",),
    "database_url": ("database_url",),
}
"""Where the value of an option goes in the configuration."""

_SWITCHED_OFF = {f"no_{gate}": ("gates", f"{gate}_enabled") for gate in ("lint", "unit", "integration", "security")}


def run_options(command: Decorated) -> Decorated:
    """Give a command every option of a run but its mode."""
    for option in reversed(_RUN_OPTIONS):
        command = option(command)
    return command


def answer_options(command: Decorated) -> Decorated:
    """Add --operator and --reason, which a decision needs."""
    for option in reversed(_ANSWER):
        command = option(command)
    return command


def database_option(command: Decorated) -> Decorated:
    """Give a command the choice of the store."""
    return _DATABASE(command)


def json_option(command: Decorated) -> Decorated:
    """Give a command its output as JSON."""
    return _JSON(command)


def build_config(repository: Path | None, given: Mapping[str, Any]) -> PipelineConfig:
    """The configuration that a file and options amount to; raises InvalidDocument or pydantic's ValidationError."""
    from prefect_acms.blocks.config import Mode, PipelineConfig
    from prefect_acms.deployments.config_file import read_config_file

    values = read_config_file(given["config"]) if given.get("config") else {}
    is_saved = "workspace" in values.get("blocks", {})
    if repository is not None or not ("repository" in values or is_saved):
        values["repository"] = repository or Path()
    for name, path in FIELDS.items():
        if given.get(name) not in (None, ()):
            _put(values, path, given[name])
    for name, path in _SWITCHED_OFF.items():
        if given.get(name):
            _put(values, path, value=False)
    config = PipelineConfig.model_validate(values)
    if config.mode is Mode.EXECUTE_ONLY and config.plan is None:
        raise InvalidValue(field="plan", value=None, expected="a plan file or a run: use `acms execute PLAN_OR_RUN`")
    return _asking_for(config, [source for source in ("report", "sarif") if given.get(source)])


def _put(values: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    *sections, key = path
    for section in sections:
        values = values.setdefault(section, {})
    values[key] = value


def _asking_for(config: PipelineConfig, sources: list[str]) -> PipelineConfig:
    """Who names a report or a SARIF file wants it read: the source of that name is asked too."""
    asked = tuple(dict.fromkeys((*config.discovery.sources, *sources)))
    if asked == config.discovery.sources:
        return config
    return config.model_copy(update={"discovery": config.discovery.model_copy(update={"sources": asked})})
