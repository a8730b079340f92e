"""What a patch did to the syntax of a file: the smallest pieces of code that became others, and what is around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, NamedTuple

from prefect_acms.canonical.errors import ExtraMissing

if TYPE_CHECKING:
    from ast_grep_py import SgNode

IMPORTS = frozenset({"import_statement", "import_from_statement"})
"""The kinds of Python's imports."""

_FARTHEST = 8
"""How many pieces of code around an edit are looked at."""


class Pair(NamedTuple):
    """A piece of code, and the pieces that took its place."""

    before: SgNode
    after: tuple[SgNode, ...]


@dataclass(frozen=True, slots=True)
class Edit:
    """A part of the old text that became another; `around` are the pieces of code that hold it, the smallest first."""

    start: int
    end: int
    text: str
    lines: tuple[int, int]
    around: tuple[Pair, ...] = ()
    is_import: bool = False

    def is_in(self, pair: Pair) -> bool:
        """Whether it is part of what became of a piece of code."""
        return any(one.before.range() == pair.before.range() for one in self.around)


def root_of(text: str, language: str) -> SgNode:
    """The syntax tree of a file; raises ExtraMissing where the parser is not installed."""
    try:
        from ast_grep_py import SgRoot  # noqa: PLC0415 - an optional extra
    except ImportError as missing:
        raise ExtraMissing(what="acms promote", library="ast-grep-py", choice="codemods") from missing
    return SgRoot(text, language).root()


def edits_of(before: str, after: str, language: str) -> tuple[Edit, ...] | None:
    """The edits that lead from one text to the other; None when its syntax doesn't tell what was done."""
    found = tuple(_Difference(before, after).of(root_of(before, language), root_of(after, language), ()))
    return found if applied(before, found) == after else None


def applied(text: str, edits: Sequence[Edit]) -> str:
    """The text after these edits."""
    for edit in sorted(edits, key=lambda one: (one.start, one.end), reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


class _Difference:
    """Compares two trees from the top down, as far as they are alike."""

    def __init__(self, before: str, after: str) -> None:
        self._before, self._after = before, after

    def of(self, old: SgNode, new: SgNode, around: tuple[Pair, ...]) -> Iterator[Edit]:
        if old.text() == new.text():
            return
        around = (Pair(old, (new,)), *around)
        olds, news = old.children(), new.children()
        if old.kind() != new.kind() or not olds or not news or is_atom(old):
            yield self._whole(around)
            return
        steps = [step for step in _steps(olds, news) if step[0] != "equal"]
        if is_list(old):
            steps = [part for step in steps for part in _parts(olds, news, step)]
        if not steps or not all(_can_be_told(olds, news, step, listed=is_list(old)) for step in steps):
            yield self._whole(around)
            return
        for step in steps:
            yield from self._step(olds, news, step, around)

    def _step(
        self, olds: Sequence[SgNode], news: Sequence[SgNode], step: _Step, around: tuple[Pair, ...]
    ) -> Iterator[Edit]:
        _, i, j, k, m = step
        gone, come = olds[i:j], news[k:m]
        imports = all(node.kind() in IMPORTS for node in (*gone, *come)) and around[0].before.kind() == "module"
        if not imports and j - i == m - k:
            for at in range(j - i):
                one = ("replace", i + at, i + at + 1, k + at, k + at + 1)
                if {olds[i + at].kind(), news[k + at].kind()} <= IMPORTS:
                    yield from self._step(olds, news, one, around)
                else:
                    yield from self.of(olds[i + at], news[k + at], around)
        elif not imports and len(gone) == 1 and come:
            place = gone[0].range()
            text = self._after[come[0].range().start.index : come[-1].range().end.index]
            yield self._edit(place.start.index, place.end.index, text, (Pair(gone[0], tuple(come)), *around))
        else:
            start, end = _between(olds, i, j, len(self._before), around[0].before)
            first, last = _between(news, k, m, len(self._after), around[0].after[0])
            near = (Pair(gone[0], ()), *around) if len(gone) == 1 and not imports else around
            yield self._edit(start, end, self._after[first:last], near, is_import=imports)

    def _whole(self, around: tuple[Pair, ...]) -> Edit:
        old, new = around[0].before.range(), around[0].after[0].range()
        text = self._after[new.start.index : new.end.index]
        return self._edit(old.start.index, old.end.index, text, around)

    def _edit(self, start: int, end: int, text: str, around: tuple[Pair, ...], *, is_import: bool = False) -> Edit:
        lines = self._before.count("\n", 0, start) + 1, self._before.count("\n", 0, end) + 1
        # the last one is the whole file, which is never a rule
        return Edit(start, end, text, lines, around[:-1][:_FARTHEST], is_import)


_Step = tuple[str, int, int, int, int]


def _steps(olds: Sequence[SgNode], news: Sequence[SgNode]) -> list[_Step]:
    old, new = ([(node.kind(), node.text()) for node in nodes] for nodes in (olds, news))
    return list(SequenceMatcher(None, old, new, autojunk=False).get_opcodes())


def _parts(olds: Sequence[SgNode], news: Sequence[SgNode], step: _Step) -> Iterator[_Step]:
    """A difference of two rows of statements, without the imports that it begins with, and by the names in it."""
    _, i, j, k, m = step
    if j - i == m - k:
        yield step
        return
    old = next((at for at in range(i, j) if olds[at].kind() not in IMPORTS), j)
    new = next((at for at in range(k, m) if news[at].kind() not in IMPORTS), m)
    if (old, new) != (i, k):
        yield "replace", i, old, k, new
    left, right = ([(one.kind(), _name(one) or one.text()) for one in row] for row in (olds[old:j], news[new:m]))
    if old == j and new == m:
        return
    if j - old == m - new:
        yield "replace", old, j, new, m
        return
    for tag, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag == "equal":
            pairs = zip(range(old + a, old + b), range(new + c, new + d), strict=True)
            yield from (("replace", x, x + 1, y, y + 1) for x, y in pairs)
        else:
            yield tag, old + a, old + b, new + c, new + d


def _name(node: SgNode) -> str | None:
    """What a definition defines."""
    inner = node.field("definition") or node
    name = inner.field("name")
    return name.text() if name is not None else None


def _can_be_told(olds: Sequence[SgNode], news: Sequence[SgNode], step: _Step, *, listed: bool) -> bool:
    """Whether a difference lies in single pieces, or in a list of statements; else all around it is one edit."""
    _, i, j, k, m = step
    one_by_one = j - i == m - k and all(node.is_named() for node in (*olds[i:j], *news[k:m]))
    return listed or one_by_one


def _between(nodes: Sequence[SgNode], start: int, end: int, length: int, parent: SgNode) -> tuple[int, int]:
    """The text from the end of the node before to the start of the node after."""
    is_file = parent.parent() is None
    place = parent.range()
    first = nodes[start - 1].range().end.index if start else (0 if is_file else place.start.index)
    last = nodes[end].range().start.index if end < len(nodes) else (length if is_file else place.end.index)
    return first, last


def is_list(node: SgNode) -> bool:
    """Whether a piece of code is nothing but a row of statements."""
    return node.kind() == "module" or (node.is_named() and all(child.is_named() for child in node.children()))


def is_atom(node: SgNode) -> bool:
    """Whether a piece of code is one word or one text, though its grammar may see parts in it."""
    return not node.children() or "string" in node.kind()
