"""Topological order of things that wait for each other; nothing recurses, each edge is looked at once."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

SHOWN = 10
"""Members of a cycle that a sentence shows; the rest is counted."""

Needs = Mapping[str, Collection[str]]
"""What each name waits for; a need that is no key is ignored."""


def in_order(needs: Needs, rank: Callable[[str], Any]) -> list[str]:
    """The names so that each comes after what it needs, the lowest rank first among those that are free.

    Raises graphlib.CycleError, which `cycle_of` and `drawn` put into words.
    """
    waiting, dependents = _counted(needs)
    free = [(rank(name), name) for name, count in waiting.items() if count == 0]
    heapq.heapify(free)
    order: list[str] = []
    while free:
        _, name = heapq.heappop(free)
        order.append(name)
        for dependent in dependents[name]:
            waiting[dependent] -= 1
            if waiting[dependent] == 0:
                heapq.heappush(free, (rank(dependent), dependent))
    if len(order) < len(needs):
        # Kahn's way is fast but can't name the cycle; graphlib can, and needs to see only what was left over
        left = needs.keys() - set(order)
        TopologicalSorter({name: sorted(left.intersection(needs[name])) for name in sorted(left)}).prepare()
    return order


def _counted(needs: Needs) -> tuple[dict[str, int], dict[str, list[str]]]:
    waiting: dict[str, int] = {}
    dependents: dict[str, list[str]] = defaultdict(list)
    for name, upstream in needs.items():
        known = {need for need in upstream if need in needs}
        waiting[name] = len(known)
        for need in known:
            dependents[need].append(name)
    return waiting, dependents


def cycle_of(error: CycleError) -> list[str]:
    """The members of the cycle, each waits for the next and the last for the first; starts with the smallest."""
    members = error.args[1][:0:-1]  # graphlib puts what is waited for first, and the first once more at the end
    start = members.index(min(members))
    return list(members[start:] + members[:start])


def drawn(cycle: Sequence[str]) -> str:
    """A cycle as `a -> b -> a`, where an arrow means: waits for."""
    shown = list(cycle[:SHOWN])
    if len(cycle) > SHOWN:
        shown.append(f"… {len(cycle) - SHOWN} more")
    return " -> ".join([*shown, cycle[0]])
