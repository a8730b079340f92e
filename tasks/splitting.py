"""A patch that holds several fixes, taken apart until the guilty one stands alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from prefect_acms.tasks.diffs import FileDiff, Hunk, read_diff

MOST_TRIES = 64
"""How many parts of one patch are tried, with others or alone; each try may run every gate."""


class Place(NamedTuple):
    """Where something new was found in a tree that a patch was tried in; no line where it is about the file."""

    path: bytes
    line: int | None


Try = Callable[[bytes], Collection[Place] | None]
"""Tries a patch on top of what was kept before: None if it stays; else it is undone, and these are the places where
the trouble was seen, none where that can't be said."""


@dataclass(frozen=True, slots=True)
class Isolation:
    """The patches that stayed, in order, and those that did not and can't be split further; each as it was tried.

    `untried` is what was left when as many parts had been tried as may be, in one patch.
    """

    kept: tuple[bytes, ...]
    guilty: tuple[bytes, ...]
    untried: bytes | None = None


def split_by_file(content: bytes) -> tuple[bytes, ...]:
    """One patch for each file; together, in any order, they do the same."""
    return tuple(file.raw for file in read_diff(content))


def split_by_hunk(content: bytes) -> tuple[bytes, ...]:
    """One patch for each changed place (and each mode change), which applies to the same commit, alone or with others.

    New, deleted, renamed and binary files are one piece.
    """
    return tuple(_written([part], kept=()) for file in read_diff(content) for part in _parts(file))


def isolate(content: bytes, attempt: Try, *, seen: Collection[Place] = (), most_tries: int = MOST_TRIES) -> Isolation:
    """Find the guilty parts of a patch that failed as a whole, with the trouble `seen` at these places.

    Parts by which nothing was seen are tried first, all together, and then the suspects one by one. Where nobody can be
    suspected, the files and then their hunks are bisected: about 2 k log2(n) tries for k guilty of n parts. Every
    guilty part has been tried alone; a patch that can't be split is guilty without another try.
    """
    search = _Search(attempt, most_tries)
    groups = [_parts(file) for file in read_diff(content)]
    if sum(len(parts) for parts in groups) <= 1:
        return Isolation((), (content,))
    search.among(groups, seen=seen)
    return Isolation(tuple(search.kept), tuple(search.guilty), search.untried)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """The smallest piece of a file's change: one hunk, its mode change, or (without either) the whole file."""

    file: FileDiff
    hunk: Hunk | None = None
    is_mode: bool = False


def _parts(file: FileDiff) -> tuple[_Part, ...]:
    changes_mode = "old mode" in file.headers
    is_edit = not (file.headers.keys() - {"old mode", "new mode", "index"}) and bool(file.hunks)
    if not is_edit or len(file.hunks) + changes_mode < 2:  # noqa: PLR2004  # fewer than two pieces
        return (_Part(file),)
    mode = (_Part(file, is_mode=True),) if changes_mode else ()
    return (*mode, *(_Part(file, hunk) for hunk in file.hunks))


@dataclass(slots=True)
class _Search:
    """Bisects; knows what stays, so that later hunks of a file say the lines where they now belong."""

    attempt: Try
    tries_left: int
    kept: list[bytes] = field(default_factory=list)
    guilty: list[bytes] = field(default_factory=list)
    _kept_parts: list[_Part] = field(default_factory=list)
    _untried: list[_Part] = field(default_factory=list)

    @property
    def untried(self) -> bytes | None:
        """What nobody has tried, for the tree with what was kept."""
        parts = sorted(self._untried, key=lambda part: (part.file.line, part.hunk.line if part.hunk else 0))
        return _written(parts, self._kept_parts) if parts else None

    def among(self, groups: Sequence[tuple[_Part, ...]], *, seen: Collection[Place] | None) -> bool:
        """Settle these files (each as its parts): whether all of them stay.

        `seen` says where trouble was when they were tried together; None: they were not, or they stayed. A single
        part is always tried, so that there is evidence for it.
        """
        parts = [part for group in groups for part in group]
        if len(parts) == 1 or seen is None:
            if not self.tries_left:
                self._untried += parts
                return False
            self.tries_left -= 1
            patch = _written(parts, self._kept_parts)
            seen = self.attempt(patch)
            if seen is None:
                self.kept.append(patch)
                self._kept_parts += parts
                return True
            if len(parts) == 1:
                self.guilty.append(patch)
                return False
        if suspects := _suspects(groups, self._kept_parts, seen):
            rest = [tuple(part for part in group if part not in suspects) for group in groups]
            rest = [group for group in rest if group]
            stays = [not rest or self.among(rest, seen=None)]
            stays += [self.among([(part,)], seen=None) for part in suspects]
            return all(stays)
        left, right = _halves(groups)
        # the left half stays whole and both together failed: then it is the right half, untried
        left_stays = self.among(left, seen=None)
        right_stays = self.among(right, seen=seen if left_stays else None)
        return left_stays and right_stays


def _suspects(groups: Sequence[tuple[_Part, ...]], kept: Sequence[_Part], seen: Collection[Place]) -> list[_Part]:
    """The parts that may have made the trouble: around its place, or the last change before it."""
    suspects: list[_Part] = []
    for group in groups:
        lines = [line for path, line in seen if path == group[0].file.path]
        hunks = [part.hunk for part in (*group, *kept) if part.file is group[0].file and part.hunk is not None]
        spans = {part: _span(part.hunk, hunks) for part in group if part.hunk is not None}
        if lines and (not spans or None in lines):
            suspects += group
            continue
        for line in filter(None, lines):
            before = [part for part, span in spans.items() if span.change <= line]
            around = [part for part, span in spans.items() if span.first <= line <= span.last]
            suspects += [*before[-1:], *around]
    return list(dict.fromkeys(suspects))


class _Span(NamedTuple):
    """The lines that a hunk has in the tried tree, and the first of those that it changes."""

    first: int
    last: int
    change: int


def _span(hunk: Hunk, present: Sequence[Hunk]) -> _Span:
    first = hunk.old_at + 1 + _growth(present, hunk)
    context = next((at for at, line in enumerate(hunk.lines) if line.sign != b" "), 0)
    return _Span(first, first + max(0, hunk.new_count - 1), first + context)


def _halves(groups: Sequence[tuple[_Part, ...]]) -> tuple[Sequence[tuple[_Part, ...]], Sequence[tuple[_Part, ...]]]:
    """Two halves: of the files, or of the parts when there is only one file left."""
    if len(groups) == 1:
        middle = len(groups[0]) // 2
        return [groups[0][:middle]], [groups[0][middle:]]
    middle = len(groups) // 2
    return groups[:middle], groups[middle:]


def _written(parts: Iterable[_Part], kept: Sequence[_Part]) -> bytes:
    """The patch of these parts for a tree in which the kept ones are applied."""
    groups = [list(group) for _, group in groupby(parts, key=lambda part: part.file.line)]
    return b"".join(_file(group, [part for part in kept if part.file is group[0].file]) for group in groups)


def _file(parts: Sequence[_Part], kept: Sequence[_Part]) -> bytes:
    file = parts[0].file
    if len(parts) == len(_parts(file)):
        return file.raw
    mode = b""
    if any(part.is_mode for part in parts):
        mode = b"".join(b"%s %s\n" % (name.encode(), file.headers[name]) for name in ("old mode", "new mode"))
    hunks = [part.hunk for part in parts if part.hunk is not None]
    present = [part.hunk for part in kept if part.hunk is not None]
    # no index line: it names the blob of the whole change, which this is not
    return file.first + mode + (file.names if hunks else b"") + b"".join(_moved(hunks, present))


def _moved(hunks: Sequence[Hunk], present: Sequence[Hunk]) -> Iterator[bytes]:
    """The hunks with the line numbers that they have once those present are applied."""
    for hunk in hunks:
        old = hunk.old_start + _growth(present, hunk)
        new = old + _growth(hunks, hunk)
        # git counts an empty side from the line before it
        yield hunk.at(old, new + (hunk.old_count == 0) - (hunk.new_count == 0))


def _growth(hunks: Iterable[Hunk], before: Hunk) -> int:
    return sum(hunk.added - hunk.removed for hunk in hunks if hunk.old_start < before.old_start)
