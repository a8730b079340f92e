"""What a patch can do to the things that judge it, by name; and a file as it was and as it is."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property


class IntegrityRule(StrEnum):
    """What a patch does to what judges it, by the name that a report shows."""

    TEST_REMOVED = "TEST_REMOVED"
    TEST_SKIPPED = "TEST_SKIPPED"
    TEST_UNREADABLE = "TEST_UNREADABLE"
    TEST_DATA = "TEST_DATA"
    TEST_HOLLOWED = "TEST_HOLLOWED"
    CASES_REMOVED = "CASES_REMOVED"
    ASSERTION_REMOVED = "ASSERTION_REMOVED"
    ASSERTION_WEAKENED = "ASSERTION_WEAKENED"
    ASSERTION_CHANGED = "ASSERTION_CHANGED"
    FIXTURE_CHANGED = "FIXTURE_CHANGED"
    TEST_MACHINERY = "TEST_MACHINERY"
    TEST_DETECTED = "TEST_DETECTED"
    SHADOWED_MODULE = "SHADOWED_MODULE"
    TEST_CONFIG = "TEST_CONFIG"
    LINT_CONFIG = "LINT_CONFIG"
    GATE_COMMAND = "GATE_COMMAND"
    SUPPRESSION = "SUPPRESSION"


@dataclass(frozen=True, slots=True)
class IntegrityFinding:
    """One thing that a patch does to what judges it: where, in the patched file if it is still there, and what."""

    rule: IntegrityRule
    path: str
    line: int
    problem: str

    def __str__(self) -> str:
        return f"{self.rule} at {self.path}:{self.line}: {self.problem}"


@dataclass(frozen=True)
class ChangedFile:
    """A file before and after a patch; none where it is not there."""

    path: str
    before: bytes | None
    after: bytes | None

    @cached_property
    def old(self) -> str:
        """The text before; what is not UTF-8 is replaced."""
        return (self.before or b"").decode("utf-8", errors="replace")

    @cached_property
    def new(self) -> str:
        """The text after; what is not UTF-8 is replaced."""
        return (self.after or b"").decode("utf-8", errors="replace")

    @cached_property
    def old_module(self) -> ast.Module | None:
        """The Python module before, if it could be read; an empty one where there was none."""
        return _module(self.before)

    @cached_property
    def new_module(self) -> ast.Module | None:
        """The Python module after, if it can be read; an empty one where there is none."""
        return _module(self.after)

    @cached_property
    def old_nodes(self) -> tuple[ast.AST, ...]:
        """Every node of the module before; none of one that could not be read."""
        return tuple(ast.walk(self.old_module)) if self.old_module else ()

    @cached_property
    def new_nodes(self) -> tuple[ast.AST, ...]:
        """Every node of the module after; none of one that can't be read."""
        return tuple(ast.walk(self.new_module)) if self.new_module else ()

    def finding(self, rule: IntegrityRule, line: int, problem: str) -> IntegrityFinding:
        """A finding in this file."""
        return IntegrityFinding(rule, self.path, line, problem)


def _module(content: bytes | None) -> ast.Module | None:
    try:
        return ast.parse(content or b"")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
