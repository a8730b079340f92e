"""A tool as data: what is run, on what, for how long, and what it may be trusted with."""

from __future__ import annotations

from enum import StrEnum
from itertools import takewhile
from pathlib import PurePath, PurePosixPath
from string import Formatter
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

LIST_PLACEHOLDERS = frozenset({"files", "tests", "ruff_options"})
"""Placeholders that become one argument for each of their values."""

PROGRAM_PLACEHOLDERS = frozenset({"python", "acms_python", "worktree"})
"""Placeholders that may name the program; the others come from the repository and never do."""

REQUEST_PLACEHOLDERS = frozenset({"request", "prompt_file", "prompt", "usage"})
"""Placeholders of what a task asks for; a tool that has one of them can't run without such a request."""

PLACEHOLDERS = LIST_PLACEHOLDERS | PROGRAM_PLACEHOLDERS | REQUEST_PLACEHOLDERS | {"rules", "task", "model"}

UsageReader = Literal["aider", "claude", "codex", "copilot", "gemini"]
"""Programs whose own figures of tokens and cost can be read."""

_ALONE = LIST_PLACEHOLDERS | {"prompt"}

_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"

_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "fish", "csh", "tcsh", "cmd", "powershell", "pwsh"})

_Names = TypeVar("_Names", tuple[str, ...], dict[str, str])


class TaskKind(StrEnum):
    """What a task is for."""

    ANALYSIS = "analysis"
    IMPLEMENTATION = "implementation"
    TEST = "test"


class Tier(StrEnum):
    """How much is at stake: the safety of a tool, the risk or the complexity of a task."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"

    @property
    def rank(self) -> int:
        """The tier as a number that grows with what is at stake."""
        return list(Tier).index(self)


def placeholders_in(argument: str) -> tuple[str, ...]:
    """The placeholders of one argument, in order; raises ValueError where there is anything but plain names."""
    names: list[str] = []
    for _, name, form, conversion in Formatter().parse(argument):
        if name is None:
            continue
        if name not in PLACEHOLDERS:
            message = f"unknown placeholder {{{name}}}: expected one of {sorted(PLACEHOLDERS)}, or {{{{ for a brace"
            raise ValueError(message)
        if form or conversion:
            message = f"placeholder {{{name}}} takes no format"
            raise ValueError(message)
        names.append(name)
    return tuple(names)


def _check_argument(argument: str) -> None:
    if "\0" in argument:
        message = "it can't hold a NUL character"
        raise ValueError(message)
    for name in placeholders_in(argument):
        if name in _ALONE and argument != f"{{{name}}}":
            becomes = "several arguments" if name in LIST_PLACEHOLDERS else "a whole argument"
            message = f"{{{name}}} becomes {becomes}, so it must stand alone, found {argument!r}"
            raise ValueError(message)


class ToolSpec(BaseModel):
    """What a tool is; a wrong profile is refused when it is read, not when it is run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool_id: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,63}$", description="Name of the tool: lower-case letters, digits, dashes."
    )
    description: str = Field(default="", description="What the tool does, in one line.")
    command: tuple[str, ...] = Field(
        min_length=1,
        description="Command as an argument list, never a shell string. {files} and {tests} become one argument for "
        "each of their values, {ruff_options} what makes ruff read the repository as the gap source did; {rules} is "
        "joined by commas; {python} is the repository's interpreter, {acms_python} the one that acms runs on; "
        "{worktree} and {task} are a path and an id. For a tool that takes a task in words, {request} is the path of a "
        "JSON file that holds it, {prompt_file} that of its text, {prompt} the text itself, {usage} the path where the "
        "tool may write what it has used up; an argument with {model} is left out where no model is named.",
    )
    working_directory: str = Field(default=".", description="Folder to run in, relative to the worktree.")
    environment: tuple[Annotated[str, Field(pattern=_VARIABLE)], ...] = Field(
        default=(), description="Names of further environment variables that the tool may see."
    )
    timeout_sec: float = Field(default=600, gt=0, description="Seconds after which the tool is killed.")
    expected_exit_codes: tuple[Annotated[int, Field(ge=0, le=255)], ...] = Field(
        default=(0,), min_length=1, description="Exit codes with which the tool has done its work."
    )
    task_kinds: tuple[TaskKind, ...] = Field(
        default=(TaskKind.IMPLEMENTATION,), min_length=1, description="Kinds of task the tool is made for."
    )
    domains: tuple[str, ...] = Field(default=(), description="What the tool knows about, for example python or lint.")
    max_parallel: int = Field(default=4, ge=1, le=64, description="How many of it may run at a time.")
    safety_tier: Tier = Field(
        default=Tier.MEDIUM, description="How much harm it could do; a high one runs only where a run asks for it."
    )
    deterministic: bool = Field(
        default=False, description="Whether the same input always gives the same edits, so that they may be split."
    )
    ai: bool = Field(
        default=False, description="Whether a model decides what it does: it is used only where a run names it."
    )
    usage: UsageReader | None = Field(
        default=None,
        description="Whose own figures of tokens and cost it tells; none: it writes a usage file, or nothing.",
    )
    settings: dict[Annotated[str, Field(pattern=_VARIABLE)], str] = Field(
        default_factory=dict,
        description="Variables with fixed values, for example one that switches its updates off; never a secret.",
    )
    withheld: tuple[str, ...] = Field(
        default=(),
        description="Files and folders of the repository that are not there while it runs, for they would "
        "configure it: settings, hooks, servers, its model's address.",
    )
    needs: tuple[Annotated[str, Field(pattern=r"^[\w.+-]+$")], ...] = Field(
        default=(), description="Programs that it starts in its turn; it tells the version of the first one."
    )
    changes_files: bool = Field(default=True, description="Whether it edits files of the worktree.")
    network: bool = Field(
        default=False, description="Whether it may use the network, as AI tools must; only isolation can keep it off."
    )

    isolated: bool = Field(
        default=False, description="Whether it runs in isolation only: it has no limits of its own to its worktree."
    )

    @property
    def capabilities(self) -> tuple[str, ...]:
        """The task kinds and domains, as one sorted list of names."""
        return tuple(sorted({*self.task_kinds, *self.domains}))

    @property
    def placeholders(self) -> frozenset[str]:
        """Every placeholder of the command."""
        return frozenset(name for argument in self.command for name in placeholders_in(argument))

    @field_validator("command", mode="before")
    @classmethod
    def _refuse_shell_string(cls, command: Any) -> Any:
        if isinstance(command, str):
            message = f"expected a list of arguments, not the shell string {command!r}"
            raise ValueError(message)  # noqa: TRY004 - pydantic turns a ValueError into its own error, not a TypeError
        return command

    @field_validator("command")
    @classmethod
    def _check_command(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        _check_program(command)
        for position, argument in enumerate(command):
            try:
                _check_argument(argument)
            except ValueError as problem:
                message = f"argument {position + 1}: {problem}"
                raise ValueError(message) from None
        return command

    @field_validator("working_directory")
    @classmethod
    def _stay_inside(cls, folder: str) -> str:
        path = PurePosixPath(folder)
        if path.is_absolute() or ".." in path.parts:
            message = f"expected a folder inside the worktree, found {folder!r}"
            raise ValueError(message)
        return path.as_posix()

    @field_validator("environment", "settings")
    @classmethod
    def _refuse_git_variables(cls, names: _Names) -> _Names:
        leading = [name for name in names if name.upper().startswith("GIT_")]
        if leading:
            message = f"{leading[0]} would lead the tool to another repository"
            raise ValueError(message)
        return names

    @field_validator("withheld")
    @classmethod
    def _withhold_files(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for path in paths:
            parts = PurePosixPath(path).parts
            if not parts or path.startswith("/") or {"..", ".git"} & set(parts):
                message = f"expected a path inside the worktree, found {path!r}"
                raise ValueError(message)
        return paths


def _check_program(command: tuple[str, ...]) -> None:
    """Raise ValueError unless the first argument is a program, and not a shell that is handed a script."""
    program = command[0]
    if not program:
        message = "the program has no name"
        raise ValueError(message)
    if any(character.isspace() for character in program) and not PurePath(program).is_absolute():
        message = f"expected a list of arguments, not the shell string {program!r}"
        raise ValueError(message)
    foreign = sorted(set(placeholders_in(program)) - PROGRAM_PLACEHOLDERS)
    if foreign:
        message = f"the program can't be {{{foreign[0]}}}, which comes from the repository"
        raise ValueError(message)
    if PurePath(program).stem.lower() in _SHELLS and _hands_over_script(command[1:]):
        message = f"{program} would run a shell string; name the program and its arguments"
        raise ValueError(message)


def _hands_over_script(arguments: tuple[str, ...]) -> bool:
    """Whether one of a shell's own options (-c, -ec, /c, -Command) says that a script follows as text."""
    options = takewhile(lambda argument: argument[:1] in {"-", "/", "+"}, arguments)
    return any("c" in option.lower() and not option.startswith("--") for option in options)
