"""A patch that holds several fixes, taken apart until the guilty one stands alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from prefect_acms.tasks.diffs import FileDiff, Hunk, read_diff

Keep = Callable[[bytes], bool]
"""Tries a patch on top of what was kept before, and says whether it stays; what does not stay is undone."""


@dataclass(frozen=True, slots=True)
class Isolation:
    """The patches that stayed, in order, and those that did not and can't be split further; each as it was tried."""

    kept: tuple[bytes, ...]
    guilty: tuple[bytes, ...]


def split_by_file(content: bytes) -> tuple[bytes, ...]:
    """One patch for each file; together, in any order, they do the same."""
    return tuple(file.raw for file in read_diff(content))


def split_by_hunk(content: bytes) -> tuple[bytes, ...]:
    """One patch for each changed place (and each mode change), which applies to the same commit, alone or with others.

    New, deleted, renamed and binary files are one piece.
    """
    return tuple(_written([part], kept=()) for file in read_diff(content) for part in _parts(file))


def isolate(content: bytes, keep: Keep) -> Isolation:
    """Find the guilty parts of a patch that failed as a whole, by bisection over its files and then their hunks.

    For k guilty of n parts, about 2 k log2(n) calls of `keep`. Every guilty part has been tried alone; a patch that
    can't be split is guilty without another try.
    """
    search = _Search(keep)
    groups = [_parts(file) for file in read_diff(content)]
    if sum(len(parts) for parts in groups) <= 1:
        return Isolation((), (content,))
    search.among(groups, failed=True)
    return Isolation(tuple(search.kept), tuple(search.guilty))


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

    keep: Keep
    kept: list[bytes] = field(default_factory=list)
    guilty: list[bytes] = field(default_factory=list)
    _kept_parts: list[_Part] = field(default_factory=list)

    def among(self, groups: Sequence[tuple[_Part, ...]], *, failed: bool) -> bool:
        """Settle these files (each as its parts): whether all of them stay. `failed`: together they are known not to.

        A single part is always tried, so that there is evidence for it.
        """
        parts = [part for group in groups for part in group]
        single = len(parts) == 1
        if single or not failed:
            patch = _written(parts, self._kept_parts)
            if self.keep(patch):
                self.kept.append(patch)
                self._kept_parts += parts
                return True
            if single:
                self.guilty.append(patch)
                return False
        left, right = _halves(groups)
        # the left half stays whole and both together failed: then it is the right half, untried
        left_stays = self.among(left, failed=False)
        right_stays = self.among(right, failed=left_stays)
        return left_stays and right_stays


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
