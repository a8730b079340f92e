"""Regions of SARIF in a text: lines, and columns that are counted in UTF-16 code units or in characters."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

LINE_ENDS = re.compile(r"\r\n|\n|\r")

UTF16 = "utf16CodeUnits"
"""What a log counts columns in that does not say so, as most producers do."""

_BEYOND = 0xFFFF
"""Characters beyond this one take two code units."""


class Span(NamedTuple):
    """A stretch of a text, by characters from its start."""

    start: int
    end: int


def units(text: str, kind: str = UTF16) -> int:
    """How many columns a text takes."""
    return len(text) + (sum(ord(character) > _BEYOND for character in text) if kind == UTF16 else 0)


def characters(text: str, columns: int, kind: str = UTF16) -> int:
    """How many characters of the text the first so many columns are."""
    if kind != UTF16:
        return min(columns, len(text))
    for position, character in enumerate(text):
        if columns <= 0:
            return position
        columns -= 2 if ord(character) > _BEYOND else 1
    return len(text)


@lru_cache(maxsize=4)
def line_starts(text: str) -> tuple[int, ...]:
    """Where each line of a text begins; kept, since thousands of regions may be in the same text."""
    return (0, *(found.end() for found in LINE_ENDS.finditer(text)))


@lru_cache(maxsize=4)
def rows_of(text: str) -> tuple[str, ...]:
    """The lines of a text without their ends."""
    return tuple(LINE_ENDS.split(text))


def span_of(region: Mapping[str, Any], text: str, kind: str = UTF16) -> Span | None:
    """The stretch of a text that a region is; None where the text has no such place.

    A region with bytes only is none of a text. An end that is not given is the end of the line; `endColumn` is the
    column after the last one.
    """
    if "startLine" not in region:
        if "charOffset" not in region:
            return None
        start = region["charOffset"]
        span = Span(start, start + region.get("charLength", 0))
        return span if 0 <= span.start <= span.end <= len(text) else None
    starts = line_starts(text)
    first = region["startLine"]
    last = region.get("endLine", first)
    if not first <= last <= len(starts):
        # a region may end at the beginning of the line after the last one
        return Span(starts[first - 1], len(text)) if first < last == len(starts) + 1 else None
    begin = _place(text, starts, first, region.get("startColumn", 1), kind)
    end = _place(text, starts, last, region.get("endColumn"), kind)
    return Span(begin, end) if begin <= end else None


def lines_of(region: Mapping[str, Any], text: str | None) -> tuple[int, int] | None:
    """The first and the last line of a region, counted from 1; the text is needed only where it is told by offsets."""
    if "startLine" in region:
        first = region["startLine"]
        last = max(first, region.get("endLine", first))
        return first, last - 1 if last > first and region.get("endColumn") == 1 else last
    span = span_of(region, text) if text is not None else None
    if span is None or text is None:
        return None
    starts = line_starts(text)
    return bisect_right(starts, span.start), bisect_right(starts, max(span.start, span.end - 1))


def _place(text: str, starts: Sequence[int], line: int, column: int | None, kind: str) -> int:
    start = starts[line - 1]
    end = starts[line] if line < len(starts) else len(text)
    body = LINE_ENDS.sub("", text[start:end])
    if column is None:
        return start + len(body)
    taken = characters(body, column - 1, kind)
    # the column after the last one of a line may be meant to take its end in, which the next line's first one says
    return start + taken
