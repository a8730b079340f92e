"""Which workstream waits for which, so that the order is a DAG and no two at work at once touch the same file.

The rule, in this order:

1. A group that holds a gap waits for the groups that hold the gap's dependencies.
2. Groups of failing tests come after all others that do not themselves wait for one: the fixes may cure the tests.
   The first of them waits for the ends of the others, the rest waits for the first: n + m edges, not n x m.
3. All groups get one total order that agrees with 1 and 2. For every file, the groups that touch it wait for each
   other along that order.

What 2 and 3 add points backward in one total order, so it can't close a cycle with 1; and it is an order only, in
which it doesn't matter how the earlier group ended. What could close a cycle is 1 itself, when gaps of two groups
depend on each other crosswise: `untangled` splits such groups until 1 is a DAG.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError
from typing import Any

from prefect_acms.canonical.errors import InvalidDocument
from prefect_acms.tasks.gaps import Gap, gap_order
from prefect_acms.tasks.grouping import Group
from prefect_acms.tasks.ordering import cycle_of, drawn, in_order

TESTING = "testing"
"""The category of failing tests."""


@dataclass(frozen=True, slots=True)
class Links:
    """What one group waits for, in the total order; `order_only` are those of `depends_on` that may end badly."""

    depends_on: tuple[str, ...]
    order_only: tuple[str, ...]


def linked(groups: Mapping[str, Sequence[Gap]], rank: Callable[[str], Any]) -> dict[str, Links]:
    """The links of every group, keys in the total order; `rank` decides where nothing else does."""
    needs = _needs(groups)
    late = _behind_tests(groups, needs)
    order = in_order(needs, lambda key: (key in late, rank(key)))
    after = _after_sharing(groups, order)
    early = [key for key in order if key not in late]
    tests = [key for key in order if is_testing(groups[key])]
    for key in tests[:1]:
        after[key].update(set(early).difference(*(needs[other] | after[other] for other in early)))
    for key in tests[1:]:
        after[key].add(tests[0])
    place = {key: position for position, key in enumerate(order)}
    return {
        key: Links(
            tuple(sorted(needs[key] | after[key], key=place.__getitem__)),
            tuple(sorted(after[key] - needs[key], key=place.__getitem__)),
        )
        for key in order
    }


def is_testing(gaps: Iterable[Gap]) -> bool:
    """Whether these gaps are failing tests."""
    return any(gap.category == TESTING for gap in gaps)


def untangled(groups: Sequence[Group]) -> list[Group]:
    """The groups, those split that would wait for each other; raises InvalidDocument when gaps themselves do."""
    keyed = {str(position): group for position, group in enumerate(groups)}
    needs = _needs(keyed)
    tangled = _core(needs)
    sequence = gaps_in_order(gap for group in groups for gap in group)
    if not tangled:
        return list(groups)
    home = {gap.fingerprint: key for key in tangled for gap in keyed[key]}
    split = staged([gap for gap in sequence if gap.fingerprint in home], lambda gap: home[gap.fingerprint])
    return [*(group for key, group in keyed.items() if key not in tangled), *split]


def gaps_in_order(gaps: Iterable[Gap], rank: Callable[[Gap], Any] = gap_order) -> list[Gap]:
    """The gaps so that each comes after those it depends on; raises InvalidDocument that shows a circle."""
    by_name = {gap.fingerprint: gap for gap in gaps}
    needs = {name: gap.dependencies for name, gap in by_name.items()}
    try:
        return [by_name[name] for name in in_order(needs, lambda name: rank(by_name[name]))]
    except CycleError as error:
        problem = f"they depend on each other in a circle: {drawn(cycle_of(error))}"
        raise InvalidDocument(path="gaps", where="dependencies", problem=problem) from error


def staged(sequence: Iterable[Gap], kind: Callable[[Gap], str]) -> list[Group]:
    """Gaps of a kind together, in stages that can be worked off one after the other.

    The gaps must come after their dependencies. A gap joins the latest stage of its kind, unless a gap that it depends
    on is in a later one: then a new stage is opened. So a stage never waits for one behind it.
    """
    stages: list[list[Gap]] = []
    latest: dict[str, int] = {}
    stage_of: dict[str, int] = {}
    for gap in sequence:
        earliest = max((stage_of[need] for need in gap.dependencies if need in stage_of), default=0)
        stage = latest.get(kind(gap), -1)
        if stage < earliest:
            stage = len(stages)
            stages.append([])
            latest[kind(gap)] = stage
        stages[stage].append(gap)
        stage_of[gap.fingerprint] = stage
    return [tuple(stage) for stage in stages]


def _needs(groups: Mapping[str, Sequence[Gap]]) -> dict[str, set[str]]:
    """Rule 1."""
    home = {gap.fingerprint: key for key, group in groups.items() for gap in group}
    return {
        key: {home[need] for gap in group for need in gap.dependencies if need in home} - {key}
        for key, group in groups.items()
    }


def _behind_tests(groups: Mapping[str, Sequence[Gap]], needs: Mapping[str, set[str]]) -> set[str]:
    """The groups of failing tests, and those that wait for one at any distance."""
    late: set[str] = set()
    for key in in_order(needs, str):
        if is_testing(groups[key]) or needs[key] & late:
            late.add(key)
    return late


def _after_sharing(groups: Mapping[str, Sequence[Gap]], order: Iterable[str]) -> dict[str, set[str]]:
    """Rule 3: for each file, the group that touched it last in the order."""
    after: dict[str, set[str]] = defaultdict(set)
    last: dict[str, str] = {}
    for key in order:
        files = {path for gap in groups[key] for path in gap.file_paths}
        after[key] = {last[path] for path in files if path in last}
        last.update(dict.fromkeys(files, key))
    return after


def _core(needs: Mapping[str, set[str]]) -> set[str]:
    """What is left when everything is taken away that waits for nothing, and that nothing waits for: the cycles."""
    wanted_by: dict[str, set[str]] = {key: set() for key in needs}
    for key, upstream in needs.items():
        for need in upstream:
            wanted_by[need].add(key)
    left = set(needs)
    for ahead, behind in ((needs, wanted_by), (wanted_by, needs)):
        counts = {key: len(ahead[key] & left) for key in left}
        free = [key for key, count in counts.items() if count == 0]
        while free:
            key = free.pop()
            left.discard(key)
            for other in behind[key]:
                if other in left:
                    counts[other] -= 1
                    if counts[other] == 0:
                        free.append(other)
    return left
