"""Which tasks may start: an in-degree map that is told what has ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Node:
    """One piece of work: `needs` must have ended well, `after` must have ended somehow."""

    needs: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()


class Schedule:
    """The order of a DAG; nothing recurses, each node and edge is looked at once.

    `ready()` hands out each node once, in the order given; `ended()` says which nodes can never start.
    """

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self._nodes = dict(nodes)
        self._order = {name: position for position, name in enumerate(nodes)}
        self._waiting = {name: len(node.needs | node.after) for name, node in nodes.items()}
        self._dependents: dict[str, list[str]] = defaultdict(list)
        for name, node in nodes.items():
            for upstream in sorted(node.needs | node.after):
                self._dependents[upstream].append(name)
        self._startable = [name for name, count in self._waiting.items() if count == 0]
        self._lost: set[str] = set()

    @property
    def unfinished(self) -> int:
        """How many nodes have not ended yet."""
        return len(self._waiting)

    def ready(self, at_most: int | None = None) -> list[str]:
        """The nodes that may start now, each handed out once."""
        waiting = [name for name in self._startable if name in self._waiting]
        self._startable = sorted(waiting, key=self._order.__getitem__)
        taken = self._startable[:at_most]
        self._startable = self._startable[len(taken) :]
        return taken

    def ended(self, name: str, *, well: bool) -> list[str]:
        """Record the end of a node; returns the nodes that can never start and wait for nothing more, upstreams first.

        A lost node counts as ended: what comes only `after` it goes on.
        """
        lost: list[str] = []
        ending = [(name, well)]
        while ending:
            current, good = ending.pop()
            if self._waiting.pop(current, None) is None:
                continue
            for dependent in self._dependents[current]:
                if dependent not in self._waiting:
                    continue
                self._waiting[dependent] -= 1
                if not good and current in self._nodes[dependent].needs:
                    self._lost.add(dependent)
                if self._waiting[dependent] > 0:
                    continue
                if dependent in self._lost:
                    lost.append(dependent)
                    ending.append((dependent, False))
                else:
                    self._startable.append(dependent)
        return lost
