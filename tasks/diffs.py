"""A git diff, taken apart byte by byte: nothing is decoded, dropped or tolerated that git's own form does not have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

_HEADER = re.compile(rb"diff --git (.+)\n")
_EXTENDED = re.compile(
    rb"(old mode|new mode|deleted file mode|new file mode|index|similarity index|dissimilarity index"
    rb"|rename from|rename to|copy from|copy to) (.+)\n"
)
_INDEX = re.compile(rb"([0-9a-f]+)\.\.([0-9a-f]+)(?: (\d{6}))?")
_MODE = re.compile(rb"\d{6}")
_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@(.*)\n")
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')
_ESCAPE = re.compile(rb'\\([0-3][0-7]{2}|[abfnrtv"\\])')
_LETTERS = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_NO_NEWLINE = b"\\ No newline at end of file\n"


class NotADiff(ValueError):
    """The bytes are not a diff as git writes it; `line` is the first that is wrong."""

    def __init__(self, line: int, problem: str) -> None:
        self.line, self.problem = line, problem
        super().__init__(f"line {line}: {problem}")


@dataclass(frozen=True, slots=True)
class Hunk:
    """One changed place; `body` are its lines with their signs."""

    old_start: int
    old_count: int
    new_start: int
    new_count: int
    section: bytes
    body: bytes
    added: int
    removed: int
    line: int

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
    first: bytes = field(repr=False, default=b"")
    names: bytes = field(repr=False, default=b"")

    @property
    def path(self) -> bytes:
        """The file's name after the change, or before it where it is deleted."""
        return self.new_path or self.old_path or b""

    @property
    def operation(self) -> str:
        """What happens to the file as a whole: create, delete, rename or edit."""
        if self.old_path is None:
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


def unquoted(name: bytes) -> bytes:
    """A name as git quotes it, without the quoting; raises ValueError when the quoting is wrong."""
    if not name.startswith(b'"'):
        return name
    if not _QUOTED.fullmatch(name):
        message = f"{name!r} is not quoted as git does it"
        raise ValueError(message)
    inner = name[1:-1]
    if b"\\" in _ESCAPE.sub(b"", inner):
        message = f"{name!r} has an unknown escape"
        raise ValueError(message)
    return _ESCAPE.sub(_unescaped, inner)


def _unescaped(found: re.Match[bytes]) -> bytes:
    code = found[1]
    return bytes([int(code, 8)]) if code.isdigit() else _LETTERS.get(code, code)


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
        hunks = tuple(self._hunks()) if names else ()
        is_binary = not names and self._binary()
        if names and not hunks:
            self._refuse("a file without a hunk follows its names")
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
        for name, value in headers.items():
            if name.endswith("mode") and not _MODE.fullmatch(value):
                self._refuse(f"{name} {value!r} is no mode", at=line)
        if "index" in headers and not _INDEX.fullmatch(headers["index"]):
            self._refuse("the index line is not one of git's", at=line)

    def _name_lines(self) -> tuple[bytes, ...]:
        if not (self._more() and self._peek().startswith(b"--- ")):
            return ()
        old = self._next()
        if not (self._more() and self._peek().startswith(b"+++ ")):
            self._refuse("expected is `+++ …`")
        return old, self._next()

    def _hunks(self) -> Iterator[Hunk]:
        while self._more() and self._peek().startswith(b"@@"):
            header = _HUNK.fullmatch(self._peek())
            if header is None:
                self._refuse("this is no hunk header")
            self._at += 1
            yield self._hunk(header)

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
            elif self._lines[self._at - 1] + b"\n" != _NO_NEWLINE:
                self._refuse("this is no line of a hunk", at=self._at)
        if old_left or new_left:
            self._refuse("the hunk is longer than its header says", at=start)
        if self._more() and self._peek() == _NO_NEWLINE:
            self._at += 1
        if not added and not removed:
            self._refuse("the hunk changes nothing", at=start)
        body = b"".join(text + b"\n" for text in self._lines[start : self._at])
        return Hunk(int(header[1]), old_count, int(header[3]), new_count, header[5], body, added, removed, start)

    def _binary(self) -> bool:
        if not self._more():
            return False
        if self._peek().startswith(b"Binary files "):
            self._at += 1
            return True
        if self._peek() != b"GIT binary patch\n":
            return False
        self._at += 1
        while self._more() and re.match(rb"(literal|delta) \d+\n", self._peek()):
            while self._more() and self._peek() != b"\n":
                self._at += 1
            if not self._more():
                self._refuse("the binary data is torn")
            self._at += 1
        return True

    def _paths(
        self, header: bytes, headers: dict[str, bytes], names: tuple[bytes, ...], line: int
    ) -> tuple[bytes | None, bytes | None]:
        """The names before and after; every place that says them must say the same."""
        try:
            said = {pair for pair in (_from_moves(headers), _from_names(names), _from_header(header)) if pair}
        except ValueError as error:
            self._refuse(str(error), at=line)
        moved = "rename from" in headers or "copy from" in headers
        if not moved and _from_header(header) is None:
            self._refuse("its header names two files", at=line)
        is_new, is_deleted = "new file mode" in headers, "deleted file mode" in headers
        olds = {old for old, _ in said if old is not None}
        news = {new for _, new in said if new is not None}
        if names and ((names[0] == b"--- /dev/null\n") != is_new or (names[1] == b"+++ /dev/null\n") != is_deleted):
            self._refuse("the names and the mode lines disagree on whether the file exists", at=line)
        if len(olds) > 1 or len(news) > 1 or (not moved and len(olds | news) != 1):
            self._refuse("its headers name different files", at=line)
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


_Pair = tuple[bytes | None, bytes | None]


def _from_moves(headers: dict[str, bytes]) -> _Pair | None:
    for kind in ("rename", "copy"):
        if f"{kind} from" in headers:
            return unquoted(headers[f"{kind} from"]), unquoted(headers[f"{kind} to"])
    return None


def _from_names(names: tuple[bytes, ...]) -> _Pair | None:
    if not names:
        return None
    old, new = (unquoted(name[4:-1].partition(b"\t")[0]) for name in names)
    return _without(b"a/", old), _without(b"b/", new)


def _without(prefix: bytes, name: bytes) -> bytes | None:
    if name == b"/dev/null":
        return None
    if not name.startswith(prefix):
        message = f"{name!r} does not begin with {prefix.decode()}"
        raise ValueError(message)
    return name[2:]


def _from_header(rest: bytes) -> _Pair | None:
    """The names of `diff --git a/X b/X`; None where they differ, which only the other headers can tell apart."""
    if rest.startswith(b'"') or rest.endswith(b'"'):
        quoted = re.fullmatch(rb'("(?:[^"\\]|\\.)*"|\S+) ("(?:[^"\\]|\\.)*"|\S+)', rest)
        if quoted is None:
            return None
        return _without(b"a/", unquoted(quoted[1])), _without(b"b/", unquoted(quoted[2]))
    half = len(rest) // 2
    old, new = rest[:half], rest[half + 1 :]
    if len(rest) % 2 == 0 or rest[half : half + 1] != b" " or old[2:] != new[2:]:
        return None
    return _without(b"a/", old), _without(b"b/", new)
