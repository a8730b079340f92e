"""The fixes that a SARIF log proposes, as edits of whole lines that still find their place after lines have moved."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prefect_acms.tasks.sarif.columns import Span, line_starts, span_of

_Object = Mapping[str, Any]

BOM = "\ufeff"


class Edit(NamedTuple):
    """Lines of a file, from this one on, and the lines that take their place; line ends are part of them."""

    path: str
    line: int
    before: str
    after: str


class Replacement(NamedTuple):
    """A stretch of a text, and what takes its place."""

    span: Span
    text: str


def edits_of(path: str, text: str, replacements: Iterable[Replacement]) -> list[Edit] | None:
    """The edits that make these replacements in a text; None where they overlap, or change nothing."""
    ordered = sorted(replacements)
    starts = [*line_starts(text), len(text)]
    blocks: list[tuple[int, int, list[Replacement]]] = []
    for one in ordered:
        first, last = _lines(one.span, starts, text)
        if blocks and one.span.start < blocks[-1][2][-1].span.end:
            return None
        if blocks and first <= blocks[-1][1]:
            begin, end, members = blocks.pop()
            blocks.append((begin, max(end, last), [*members, one]))
        else:
            blocks.append((first, last, [one]))
    edits = [
        Edit(path, first + 1, *_replaced(text, starts[first], starts[last + 1], one)) for first, last, one in blocks
    ]
    changing = [edit for edit in edits if edit.before != edit.after]
    return changing if changing and all(edit.before for edit in changing) else None


def replacements_of(change: _Object, text: str, kind: str) -> list[Replacement] | None:
    """The replacements that an artifact change makes in this text; None where one of them has no place in it."""
    found = []
    for one in change["replacements"]:
        span = span_of(one["deletedRegion"], text, kind)
        content = one.get("insertedContent") or {}
        if span is None or (content and "text" not in content):
            return None
        found.append(Replacement(span, content.get("text", "")))
    return found


def edited(text: str, edits: Sequence[Edit]) -> str | None:
    """The text with all of these edits; None unless each finds its lines, the ones nearest to where they were."""
    mark = BOM if text.startswith(BOM) else ""
    text = text.removeprefix(BOM)
    for edit in sorted(edits, key=lambda one: -one.line):
        starts = line_starts(text)
        places = [
            (abs(number - edit.line), start)
            for number, start in enumerate(starts, start=1)
            if text.startswith(edit.before, start) and _is_whole(text, start + len(edit.before))
        ]
        if not places:
            return None
        _, start = min(places)
        text = text[:start] + edit.after + text[start + len(edit.before) :]
    return mark + text


def _lines(span: Span, starts: list[int], text: str) -> tuple[int, int]:
    """The first and the last line, from 0, that have to be replaced whole; never none."""
    count = len(starts) - 1
    first = bisect_right(starts, span.start, hi=count) - 1
    last = bisect_right(starts, max(span.start, span.end - 1), hi=count) - 1
    if first and starts[first] == len(text):
        # behind the last line end there is no line to hold on to
        first -= 1
    return first, last


def _replaced(text: str, start: int, end: int, replacements: Iterable[Replacement]) -> Iterator[str]:
    yield text[start:end]
    parts, place = [], start
    for one in replacements:
        parts += [text[place : one.span.start], one.text]
        place = one.span.end
    yield "".join([*parts, text[place:end]])


def _is_whole(text: str, end: int) -> bool:
    return end == len(text) or text[end - 1] in "\r\n"
