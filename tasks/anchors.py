"""The code that a gap is about, kept with it: by it one sees whether a gap is still there that nobody can scan for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from prefect_acms.tasks.gaps import Gap

CODE = "code"
"""Detail of a gap: the lines that it is about as they were when it was found, for each of its files."""

COMPARED = frozenset({"report", "sarif"})
"""Sources that read what somebody else has found: of their gaps no more is known than whether the code is there."""

MOST_LINES = 12
"""Lines of a file that are kept; a gap that is about more is about the file."""


def anchor(lines: Sequence[str], start: int, end: int) -> list[str]:
    """The lines of a range of a file, without their white space; none where they say nothing."""
    return [told for line in lines[start - 1 : min(end, start - 1 + MOST_LINES)] if (told := _told(line))]


def anchored(gap: Gap, root: Path) -> Gap:
    """The gap with the code that it is about; as it is, where it names no line or its file can't be read."""
    if CODE in gap.details or not gap.file_paths or gap.start_line is None:
        return gap
    path = root / gap.file_paths[0]
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() and not path.is_symlink() else ""
    code = anchor(text.splitlines(), gap.start_line, gap.end_line or gap.start_line)
    return gap.model_copy(update={"details": {**gap.details, CODE: code}}) if code else gap


def is_there(gap: Gap, root: Path) -> bool:
    """Whether the code that a gap is about is still in the first of its files, wherever in it.

    The same code elsewhere in the file counts too, so a gap is called gone too late rather than too early; one of
    which the code is not known is always there.
    """
    return bool(still_there([gap], root))


def still_there(gaps: Iterable[Gap], root: Path) -> list[Gap]:
    """Those of the gaps whose code is still there; each file is read once, however many of them it has."""
    files = cache(lambda path: _Rows.of(root / path))
    return [gap for gap in gaps if _is_in(gap, files)]


class _Rows(NamedTuple):
    """The lines of a file that say something, and where each of them is among these."""

    lines: list[str]
    places: Mapping[str, list[int]]

    @classmethod
    def of(cls, path: Path) -> _Rows:
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        lines = list(filter(None, map(_told, text.splitlines())))
        places: dict[str, list[int]] = {}
        for place, line in enumerate(lines):
            places.setdefault(line, []).append(place)
        return cls(lines, places)


def _is_in(gap: Gap, files: Callable[[str], _Rows]) -> bool:
    code = gap.details.get(CODE)
    if not gap.file_paths or not isinstance(code, list) or not code:
        return True
    rows = files(gap.file_paths[0])
    return any(rows.lines[place : place + len(code)] == code for place in rows.places.get(str(code[0]), ()))


def _told(line: str) -> str:
    return " ".join(line.split())
