"""From pairs of code before and after to one rule: what is the same in all of them stays, what differs gets a name.

It is the least general rule that says all the pairs (Plotkin's anti-unification), so it says no more than they do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from prefect_acms.tasks.codemods.codemod import Rewrite
from prefect_acms.tasks.codemods.edits import Pair, is_atom, is_list

if TYPE_CHECKING:
    from ast_grep_py import SgNode

_NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NAME = re.compile(r"\$+[A-Z]\b")
_MEANS_NOTHING = re.compile(r"[\s()\[\]{},.:;]+")


class _Hole(NamedTuple):
    """A part of the first example that differs from example to example."""

    start: int
    end: int
    texts: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    name: str = ""


class _TooDifferent(Exception):
    """The examples have nothing in common that a rule could say."""


def generalised(pairs: Sequence[Pair], sources: Sequence[str]) -> Rewrite | None:
    """The rule that finds the code of each pair and writes what took its place; None where there is no such rule.

    It names the kinds of code that its names stand for in the pairs, so that it can be kept to them.
    `sources` are the texts of the files before, a pair each.
    """
    if any(is_atom(pair.before) for pair in pairs):
        return None  # one word says too little to be replaced wherever it stands
    try:
        holes = _named(_holes([pair.before for pair in pairs], sources))
        known = {hole.texts: hole.name for hole in holes}
        filled = [hole for nodes in _columns([pair.after for pair in pairs]) for hole in _filled(nodes, known)]
    except _TooDifferent:
        return None
    before, after = pairs[0]
    column = before.range().start.column
    pattern = _template(before.get_root().root().text(), _span((before,)), holes, column)
    fix = _template(after[0].get_root().root().text(), _span(after), filled, column) if after else ""
    says_something = _MEANS_NOTHING.sub("", _NAME.sub("", pattern))
    kinds = {hole.name[1:]: hole.kinds for hole in holes if hole.kinds}
    return Rewrite(pattern=pattern, fix=fix, kinds=kinds) if says_something and pattern != fix else None


def _span(nodes: Sequence[SgNode]) -> tuple[int, int]:
    return nodes[0].range().start.index, nodes[-1].range().end.index


def _columns(rows: Sequence[tuple[SgNode, ...]]) -> Iterator[tuple[SgNode, ...]]:
    if len({len(row) for row in rows}) != 1:
        raise _TooDifferent
    yield from zip(*rows, strict=True)


def _holes(nodes: Sequence[SgNode], sources: Sequence[str], *, top: bool = True) -> Iterator[_Hole]:
    """Where the first of these pieces of code differs from the others."""
    texts = tuple(node.text() for node in nodes)
    if len(set(texts)) == 1:
        return
    rows = [node.children() for node in nodes]
    alike = len({node.kind() for node in nodes}) == 1 and not any(is_atom(node) for node in nodes)
    if alike and _same_frame(rows):
        for column in zip(*rows, strict=True):
            yield from _holes(column, sources, top=False)
    elif alike and not top and len({len(row) for row in rows}) > 1:
        yield from _row_of_any_length(nodes, rows, sources)
    elif top or not nodes[0].is_named():
        raise _TooDifferent
    else:
        yield _Hole(*_span(nodes[:1]), texts, tuple(sorted({node.kind() for node in nodes})))


def _same_frame(rows: Sequence[Sequence[SgNode]]) -> bool:
    """Whether pieces of code have as many parts, with the same words and signs between them."""
    frames = {tuple("" if part.is_named() else part.text() for part in row) for row in rows}
    return len(frames) == 1


def _row_of_any_length(
    nodes: Sequence[SgNode], rows: Sequence[Sequence[SgNode]], sources: Sequence[str]
) -> Iterator[_Hole]:
    """One hole for as much of a row as differs in length: all between its brackets, or some of its statements."""
    statements = all(is_list(node) for node in nodes)
    # a name for any number of statements stands for one at least: where it stands for none, an empty line is left
    shortest = min(len(row) for row in rows) - statements

    def same(parts: Sequence[SgNode]) -> bool:
        return len({part.text() for part in parts}) == 1 and (statements or not parts[0].is_named())

    def alike(parts: Sequence[SgNode]) -> bool:
        return same(parts) or (statements and len({part.kind() for part in parts}) == 1)

    head = next((at for at in range(shortest) if not same([row[at] for row in rows])), shortest)
    left = shortest - head
    tail = next((at for at in range(left) if not alike([row[-1 - at] for row in rows])), left)
    middles = [row[head : len(row) - tail] for row in rows]
    if not (all(middles) or head):
        raise _TooDifferent
    for column in zip(*(row[:head] for row in rows), strict=True):
        yield from _holes(column, sources, top=False)
    spans = [_span(middle) if middle else _span(row[:head])[1:] * 2 for middle, row in zip(middles, rows, strict=True)]
    yield _Hole(*spans[0], tuple("*" + source[slice(*span)] for source, span in zip(sources, spans, strict=True)))
    for column in zip(*(row[len(row) - tail :] for row in rows), strict=True):
        yield from _holes(column, sources, top=False)


def _named(holes: Iterator[_Hole]) -> list[_Hole]:
    """The holes with their names: what is always the same has the same."""
    names: dict[tuple[str, ...], str] = {}
    named = []
    for hole in holes:
        if hole.texts not in names:
            if len(names) == len(_NAMES):
                raise _TooDifferent
            many = hole.texts[0].startswith("*")
            names[hole.texts] = ("$$$" if many else "$") + _NAMES[len(names)]
        named.append(hole._replace(name=names[hole.texts]))
    return named


def _filled(nodes: Sequence[SgNode], known: dict[tuple[str, ...], str]) -> Iterator[_Hole]:
    """Where what took the place holds parts of what was there; raises _TooDifferent for what comes from nowhere."""
    texts = tuple(node.text() for node in nodes)
    if len(set(texts)) == 1:
        return
    if texts in known:
        yield _Hole(*_span(nodes[:1]), texts, name=known[texts])
        return
    rows = [node.children() for node in nodes]
    if len({node.kind() for node in nodes}) != 1 or any(is_atom(node) for node in nodes):
        raise _TooDifferent
    if _same_frame(rows):
        for column in zip(*rows, strict=True):
            yield from _filled(column, known)
        return
    yield from _filled_row(nodes, rows, known)


def _filled_row(
    nodes: Sequence[SgNode], rows: Sequence[Sequence[SgNode]], known: dict[tuple[str, ...], str]
) -> Iterator[_Hole]:
    """A row whose length differs, since it holds such a row of the old code."""
    sources = [node.get_root().root().text() for node in nodes]
    for texts, name in known.items():
        if not texts[0].startswith("*"):
            continue
        spans = [_span_of(text[1:], row, source) for text, row, source in zip(texts, rows, sources, strict=True)]
        found = [span for span in spans if span is not None]
        if len(found) < len(rows):
            continue
        outside = [[part for part in row if not _lies_in(part, span)] for row, span in zip(rows, found, strict=True)]
        if _same_frame(outside):
            for column in zip(*outside, strict=True):
                yield from _filled(column, known)
            yield _Hole(*found[0], texts, name=name)
            return
    raise _TooDifferent


def _span_of(text: str, row: Sequence[SgNode], source: str) -> tuple[int, int] | None:
    """The parts of a row that are this text together."""
    if not text:
        return _span(row[:1])[1:] * 2
    starts = [part.range().start.index for part in row]
    ends = {part.range().end.index for part in row}
    return next(
        ((at, at + len(text)) for at in starts if at + len(text) in ends and source[at : at + len(text)] == text), None
    )


def _lies_in(part: SgNode, span: tuple[int, int]) -> bool:
    place = part.range()
    return span[0] <= place.start.index and place.end.index <= span[1]


def _template(source: str, span: tuple[int, int], holes: Sequence[_Hole], column: int) -> str:
    """The text of an example, names in its holes, its lines moved to the left margin."""
    text = source[span[0] : span[1]]
    for hole in sorted(holes, key=lambda one: one.start, reverse=True):
        text = text[: hole.start - span[0]] + hole.name + text[hole.end - span[0] :]
    return re.sub(rf"\n[ \t]{{{column}}}", "\n", text)
