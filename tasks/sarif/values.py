"""Values that Python reads as JSON and nothing behind it takes: no numbers, halves of characters, endless nesting."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

DEEPEST = 200
"""Levels of a log at most: whoever copies, stores or writes it goes down level by level, on a stack that ends."""


class _Node(NamedTuple):
    """A value of a document, and the way to it."""

    value: Any
    step: str | int = ""
    above: _Node | None = None
    depth: int = 0

    @property
    def where(self) -> str:
        return pointer(reversed([node.step for node in self._way()]))

    def _way(self) -> Iterator[_Node]:
        node = self
        while node.above is not None:
            yield node
            node = node.above

    @property
    def children(self) -> Iterator[_Node]:
        """What is in it, the last first, as a stack takes it."""
        value = self.value
        if isinstance(value, dict):
            yield from (_Node(value[key], key, self, self.depth + 1) for key in reversed(value))
        elif isinstance(value, list):
            yield from (_Node(value[at], at, self, self.depth + 1) for at in range(len(value) - 1, -1, -1))


def pointer(steps: Iterable[str | int]) -> str:
    """The JSON pointer of a place; the document itself is called so."""
    escaped = (str(step).replace("~", "~0").replace("/", "~1") for step in steps)
    return "".join(f"/{step}" for step in escaped) or "document"


def unusable(document: Any) -> tuple[str, str] | None:
    """The first value that nothing can be done with: its JSON pointer, and the problem; None: there is none."""
    waiting = [_Node(document)]
    while waiting:
        node = waiting.pop()
        if problem := _problem(node):
            return node.where, problem
        waiting.extend(node.children)
    return None


def _problem(node: _Node) -> str | None:
    value = node.value
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} is no number of JSON"
    if isinstance(value, str):
        return None if _is_text(value) else "half of a surrogate pair, which is no character"
    if isinstance(value, dict) and not all(map(_is_text, value)):
        return "a key with half of a surrogate pair, which is no character"
    return "nested too deeply" if node.depth > DEEPEST else None


def _is_text(value: str) -> bool:
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
