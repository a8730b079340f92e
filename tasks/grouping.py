"""Gaps that belong together: by category, or by the files they share."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from prefect_acms.tasks.gaps import Gap, gap_order

NEIGHBOURS = 64
"""Candidates that one file offers to a growing group; a file that everything touches must not cost n x n steps."""

Group = tuple[Gap, ...]


def by_category(gaps: Iterable[Gap], max_files: int) -> list[Group]:
    """Groups of one category with at most `max_files` files; a gap that alone has more gets its own.

    Greedy: a gap goes where one of its files is already, else into the group of its category that was opened last.
    """
    groups: list[_Open] = []
    last: dict[str, _Open] = {}
    home: dict[tuple[str, str], _Open] = {}
    for gap in sorted(gaps, key=gap_order):
        places = [home.get((gap.category, path)) for path in gap.file_paths]
        found = next((p for p in (*places, last.get(gap.category)) if p and p.has_room(gap, max_files)), None)
        if found is None:
            found = _Open()
            groups.append(found)
            if len(gap.file_paths) <= max_files:
                last[gap.category] = found
        found.add(gap)
        home.update(((gap.category, path), found) for path in gap.file_paths)
    return [tuple(group.gaps) for group in groups]


def by_proximity(gaps: Iterable[Gap], max_files: int) -> list[Group]:
    """Groups that grow from a seed by the largest overlap of files, up to `max_files` files.

    A gap that alone has more files gets its own group; gaps without files are one group.
    """
    bundles: dict[frozenset[str], list[Gap]] = defaultdict(list)
    for gap in sorted(gaps, key=gap_order):
        bundles[frozenset(gap.file_paths)].append(gap)
    growth = _Growth(list(bundles), max_files)
    members = list(bundles.values())
    return [tuple(gap for position in group for gap in members[position]) for group in growth.groups()]


class _Open:
    """A group that still takes gaps."""

    def __init__(self) -> None:
        self.gaps: list[Gap] = []
        self.files: set[str] = set()

    def has_room(self, gap: Gap, max_files: int) -> bool:
        return len(self.files) + sum(path not in self.files for path in set(gap.file_paths)) <= max_files

    def add(self, gap: Gap) -> None:
        self.gaps.append(gap)
        self.files.update(gap.file_paths)


class _Growth:
    """Grows groups over sets of files, each known by its position; every set ends up in one group."""

    def __init__(self, sets: Sequence[frozenset[str]], max_files: int) -> None:
        self._sets = sets
        self._max_files = max_files
        self._free = [True] * len(sets)
        self._touching: dict[str, list[int]] = defaultdict(list)
        for position, files in enumerate(sets):
            for path in sorted(files):
                self._touching[path].append(position)

    def groups(self) -> Iterator[list[int]]:
        for seed in range(len(self._sets)):
            if self._free[seed]:
                yield self._grown_from(seed)

    def _grown_from(self, seed: int) -> list[int]:
        files: set[str] = set()
        group: list[int] = []
        ranked = [(0, seed)]
        while ranked:
            overlap, position = heapq.heappop(ranked)
            actual = len(files & self._sets[position])
            # a set is ranked again each time a file of it comes in; older entries are left in the heap and skipped
            if -overlap != actual or not self._free[position] or not self._may_join(files, position):
                continue
            self._free[position] = False
            group.append(position)
            fresh = sorted(self._sets[position] - files)
            files.update(fresh)
            for neighbour in self._neighbours(fresh):
                heapq.heappush(ranked, (-len(files & self._sets[neighbour]), neighbour))
        return group

    def _may_join(self, files: set[str], position: int) -> bool:
        return not files or len(files | self._sets[position]) <= self._max_files

    def _neighbours(self, paths: Iterable[str]) -> list[int]:
        found: set[int] = set()
        for path in paths:
            touching = self._touching[path]
            seen = 0
            near: list[int] = []
            while seen < len(touching) and len(near) < NEIGHBOURS:
                if self._free[touching[seen]]:
                    near.append(touching[seen])
                seen += 1
            touching[:seen] = near
            found.update(near)
        return sorted(found)
