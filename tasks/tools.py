"""Running a tool: its profile and the values of a task become an argument list, and a process in the worktree."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prefect_acms.blocks.tool_spec import REQUEST_PLACEHOLDERS, ToolSpec
from prefect_acms.canonical.errors import GuardrailViolation, InvalidValue
from prefect_acms.canonical.outside_errors import ToolFailed, ToolUnavailable
from prefect_acms.dao.redaction import ending
from prefect_acms.tasks.ai.handover import withheld_from
from prefect_acms.tasks.environment import Environment
from prefect_acms.tasks.guardrails import escape
from prefect_acms.tasks.installations import installation_of, located
from prefect_acms.tasks.processes import OnOutput, ProcessResult
from prefect_acms.tasks.profiles import variables_of
from prefect_acms.tasks.tool_requests import RequestFiles, ToolRequest, request_files
from prefect_acms.tasks.withholding import withheld

_RULE = re.compile(r"[A-Za-z0-9][\w./:-]*")
_PLAIN_START = re.compile(r"[\w./]")

_REQUESTS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""Signals by which somebody ends a program; what dies of another one has crashed."""


@dataclass(frozen=True, slots=True)
class ToolValues:
    """What the placeholders of a command stand for in one task; paths are relative to the worktree."""

    files: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    task: str = ""
    ruff_options: tuple[str, ...] = ()
    request: ToolRequest | None = None


def run_tool(
    profile: ToolSpec,
    *,
    worktree: Path,
    environment: Environment,
    values: ToolValues,
    timeout_sec: float | None = None,
    on_output: OnOutput | None = None,
    on_start: Callable[[int], None] | None = None,
    usage_file: Path | None = None,
) -> ProcessResult:
    """Run a tool in a worktree, for at most the shorter of the two timeouts; how it ended is for the caller to judge.

    What it has used up it may write to `usage_file`, in a folder that has nothing else in it. Raises ToolUnavailable
    when its program, its Python module or the isolation that it needs is missing, GuardrailViolation for a path that
    leaves the worktree, InvalidValue when a tool that edits files is not told which, or one that takes a task in words
    gets none.
    """
    if profile.isolated and environment.isolation is None:
        raise ToolUnavailable(tool=profile.tool_id, problem="it is run in isolation only, and there is none here")
    _check_places(profile, worktree, values)
    with _asked(profile, values, usage_file) as files, withheld(worktree, withheld_from(profile, worktree)):
        argv = tool_argv(profile, worktree=worktree, environment=environment, values=values, files=files)
        variables = _variables(profile, environment, files)
        if missing := next((name for name in profile.needs if located(name, variables) is None), None):
            raise ToolUnavailable(tool=profile.tool_id, problem=f"there is no program {missing} on PATH")
        folders = (folder for name in (argv[0], *profile.needs) for folder in installation_of(name, variables))
        result = environment.run(
            argv,
            cwd=worktree / profile.working_directory,
            variables=variables,
            timeout_sec=min(profile.timeout_sec, timeout_sec or profile.timeout_sec),
            readable=(*folders, *(() if files is None else (files.request.parent,))),
            writable=() if files is None else (files.usage.parent,),
            network=profile.network,
            on_output=on_output,
            on_start=on_start,
        )
    if missing := _missing_module(result):
        raise ToolUnavailable(tool=profile.tool_id, problem=f"{result.argv[0]} has no module {missing}")
    return result


def tool_argv(
    profile: ToolSpec,
    *,
    worktree: Path,
    environment: Environment,
    values: ToolValues,
    files: RequestFiles | None = None,
) -> tuple[str, ...]:
    """The argument list of a tool for these values; no value can become an option or a file of arguments.

    Raises InvalidValue when the tool takes a task in words and there are no `files` that hold it.
    """
    _check_values(profile, values)
    lists = {
        "files": [_path(path, profile) for path in values.files],
        "tests": [_path(test, profile) for test in values.tests],
        "ruff_options": list(values.ruff_options),
    }
    singles = {
        "python": str(environment.interpreter),
        "acms_python": sys.executable,
        "rules": ",".join(values.rules),
        "task": values.task,
        "worktree": str(worktree),
        **_request_values(profile, values.request, files),
    }
    argv: list[str] = []
    for argument in profile.command:
        name = argument[1:-1]
        if "{model}" in argument and "model" not in singles:
            continue
        argv += lists[name] if argument == f"{{{name}}}" and name in lists else [argument.format_map(singles)]
    return tuple(argv)


def fault_of(profile: ToolSpec, result: ProcessResult) -> str | None:
    """Why a tool did not do its work, or None; an expected exit code is work done, whatever it found."""
    if result.timed_out:
        return f"it was killed after {result.duration_sec:.0f} s"
    if result.exit_code < 0:
        return f"it died of {_signal_name(-result.exit_code)}"
    if result.exit_code not in profile.expected_exit_codes:
        return f"it ended with exit code {result.exit_code}, expected one of {list(profile.expected_exit_codes)}"
    return None


def require_work(profile: ToolSpec, result: ProcessResult) -> ProcessResult:
    """Hand the result on if the tool did its work; raises ToolFailed, with the end of what it said."""
    if problem := fault_of(profile, result):
        said = ending(result.stderr.strip() or result.stdout.strip(), 2000)
        raise ToolFailed(tool=profile.tool_id, problem=f"{problem}: {said}" if said else problem)
    return result


def is_infrastructure_fault(result: ProcessResult) -> bool:
    """Whether a result speaks against the tool itself: it hung or crashed; exit codes are about the repository."""
    return result.timed_out or (result.exit_code < 0 and -result.exit_code not in _REQUESTS)


class ToolSlots:
    """Keeps each tool at its `max_parallel` within this process; the others wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[str, threading.BoundedSemaphore] = {}

    @contextmanager
    def taken(self, profile: ToolSpec) -> Iterator[None]:
        """Hold one slot of the tool for a block of work."""
        with self._lock:
            slots = self._slots.setdefault(profile.tool_id, threading.BoundedSemaphore(profile.max_parallel))
        with slots:
            yield


@contextmanager
def _asked(profile: ToolSpec, values: ToolValues, usage_file: Path | None) -> Iterator[RequestFiles | None]:
    """The files of the request, where the tool takes any."""
    if values.request is None or not profile.placeholders & REQUEST_PLACEHOLDERS:
        yield None
        return
    with request_files(values.request, usage_file) as files:
        yield files


def _request_values(profile: ToolSpec, request: ToolRequest | None, files: RequestFiles | None) -> Mapping[str, str]:
    named = {} if request is None or request.model is None else {"model": request.model}
    wanted = profile.placeholders & REQUEST_PLACEHOLDERS
    if not wanted:
        return named
    if request is None or files is None:
        raise InvalidValue(
            field="request", value=None, expected=f"a task in words for {profile.tool_id}, which takes one"
        )
    paths = {"request": str(files.request), "prompt_file": str(files.prompt), "usage": str(files.usage)}
    text = {"prompt": files.prompt.read_text(encoding="utf-8")} if "prompt" in wanted else {}
    return {**named, **paths, **text}


def _check_values(profile: ToolSpec, values: ToolValues) -> None:
    for name in ("files", "rules"):
        if profile.changes_files and name in profile.placeholders and not getattr(values, name):
            raise InvalidValue(field=name, value=[], expected=f"at least one for {profile.tool_id}, which edits files")
    if values.task.startswith("-"):
        raise GuardrailViolation(rule="task", problem=f"{values.task!r} could be read as an option")
    for rule in values.rules:
        if not _RULE.fullmatch(rule):
            raise GuardrailViolation(rule="rules", problem=f"{rule!r} can't be the name of a rule")
    for path in (*values.files, *(test.partition("::")[0] for test in values.tests)):
        if problem := escape(path):
            raise GuardrailViolation(rule="path", problem=f"{path!r} {problem}")


def _check_places(profile: ToolSpec, worktree: Path, values: ToolValues) -> None:
    """Refuse what a symbolic link of the repository leads out of the worktree: the tool would follow it."""
    top = worktree.resolve()
    for path in (profile.working_directory, *values.files):
        if not (worktree / path).resolve().is_relative_to(top):
            raise GuardrailViolation(rule="path", problem=f"{path!r} leads out of the worktree")


def _path(path: str, profile: ToolSpec) -> str:
    """The path as an argument, seen from the working directory, that is no option and no @file."""
    file, separator, test = path.partition("::")
    seen = os.path.relpath(file, profile.working_directory) if profile.working_directory != "." else file
    safe = seen if _PLAIN_START.match(seen) else f"./{seen}"
    return f"{safe}{separator}{test}"


def _variables(profile: ToolSpec, environment: Environment, files: RequestFiles | None) -> Mapping[str, str]:
    """What the environment of the worktree says wins: its PATH and PYTHONPATH are what makes it that worktree's."""
    git = files.git_variables if profile.ai and files is not None else {}
    return {**variables_of(profile), **environment.variables, **git}


def _missing_module(result: ProcessResult) -> str | None:
    """The module that `python -m` did not find; it ends with 1 then, like a tool that has found something."""
    if result.exit_code != 1 or "-m" not in result.argv[:-1]:
        return None
    module = result.argv[result.argv.index("-m") + 1]
    lines = result.stderr.strip().splitlines()
    return module if lines and lines[-1].startswith(f"{result.argv[0]}: No module named {module}") else None


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in signal.valid_signals() else f"signal {number}"
