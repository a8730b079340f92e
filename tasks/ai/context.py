"""What a model has to see of a repository to mend some gaps, the most needed first, within a budget of tokens."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from prefect_acms.tasks.ai.disclosure import Disclosure, Shown
from prefect_acms.tasks.gaps import Gap, gap_order
from prefect_acms.tasks.git import run_git
from prefect_acms.tasks.sources.test_files import test_files_among

BYTES_A_TOKEN = 3
"""Fewer than any of the usual tokenisers needs for code, so that an estimate is rather too high than too low."""

CONVENTIONS = ("AGENTS.md", "CLAUDE.md", "CONTRIBUTING.md", "CONTRIBUTING.rst", ".editorconfig", "pyproject.toml")
"""Where a repository says how its code is written."""

_AROUND = 30
"""Lines before and after a gap."""

_AROUND_USE = 4
"""Lines before and after a place that names what is to be changed."""

_HEAD = 40
"""Lines at the top of a file: what it imports."""

_CONVENTION_LINES = 120
_MOST_USES = 8
"""Places that are shown of callers, and of tests, for each name."""

_SHORTEST_NAME = 3
"""A shorter name stands everywhere, and means something else each time."""

_WHOLE_FILE_SHARE = 2
"""A file is shown as a whole if it takes no more than one part in so many of the budget."""

NOT_PARSED = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What `ast.parse` raises of a text that is no Python; too deep a one is a MemoryError in some versions."""

_DEFINITION = re.compile(
    r"^\s*(?:(?:export|public|private|protected|static|async|pub(?:\([^)]*\))?|default|abstract|final)\s+)*"
    r"(?:def|class|function|func|fn|struct|enum|interface|trait|type|impl)\s+(?:\([^)]*\)\s*)?(?P<name>[A-Za-z_]\w+)"
)

_ROW = re.compile(r"(?P<path>[^\0]+)\0(?P<line>\d+)\0")
"""How `git grep -n -z` begins a line."""

_MARKS = 100
"""Bytes of the marks between which a part stands, beside three times its path's: it may be written with escapes."""

Wanted = tuple[str, range]
"""Lines of a file, counted from 1."""


class Part(NamedTuple):
    """Some lines of a file in a row, as they are shown."""

    path: str
    first: int
    last: int
    text: str


def tokens_of(text: str) -> int:
    """How many tokens a text has, estimated from its bytes: no tokeniser is loaded, and none downloaded."""
    return len(text.encode("utf-8", "replace")) // BYTES_A_TOKEN + 1


def tokens_of_part(part: Part) -> int:
    """How many tokens a part has in a prompt, with the marks around it."""
    return tokens_of(part.text) + _around_part(part.path) // BYTES_A_TOKEN


def _around_part(path: str) -> int:
    return _MARKS + 3 * len(path.encode("utf-8", "replace"))


def chosen_parts(disclosure: Disclosure, gaps: Sequence[Gap], files: Iterable[str], budget: int) -> tuple[Part, ...]:
    """The parts of the repository that are worth most for these gaps, in the order of the files; the same each time.

    First the gaps and what is around them, then their files' heads or the whole files, callers and tests of what
    they are in, the repository's conventions, and more of the files, as long as it all stays within the budget.
    """
    selection = _Selection(disclosure, budget)
    own = [path for path in dict.fromkeys((*_files_of(gaps), *sorted(files))) if disclosure.shown(path)]
    for wanted in _in_order(disclosure, sorted(gaps, key=gap_order), own, budget):
        selection.add(*wanted)
    return selection.parts()


def whole_files(disclosure: Disclosure, files: Iterable[str], budget: int) -> Iterator[tuple[Part, ...]]:
    """These files in as many batches as the budget asks for; of one that is too large, its beginning."""
    batch: list[Part] = []
    spent = 0
    for path in files:
        shown = disclosure.shown(path)
        if shown is None or not shown.text.strip():
            continue
        part = _fitted(shown, budget)
        cost = tokens_of_part(part)
        if batch and spent + cost > budget:
            yield tuple(batch)
            batch, spent = [], 0
        batch.append(part)
        spent += cost
    if batch:
        yield tuple(batch)


def _fitted(shown: Shown, budget: int) -> Part:
    kept: list[str] = []
    spent = 0
    for line in shown.lines:
        spent += len(line.encode()) + 1
        if kept and spent > budget * BYTES_A_TOKEN:
            break
        kept.append(line)
    return Part(shown.path, 1, len(kept), "\n".join(kept))


class _Selection:
    """The lines that were chosen so far, and what is left of the budget."""

    def __init__(self, disclosure: Disclosure, budget: int) -> None:
        self._disclosure = disclosure
        self._left = budget * BYTES_A_TOKEN
        self._chosen: dict[str, set[int]] = defaultdict(set)

    def add(self, path: str, lines: range) -> None:
        """Take these lines up, if all that is new of them still fits."""
        shown = self._disclosure.shown(path)
        if shown is None:
            return
        text = shown.lines
        chosen = self._chosen.get(path, set())
        wanted = range(max(1, lines.start), min(len(text) + 1, lines.stop))
        new = set(wanted) - chosen
        is_joined = not chosen.isdisjoint(range(wanted.start - 1, wanted.stop + 1))
        cost = sum(len(text[number - 1].encode("utf-8", "replace")) + 1 for number in new)
        cost += 0 if is_joined else _around_part(path)
        if new and cost <= self._left:
            self._left -= cost
            self._chosen[path] |= new

    def parts(self) -> tuple[Part, ...]:
        """What was chosen, rows of lines put together."""
        return tuple(part for path in sorted(self._chosen) for part in self._of(path))

    def _of(self, path: str) -> Iterator[Part]:
        shown = self._disclosure.shown(path)
        text = shown.lines if shown else []
        for _, row in groupby(enumerate(sorted(self._chosen[path])), key=lambda pair: pair[1] - pair[0]):
            numbers = [number for _, number in row]
            first, last = numbers[0], numbers[-1]
            yield Part(path, first, last, "\n".join(text[first - 1 : last]))


def _files_of(gaps: Iterable[Gap]) -> list[str]:
    return sorted({path for gap in gaps for path in gap.file_paths})


def _in_order(disclosure: Disclosure, gaps: Sequence[Gap], own: Sequence[str], budget: int) -> Iterator[Wanted]:
    yield from (wanted for around in (3, _AROUND) for wanted in _around_gaps(gaps, around))
    names: dict[str, None] = {}
    for path in own:
        shown = disclosure.shown(path)
        if shown is None:
            continue
        places = [gap.start_line or 1 for gap in gaps if path in gap.file_paths]
        for name, lines in _definitions_at(shown, places):
            names[name] = None
            yield path, lines
        if tokens_of(shown.text) <= budget // _WHOLE_FILE_SHARE:
            yield path, range(1, len(shown.lines) + 1)
        yield path, range(1, _HEAD + 1)
    yield from _uses(disclosure, list(names), own)
    yield from ((path, range(1, _CONVENTION_LINES + 1)) for path in CONVENTIONS if path in disclosure.files)
    yield from _around_gaps(gaps, 5 * _AROUND)


def _around_gaps(gaps: Sequence[Gap], around: int) -> Iterator[Wanted]:
    for gap in gaps:
        first = gap.start_line or 1
        last = min(gap.end_line or first, first + around)
        yield from ((path, range(first - around, last + around + 1)) for path in gap.file_paths)


def _definitions_at(shown: Shown, places: Sequence[int]) -> Iterator[tuple[str, range]]:
    """The functions and classes in which these lines are, innermost first, each with its lines."""
    found = dict.fromkeys(one for place in places for one in _around(shown, place))
    yield from ((name, range(first, last + 1)) for name, first, last in found)


def _around(shown: Shown, place: int) -> list[tuple[str, int, int]]:
    if shown.path.endswith((".py", ".pyi")):
        try:
            tree = ast.parse(shown.text)
        except NOT_PARSED:
            return []
        holding = [
            (
                node.name,
                min([node.lineno, *(one.lineno for one in node.decorator_list)]),
                node.end_lineno or node.lineno,
            )
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        ]
        return sorted((one for one in holding if one[1] <= place <= one[2]), key=lambda one: one[2] - one[1])
    lines = shown.lines
    for number in range(min(place, len(lines)), 0, -1):
        if match := _DEFINITION.match(lines[number - 1]):
            return [(match["name"], number, min(len(lines), max(place, number) + _AROUND))]
    return []


def _uses(disclosure: Disclosure, names: Sequence[str], own: Sequence[str]) -> Iterator[Wanted]:
    """Where what is to be changed is named elsewhere: callers first, then the tests that touch it."""
    telling = [name for name in names if not name.startswith("__") and len(name) >= _SHORTEST_NAME]
    places = {name: [place for place in _places_of(disclosure, name) if place[0] not in own] for name in telling}
    tests = set(test_files_among({path for found in places.values() for path, _ in found}, disclosure.root))
    for wants_tests in (False, True):
        for name in telling:
            of_kind = [place for place in places[name] if (place[0] in tests) is wants_tests]
            for path, line in of_kind[:_MOST_USES]:
                shown = disclosure.shown(path)
                inside = next(_definitions_at(shown, [line]), None) if shown and wants_tests else None
                if inside is not None and len(inside[1]) <= 2 * _AROUND:
                    yield path, inside[1]
                yield path, range(line - _AROUND_USE, line + _AROUND_USE + 1)


def _places_of(disclosure: Disclosure, name: str) -> list[tuple[str, int]]:
    """The files and lines, sorted, in which a name stands as a word; in no file that may not be sent."""
    found = run_git(
        ["grep", "--no-color", "-n", "-z", "-I", "-w", "-F", "-e", name], cwd=disclosure.root, accept=(0, 1)
    )
    allowed = set(disclosure.files)
    rows = (_ROW.match(row) for row in found.stdout.decode("utf-8", "replace").split("\n"))
    return sorted((row["path"], int(row["line"])) for row in rows if row and row["path"] in allowed)
