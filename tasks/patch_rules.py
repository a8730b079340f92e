"""The names of what a patch can break, and how a breach is told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from prefect_acms.tasks.diffs import FileDiff


class Rule(StrEnum):
    """What a patch can break, by the name that a report shows."""

    EMPTY = "EMPTY"
    NOT_A_DIFF = "NOT_A_DIFF"
    PATH_TWICE = "PATH_TWICE"
    PATH_ESCAPES = "PATH_ESCAPES"
    PATH_IN_GIT = "PATH_IN_GIT"
    PATH_NOT_TEXT = "PATH_NOT_TEXT"
    PATH_COLLIDES = "PATH_COLLIDES"
    OUT_OF_SCOPE = "OUT_OF_SCOPE"
    PROTECTED = "PROTECTED"
    FORBIDDEN = "FORBIDDEN"
    SYMLINK = "SYMLINK"
    SUBMODULE = "SUBMODULE"
    OTHER_MODE = "OTHER_MODE"
    EXECUTABLE = "EXECUTABLE"
    BINARY = "BINARY"
    INFLATES = "INFLATES"
    TOO_LARGE = "TOO_LARGE"
    TOO_MANY_FILES = "TOO_MANY_FILES"
    TOO_MANY_LINES = "TOO_MANY_LINES"
    CONFLICT_MARKER = "CONFLICT_MARKER"
    SECRET = "SECRET"  # noqa: S105  # the name of a rule
    SYNTAX = "SYNTAX"
    OTHER_BASE = "OTHER_BASE"
    MISPLACED = "MISPLACED"
    DOES_NOT_APPLY = "DOES_NOT_APPLY"
    OTHER_RESULT = "OTHER_RESULT"


FORMAT = frozenset({Rule.EMPTY, Rule.NOT_A_DIFF, Rule.PATH_TWICE, Rule.PATH_NOT_TEXT})
SCOPE = frozenset({Rule.PATH_ESCAPES, Rule.PATH_IN_GIT, Rule.OUT_OF_SCOPE, Rule.PROTECTED})


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that a patch breaks, and where."""

    rule: Rule
    where: str
    problem: str

    @classmethod
    def at(cls, rule: Rule, file: FileDiff, problem: str, line: int | None = None) -> Violation:
        """A breach in a file of the patch, at a line of the patch (none: where the file begins)."""
        path = file.path.decode("utf-8", errors="replace")
        return cls(rule, f"line {line or file.line} ({path})", problem)

    def __str__(self) -> str:
        return f"{self.rule} at {self.where}: {self.problem}"
