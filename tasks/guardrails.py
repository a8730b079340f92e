"""Guardrails: what a task may do, asked before it does it. What is not known to be allowed is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Literal, NamedTuple, Protocol

from pathspec import GitIgnoreSpec

from prefect_acms.blocks.globs import covered
from prefect_acms.blocks.guardrails import GuardrailSettings, PathRules
from prefect_acms.blocks.tool_spec import Tier, ToolSpec
from prefect_acms.canonical.errors import GuardrailViolation


class GuardedPattern(Protocol):
    """What a guardrail has to know about a pattern of the pattern index."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def enabled(self) -> bool:
        """Whether it may be used at all."""

    @property
    def allowed_tools(self) -> Sequence[str]:
        """The tools that may carry it out."""


def check_task(
    pattern: GuardedPattern | None,
    tool: ToolSpec,
    files: Iterable[str],
    *,
    scope: Sequence[str],
    guardrails: GuardrailSettings,
    ceiling: Tier = Tier.MEDIUM,
) -> None:
    """Let a task pass, or raise GuardrailViolation naming the rule that it breaks.

    `scope` is the task's: gitwildmatch patterns that start at the repository's top.
    """
    check_tool(pattern, tool, ceiling=ceiling)
    allowed = guardrails.allowed_tools
    if allowed is not None and tool.tool_id not in allowed:
        raise GuardrailViolation(
            rule="allowed_tools", problem=f"the policy allows {sorted(allowed)}, not {tool.tool_id}"
        )
    asked = tuple(files)
    check_paths(asked, scope=scope)
    for violation in path_problems(asked, guardrails.path_rules):
        raise GuardrailViolation(rule=violation.rule, problem=f"{violation.path} {violation.problem}")


def check_tool(pattern: GuardedPattern | None, tool: ToolSpec, *, ceiling: Tier = Tier.MEDIUM) -> None:
    """Refuse a pattern that is unknown or disabled, and a tool that it does not allow or that is not safe enough."""
    if pattern is None:
        raise GuardrailViolation(rule="pattern", problem="the task names no known pattern")
    if not pattern.enabled:
        raise GuardrailViolation(rule="pattern", problem=f"pattern {pattern.id} is disabled")
    if tool.tool_id not in pattern.allowed_tools:
        problem = f"pattern {pattern.id} allows {sorted(pattern.allowed_tools)}, not {tool.tool_id}"
        raise GuardrailViolation(rule="tool", problem=problem)
    if tool.safety_tier.rank > ceiling.rank:
        problem = f"{tool.tool_id} has safety tier {tool.safety_tier}, the run allows up to {ceiling}"
        raise GuardrailViolation(rule="safety_tier", problem=problem)


def check_paths(paths: Iterable[str], *, scope: Sequence[str]) -> None:
    """Refuse paths that leave the repository, or that are outside the scope."""
    asked = tuple(paths)
    for path in asked:
        if problem := escape(path):
            raise GuardrailViolation(rule="path", problem=f"{path!r} {problem}")
    if outside := outside_scope(asked, scope):
        raise GuardrailViolation(
            rule="scope", problem=f"{', '.join(outside)} outside of {', '.join(scope) or 'nothing'}"
        )


class PathProblem(NamedTuple):
    """A path that a policy closes: by its scope or by its protected paths."""

    rule: Literal["scope", "protected_paths"]
    path: str
    problem: str

    @property
    def is_protected(self) -> bool:
        """Whether no patch may change it, wherever that patch may go."""
        return self.rule == "protected_paths"


def path_problems(paths: Iterable[str], rules: Iterable[PathRules]) -> tuple[PathProblem, ...]:
    """The paths that these rules close, in the order of the rules; each of the rules holds on its own."""
    asked = set(paths)
    found: dict[PathProblem, None] = {}
    for rule in rules:
        outside = asked - {*covered(asked, rule.scope)} if rule.scope else set()
        where = f"is outside of {', '.join(rule.scope)}"
        found |= {PathProblem("scope", path, where): None for path in sorted(outside)}
        protected = covered_in_any_case(asked, rule.protected_paths)
        found |= {PathProblem("protected_paths", path, "must not be changed"): None for path in protected}
    return tuple(found)


def escape(path: str) -> str | None:
    """Why a path can't be one of a repository's files, or None."""
    parts = PurePosixPath(path).parts
    if not parts or "\0" in path:
        return "is not a path"
    if PurePosixPath(path).is_absolute():
        return "is absolute"
    if ".." in parts:
        return "leaves the repository"
    # A file system that ignores case finds .git under every spelling of it.
    return "is inside .git" if any(part.lower() == ".git" for part in parts) else None


def outside_scope(paths: Iterable[str], scope: Sequence[str]) -> tuple[str, ...]:
    """The paths that no entry of the scope covers, sorted; an entry is a path or a pattern, from the top."""
    exact = set(scope)
    anchored = GitIgnoreSpec.from_lines(entry if entry.startswith("/") else f"/{entry}" for entry in scope)
    return tuple(sorted(path for path in set(paths) if path not in exact and not anchored.match_file(path)))


def covered_in_any_case(paths: Iterable[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """The paths that these patterns cover, sorted; upper and lower case are the same to some file systems."""
    asked = set(paths)
    folded = {path.casefold(): path for path in asked}
    in_any_case = covered(folded, [pattern.casefold() for pattern in patterns])
    return tuple(sorted({*covered(asked, patterns), *(folded[path] for path in in_any_case)}))
