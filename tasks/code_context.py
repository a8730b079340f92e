"""The code that a finding is about, written so that moving lines and reformatting leave it the same."""

from __future__ import annotations

import io
import re
import tokenize
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from prefect_acms.tasks.fingerprints import CONTEXT_LINES

LONGEST = 400
"""Characters of a statement that count as a whole; of a longer one, like a table of data, what is near the finding."""

NEAR = 120

PYTHON = (".py", ".pyi")

Place = tuple[int, int]
"""Row, from 1, and column, from 0."""

_LEFT_OUT = re.compile(r"[\s()\[\]{},;\\'\"]+")
"""What formatters add, remove and exchange: white space, brackets, trailing commas, kinds of quotes."""

_BLOCKS = frozenset(
    {"async", "case", "class", "def", "elif", "else", "except", "finally", "for", "if", "match", "try", "while", "with"}
)
_SILENT = frozenset({tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER})


class Statement(NamedTuple):
    """One simple statement, the head of a compound one, or a comment; `code` is its text without comments."""

    start: Place
    end: Place
    code: str


@dataclass(frozen=True, slots=True)
class FileContext:
    """The statements of one file, and its lines for where it has none."""

    lines: tuple[str, ...]
    statements: tuple[Statement, ...] = ()
    comments: tuple[Statement, ...] = ()

    def of(self, row: int, column: int | None = None, end: Place | None = None) -> list[str]:
        """The code from a place to the end of the finding, at most so many statements as count in a fingerprint.

        Without a column, the statement that the row begins with is meant, or is a part of.
        """
        begin = (row, column if column is not None else self._indentation(row))
        if (comment := _at(self.comments, begin)) is not None:
            return [normalised(comment.code)]
        at = bisect_right(self.statements, begin, key=_start) - 1
        if at < 0 or self.statements[at].end < begin:
            at += 1  # between two statements: an empty line or the end of a row
        last = end or begin
        found = [one for one in self.statements[at : at + CONTEXT_LINES] if one.start <= max(last, begin)]
        if not found:
            return [normalised(line) for line in self.lines[row - 1 : max(row, last[0])][:CONTEXT_LINES]]
        return [self._written(one, begin) for one in found]

    def _written(self, one: Statement, begin: Place) -> str:
        whole = normalised(one.code)
        if len(whole) <= LONGEST:
            return whole
        row, column = max(begin, one.start)
        rest = [self.lines[row - 1][column:], *self.lines[row : one.end[0]]]
        return whole[:NEAR] + normalised("\n".join(rest))[:NEAR]

    def _indentation(self, row: int) -> int:
        line = self.lines[row - 1] if row <= len(self.lines) else ""
        return len(line) - len(line.lstrip())


class CodeContext:
    """Reads each file of a tree once, and tells the code at its places."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = cache(self._read)

    def of(self, path: str, row: int, column: int | None = None, end: Place | None = None) -> list[str]:
        """The normalised code at a place of a file, for a fingerprint; columns count from 0."""
        return self._files(path).of(row, column, end)

    def line(self, path: str, row: int) -> str:
        """A row of a file as it is, empty behind its end."""
        lines = self._files(path).lines
        return lines[row - 1] if row <= len(lines) else ""

    def lines(self, path: str, first: int, last: int) -> Sequence[str]:
        """The rows of a file from the first to the last one, as they are."""
        return self._files(path).lines[first - 1 : last]

    def _read(self, path: str) -> FileContext:
        text = (self._root / path).read_text(encoding="utf-8", errors="replace")
        # the rows that linters count; str.splitlines knows more ends of line
        lines = tuple(re.split(r"\r\n|\r|\n", text))
        return _parsed(lines) if path.endswith(PYTHON) else FileContext(lines)


def normalised(code: str) -> str:
    """The code without what formatters change."""
    return _LEFT_OUT.sub("", code)


def _at(statements: Sequence[Statement], place: Place) -> Statement | None:
    at = bisect_right(statements, place, key=_start) - 1
    return statements[at] if at >= 0 and place < statements[at].end else None


def _start(statement: Statement) -> Place:
    return statement.start


def _parsed(lines: tuple[str, ...]) -> FileContext:
    """The file with its statements and comments; without any when it can't be read as Python."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO("\n".join(lines)).readline))
    except (tokenize.TokenError, SyntaxError):
        return FileContext(lines)
    comments = tuple(_statement([token]) for token in tokens if token.type == tokenize.COMMENT)
    return FileContext(lines, tuple(_parted(token for token in tokens if token.type not in _SILENT)), comments)


def _parted(tokens: Iterable[tokenize.TokenInfo]) -> Iterator[Statement]:
    """Part at ends of line and semicolons, and behind the colon of a block's head, that are inside no bracket."""
    depth, own = 0, list[tokenize.TokenInfo]()
    for token in tokens:
        if token.type == tokenize.OP:
            depth += (token.string in {"(", "[", "{"}) - (token.string in {")", "]", "}"})
        if token.type != tokenize.NEWLINE:
            own.append(token)
        if own and (token.type == tokenize.NEWLINE or (depth == 0 and _ends(token, own))):
            yield _statement(own)
            own = []


def _ends(token: tokenize.TokenInfo, own: list[tokenize.TokenInfo]) -> bool:
    if token.type != tokenize.OP:
        return False
    is_head = own[0].string in _BLOCKS and not any(one.string == "lambda" for one in own)
    return token.string == ";" or (token.string == ":" and is_head)


def _statement(own: list[tokenize.TokenInfo]) -> Statement:
    return Statement(own[0].start, own[-1].end, " ".join(one.string for one in own))
