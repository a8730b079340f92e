"""A git diff, taken apart byte by byte: nothing is decoded, dropped or tolerated that git's own form does not have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, NoReturn

from prefect_acms.tasks.diff_names import header_of_move, names_in_header, names_in_lines, names_in_moves
from prefect_acms.tasks.patch_binaries import BinaryPart, read_parts

_HEADER = re.compile(rb"diff --git (.+)\n")
_EXTENDED = re.compile(
    rb"(old mode|new mode|deleted file mode|new file mode|index|similarity index|dissimilarity index"
    rb"|rename from|rename to|copy from|copy to) (.+)\n"
)
_INDEX = re.compile(rb"([0-9a-f]+)\.\.([0-9a-f]+)(?: (\d{6}))?")
_MODE = re.compile(rb"\d{6}")
_NUMBER = rb"(0|[1-9]\d{0,8})"
_HUNK = re.compile(rb"@@ -%b(?:,%b)? \+%b(?:,%b)? @@(.*)\n" % ((_NUMBER,) * 4))
_PERCENT = re.compile(rb"(?:100|[1-9]?\d)%")
_NO_NEWLINE = b"\\ No newline at end of file\n"


class NotADiff(ValueError):
    """The bytes are not a diff as git writes it; `line` is the first that is wrong."""

    def __init__(self, line: int, problem: str) -> None:
        self.line, self.problem = line, problem
        super().__init__(f"line {line}: {problem}")


class HunkLine(NamedTuple):
    """One line of a hunk: its number in the patch, its sign, and its text with its end, if it has one."""

    number: int
    sign: bytes
    text: bytes


@dataclass(frozen=True)
class Hunk:
    """One changed place; `body` are its lines with their signs, `line` is its header's number in the patch."""

    old_start: int
    old_count: int
    new_start: int
    new_count: int
    section: bytes
    body: bytes
    added: int
    removed: int
    line: int

    @property
    def old_at(self) -> int:
        """How many lines of the file stand before it; git counts an empty side from the line before it."""
        return self.old_start - (self.old_count > 0)

    @property
    def new_at(self) -> int:
        """How many lines of the new file stand before it."""
        return self.new_start - (self.new_count > 0)

    @cached_property
    def lines(self) -> tuple[HunkLine, ...]:
        """Its lines; one that git says has no newline at the end of the file has none."""
        found: list[HunkLine] = []
        for number, line in enumerate(self.body.split(b"\n")[:-1], self.line + 1):
            if line.startswith(b"\\"):
                found[-1] = found[-1]._replace(text=found[-1].text[:-1])
            else:
                found.append(HunkLine(number, line[:1] or b" ", line[1:] + b"\n"))
        return tuple(found)

    def at(self, old_start: int, new_start: int) -> bytes:
        """The hunk with other line numbers in its header."""
        counts = b"@@ -%d,%d +%d,%d @@" % (old_start, self.old_count, new_start, self.new_count)
        return counts + self.section + b"\n" + self.body


@dataclass(frozen=True, slots=True)
class FileDiff:
    """What a diff does to one file; paths are bytes as git has them, None where the file does not exist."""

    line: int
    old_path: bytes | None
    new_path: bytes | None
    headers: dict[str, bytes]
    hunks: tuple[Hunk, ...]
    is_binary: bool
    raw: bytes
    parts: tuple[BinaryPart, ...] = ()
    first: bytes = field(repr=False, default=b"")
    names: bytes = field(repr=False, default=b"")

    @property
    def path(self) -> bytes:
        """The file's name after the change, or before it where it is deleted."""
        return self.new_path or self.old_path or b""

    @property
    def operation(self) -> str:
        """What happens to the file as a whole: create (a copy too), delete, rename or edit."""
        if self.old_path is None or "copy from" in self.headers:
            return "create"
        if self.new_path is None:
            return "delete"
        return "edit" if self.old_path == self.new_path else "rename"

    @property
    def added(self) -> int:
        """Lines added."""
        return sum(hunk.added for hunk in self.hunks)

    @property
    def removed(self) -> int:
        """Lines removed."""
        return sum(hunk.removed for hunk in self.hunks)

    @property
    def old_mode(self) -> bytes | None:
        """The mode before, where the diff says it."""
        return self.headers.get("old mode") or self.headers.get("deleted file mode") or self._index_mode()

    @property
    def new_mode(self) -> bytes | None:
        """The mode after, where the diff says it; a deleted file has none."""
        if "deleted file mode" in self.headers:
            return None
        return self.headers.get("new mode") or self.headers.get("new file mode") or self._index_mode()

    def _index_mode(self) -> bytes | None:
        found = _INDEX.fullmatch(self.headers.get("index", b""))
        return found[3] if found else None


def read_diff(content: bytes) -> tuple[FileDiff, ...]:
    """The files of a diff in the form that `git diff` writes; raises NotADiff on anything else, prose included."""
    return tuple(_Reader(content).files())


class _Reader:
    """Reads lines one after the other and knows which one it is at."""

    def __init__(self, content: bytes) -> None:
        self._lines = content.split(b"\n")
        self._torn = self._lines.pop() != b""
        self._at = 0

    def files(self) -> Iterator[FileDiff]:
        if self._torn:
            raise NotADiff(len(self._lines) + 1, "the last line has no end")
        while self._more():
            yield self._file()

    def _file(self) -> FileDiff:
        start = self._at
        line = start + 1
        header = _HEADER.fullmatch(self._next())
        if header is None:
            self._refuse("expected is `diff --git …`", at=line)
        headers = self._headers()
        self._check_headers(headers, line)
        names = self._name_lines()
        hunks = self._hunks() if names else ()
        is_binary, parts = (False, ()) if names else self._binary()
        if names and not hunks:
            self._refuse("a file without a hunk follows its names")
        self._check_amounts(headers, hunks, line, has_content=bool(hunks) or is_binary)
        if not (hunks or is_binary or headers.keys() - {"index", "similarity index", "dissimilarity index"}):
            self._refuse("nothing is done to this file", at=line)
        old, new = self._paths(header[1], headers, names, line)
        return FileDiff(
            line=line,
            old_path=old,
            new_path=new,
            headers=headers,
            hunks=hunks,
            is_binary=is_binary,
            parts=parts,
            raw=b"".join(text + b"\n" for text in self._lines[start : self._at]),
            first=self._lines[start] + b"\n",
            names=b"".join(names),
        )

    def _headers(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        while self._more() and (match := _EXTENDED.fullmatch(self._peek())):
            name = match[1].decode()
            if name in found:
                self._refuse(f"{name} is said twice")
            found[name] = match[2]
            self._at += 1
        return found

    def _check_headers(self, headers: dict[str, bytes], line: int) -> None:
        kinds = [{"new file mode"}, {"deleted file mode"}, {"old mode", "new mode"}]
        present = [kind for kind in kinds if kind & headers.keys()]
        if len(present) > 1 or any(not kind <= headers.keys() for kind in present):
            self._refuse(f"these headers contradict each other: {', '.join(sorted(headers))}", at=line)
        for pair in ("rename", "copy"):
            sides = {f"{pair} from", f"{pair} to"}
            if sides & headers.keys() and (not sides <= headers.keys() or present[:1] in ([kinds[0]], [kinds[1]])):
                self._refuse(f"the {pair} headers are not complete", at=line)
        if {"rename from", "copy from"} <= headers.keys():
            self._refuse("it is a rename and a copy", at=line)
        for name, value in headers.items():
            if name.endswith("mode") and not _MODE.fullmatch(value):
                self._refuse(f"{name} {value!r} is no mode", at=line)
        if headers.get("old mode", b"old") == headers.get("new mode", b"new"):
            self._refuse("its mode changes to what it was", at=line)
        if "index" in headers:
            self._check_index(headers, line, is_new=kinds[0] in present, is_deleted=kinds[1] in present)

    def _check_index(self, headers: dict[str, bytes], line: int, *, is_new: bool, is_deleted: bool) -> None:
        index = _INDEX.fullmatch(headers["index"])
        if index is None:
            self._refuse("the index line is not one of git's", at=line)
        if index[3] is not None and any(name.endswith("mode") for name in headers):
            self._refuse("the mode is said twice", at=line)
        if (not index[1].strip(b"0")) != is_new or (not index[2].strip(b"0")) != is_deleted:
            self._refuse("the index line and the mode lines disagree on whether the file exists", at=line)

    def _check_amounts(
        self, headers: dict[str, bytes], hunks: tuple[Hunk, ...], line: int, *, has_content: bool
    ) -> None:
        """What the headers say of how much changes is so."""
        index = _INDEX.fullmatch(headers.get("index", b""))
        changes = index is None or index[1] != index[2]
        if index is not None and changes != has_content and not {"new file mode", "deleted file mode"} & headers.keys():
            self._refuse("the index line and the content disagree on whether it changes", at=line)
        moved = "rename from" in headers or "copy from" in headers
        for name in {"similarity index", "dissimilarity index"} & headers.keys():
            if not _PERCENT.fullmatch(headers[name]):
                self._refuse(f"the {name} is no percentage", at=line)
        if "similarity index" in headers and (not moved or (headers["similarity index"] == b"100%") == has_content):
            self._refuse("the similarity index and the change disagree", at=line)
        if "dissimilarity index" in headers and (moved or not has_content):
            self._refuse("the dissimilarity index and the change disagree", at=line)
        if ("new file mode" in headers and any(hunk.old_count or hunk.old_start for hunk in hunks)) or (
            "deleted file mode" in headers and any(hunk.new_count or hunk.new_start for hunk in hunks)
        ):
            self._refuse("its hunks disagree with its headers on whether the file exists", at=line)

    def _name_lines(self) -> tuple[bytes, ...]:
        if not (self._more() and self._peek().startswith(b"--- ")):
            return ()
        old = self._next()
        if not (self._more() and self._peek().startswith(b"+++ ")):
            self._refuse("expected is `+++ …`")
        return old, self._next()

    def _hunks(self) -> tuple[Hunk, ...]:
        hunks: list[Hunk] = []
        end = growth = 0
        while self._more() and self._peek().startswith(b"@@"):
            header = _HUNK.fullmatch(self._peek())
            if header is None:
                self._refuse("this is no hunk header")
            if hunks and b"\n" + _NO_NEWLINE in hunks[-1].body:
                self._refuse("a hunk follows the end of the file")
            self._at += 1
            hunk = self._hunk(header)
            if hunk.old_at < end or hunk.new_at < 0:
                self._refuse("the hunk lies before the one before it", at=hunk.line)
            if hunk.new_at != hunk.old_at + growth:
                self._refuse("the hunk's two places disagree", at=hunk.line)
            end, growth = hunk.old_at + hunk.old_count, growth + hunk.added - hunk.removed
            hunks.append(hunk)
        return tuple(hunks)

    def _hunk(self, header: re.Match[bytes]) -> Hunk:
        start = self._at
        old_count, new_count = (1 if header[n] is None else int(header[n]) for n in (2, 4))
        old_left, new_left, added, removed = old_count, new_count, 0, 0
        while old_left > 0 or new_left > 0:
            if not self._more():
                self._refuse("the hunk is shorter than its header says", at=start)
            sign = self._next()[:1]
            if sign in {b" ", b"\n"}:
                old_left, new_left = old_left - 1, new_left - 1
            elif sign == b"-":
                old_left, removed = old_left - 1, removed + 1
            elif sign == b"+":
                new_left, added = new_left - 1, added + 1
            else:
                self._refuse("this is no line of a hunk", at=self._at)
            if self._more() and self._peek() == _NO_NEWLINE:
                if (sign != b"+" and old_left) or (sign != b"-" and new_left):
                    self._refuse("a line without an end is not the last one", at=self._at)
                self._at += 1
        if old_left or new_left:
            self._refuse("the hunk is longer than its header says", at=start)
        if not added and not removed:
            self._refuse("the hunk changes nothing", at=start)
        body = b"".join(text + b"\n" for text in self._lines[start : self._at])
        return Hunk(int(header[1]), old_count, int(header[3]), new_count, header[5], body, added, removed, start)

    def _binary(self) -> tuple[bool, tuple[BinaryPart, ...]]:
        if not self._more():
            return False, ()
        if self._peek().startswith(b"Binary files "):
            self._at += 1
            return True, ()
        if self._peek() != b"GIT binary patch\n":
            return False, ()
        try:
            parts, self._at = read_parts(self._lines, self._at + 1)
        except ValueError as error:
            self._refuse(str(error))
        return True, parts

    def _paths(
        self, header: bytes, headers: dict[str, bytes], names: tuple[bytes, ...], line: int
    ) -> tuple[bytes | None, bytes | None]:
        """The names before and after; every place that says them must say the same."""
        try:
            said = {pair for pair in (names_in_moves(headers), names_in_lines(names), names_in_header(header)) if pair}
        except ValueError as error:
            self._refuse(str(error), at=line)
        moves = header_of_move(headers)
        moved = moves is not None
        if (moved and header != moves) or (not moved and names_in_header(header) is None):
            self._refuse("its header names other files", at=line)
        is_new, is_deleted = "new file mode" in headers, "deleted file mode" in headers
        olds = {old for old, _ in said if old is not None}
        news = {new for _, new in said if new is not None}
        if names and ((names[0] == b"--- /dev/null\n") != is_new or (names[1] == b"+++ /dev/null\n") != is_deleted):
            self._refuse("the names and the mode lines disagree on whether the file exists", at=line)
        if len(olds) > 1 or len(news) > 1 or (not moved and len(olds | news) != 1):
            self._refuse("its headers name different files", at=line)
        if moved and olds == news:
            self._refuse("it moves a file to where it is", at=line)
        return (None if is_new else min(olds)), (None if is_deleted else min(news))

    def _more(self) -> bool:
        return self._at < len(self._lines)

    def _peek(self) -> bytes:
        return self._lines[self._at] + b"\n"

    def _next(self) -> bytes:
        self._at += 1
        return self._lines[self._at - 1] + b"\n"

    def _refuse(self, problem: str, at: int | None = None) -> NoReturn:
        raise NotADiff(at if at is not None else self._at + 1, problem)
