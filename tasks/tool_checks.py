"""Whether tools are there: each is asked for its version, and nothing else of it is run."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.blocks.tool_spec import ToolSpec
from prefect_acms.canonical.outside_errors import ToolFailed
from prefect_acms.dao.redaction import redact
from prefect_acms.tasks.environment import Environment, environment_for
from prefect_acms.tasks.installations import located
from prefect_acms.tasks.processes import ProcessResult
from prefect_acms.tasks.scratch import scratch_folder

DISTRIBUTION = "prefect-acms"

VERSION_SEC = 30.0

_NUMBER = re.compile(r"\d+\.\d+(?:[\w.+-]*\w)?")
_KEY = re.compile(r"_(KEY|TOKEN)$")


class ToolFacts(BaseModel):
    """A tool and what it can do, as far as can be said without starting it."""

    model_config = ConfigDict(frozen=True)

    tool_id: str = Field(description="its name")
    state: str = Field(description="`good`, `bad`: not installed, or broken; after a check, `warning`: no key is set")
    found: str = Field(description="where its program is; after a check, its version, or what is wrong")
    kind: str = Field(description="`model`, `same` if the same input always gives the same edits, or `other`")
    capabilities: tuple[str, ...] = Field(description="kinds of task and domains that it is made for")
    safety_tier: str = Field(description="how much harm it could do")
    edits: bool = Field(description="whether it edits files")
    network: bool = Field(description="whether it may use the network")
    usage: str | None = Field(description="how it tells tokens and cost: `file`, `printed`, or not at all")
    version: str | None = Field(default=None, description="its version, after a check")
    keys: tuple[str, ...] = Field(default=(), description="names of variables with keys that are set and handed to it")
    description: str = Field(description="what it does")


def facts_of(profile: ToolSpec, environment: Environment) -> ToolFacts:
    """What is known of a tool; its program is looked for, and not started."""
    programs = (_program(profile, environment), *profile.needs)
    paths = [located(program, environment.variables) for program in programs]
    missing = next((program for program, path in zip(programs, paths, strict=True) if path is None), None)
    return ToolFacts(
        tool_id=profile.tool_id,
        state="good" if missing is None else "bad",
        found=f"no program {missing} on PATH" if missing else str(paths[:2][-1]),
        kind="model" if profile.ai else "same" if profile.deterministic else "other",
        capabilities=profile.capabilities,
        safety_tier=profile.safety_tier,
        edits=profile.changes_files,
        network=profile.network,
        usage="printed" if profile.usage else "file" if "usage" in profile.placeholders else None,
        keys=tuple(name for name in _keys(profile) if os.environ.get(name)),
        description=profile.description,
    )


def checked(profile: ToolSpec, environment: Environment) -> ToolFacts:
    """The same, after the tool was asked for its version, in an empty folder and with no key at hand."""
    facts = facts_of(profile, environment)
    if facts.state == "bad":
        return facts
    if _is_ours(profile) and not profile.needs:
        known = version(DISTRIBUTION)
        return facts.model_copy(update={"version": known, "found": f"version {known} of {DISTRIBUTION}"})
    try:
        with scratch_folder() as folder:
            result = environment.run(
                version_argv(profile, environment),
                cwd=folder,
                timeout_sec=VERSION_SEC,
                variables={**profile.settings, **environment.variables},
            )
    except ToolFailed as error:
        return facts.model_copy(update={"state": "bad", "found": str(error)})
    told_version = _NUMBER.search(result.stdout or result.stderr) if result.exit_code == 0 else None
    if problem := _problem(profile, result):
        return facts.model_copy(update={"state": "bad", "found": problem})
    told: dict[str, object] = {"version": told_version.group() if told_version else None}
    told["found"] = f"version {told_version.group()}" if told_version else "it tells no version"
    if _keys(profile) and not facts.keys:
        told |= {"state": "warning", "found": f"{told['found']}; no key is set: {' or '.join(_keys(profile))}"}
    return facts.model_copy(update=told)


def tool_environment(config: PipelineConfig) -> Environment:
    """The environment in which the tools of a run would be looked for."""
    return environment_for(config.path, config.path, config.environment)


def version_argv(profile: ToolSpec, environment: Environment) -> tuple[str, ...]:
    """The command that makes a tool tell its version: its program, and the module or package that it runs."""
    command = profile.command
    if profile.needs:
        return (profile.needs[0], "--version")
    if "-m" in command:
        module = command.index("-m") + 1
        return (_program(profile, environment), *command[1:module], command[module], "--version")
    return (_program(profile, environment), "--version")


def _is_ours(profile: ToolSpec) -> bool:
    return any(argument.startswith("prefect_acms.") for argument in profile.command)


def _program(profile: ToolSpec, environment: Environment) -> str:
    known: Mapping[str, str] = {
        "python": str(environment.interpreter),
        "acms_python": sys.executable,
        "worktree": str(Path.cwd()),
    }
    return profile.command[0].format_map(known)


def _keys(profile: ToolSpec) -> tuple[str, ...]:
    return tuple(name for name in profile.environment if profile.ai and _KEY.search(name))


def _problem(profile: ToolSpec, result: ProcessResult) -> str | None:
    """Why it can't be run; a program that only knows no `--version` can."""
    if result.timed_out:
        return f"it told no version within {VERSION_SEC:.0f} s"
    said = redact((result.stderr or result.stdout).strip()).rpartition("\n")[2]
    if result.exit_code < 0 or "No module named" in said or (result.exit_code and "-m" not in profile.command):
        return f"asked for its version, it ended with {result.exit_code}: {said[-300:]}"
    return None
