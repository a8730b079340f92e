"""Where the nodes of a DAG go: layers from left to right, few crossings, no recursion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

SWEEPS = 4
"""Passes over the layers; more brings no visible gain on plans of a few hundred tasks."""

Point = tuple[str, int]
"""A node in its own layer, or the place where a long edge passes through a layer."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Layer and height of every node, and the heights at which long edges pass the layers between."""

    layer: Mapping[str, int]
    height: Mapping[str, float]
    routes: Mapping[tuple[str, str], tuple[tuple[int, float], ...]]
    layers: int
    rows: float


@dataclass(slots=True)
class _Grid:
    rows: list[list[Point]]
    before: dict[Point, list[Point]] = field(default_factory=dict)
    after: dict[Point, list[Point]] = field(default_factory=dict)
    chains: dict[tuple[str, str], list[Point]] = field(default_factory=dict)

    def join(self, left: Point, right: Point) -> None:
        self.after.setdefault(left, []).append(right)
        self.before.setdefault(right, []).append(left)


def layers_of(nodes: Sequence[str], edges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """The layer of each node: one more than the highest of those before it; nodes of a cycle stay in layer 0."""
    known = dict.fromkeys(nodes, 0)
    after: dict[str, list[str]] = {node: [] for node in known}
    waiting = dict.fromkeys(known, 0)
    for left, right in edges:
        after[left].append(right)
        waiting[right] += 1
    ready = [node for node in known if waiting[node] == 0]
    for node in ready:
        for follower in after[node]:
            known[follower] = max(known[follower], known[node] + 1)
            waiting[follower] -= 1
            if waiting[follower] == 0:
                ready.append(follower)
    return {node: known[node] if waiting[node] == 0 else 0 for node in known}


def arrange(nodes: Sequence[str], edges: Iterable[tuple[str, str]]) -> Layout:
    """Lay the graph out; edges whose ends are unknown, equal or already drawn are left out. Same input, same layout."""
    known = set(nodes)
    drawn = [edge for edge in dict.fromkeys(edges) if set(edge) <= known and edge[0] != edge[1]]
    layer = layers_of(nodes, drawn)
    drawn = [(left, right) for left, right in drawn if layer[left] < layer[right]]
    grid = _grid(nodes, drawn, layer)
    for _ in range(SWEEPS):
        _untangle(grid)
    height = _heights(grid)
    return Layout(
        layer=layer,
        height={node: height[node, layer[node]] for node in nodes},
        routes={edge: tuple((at, height[name, at]) for name, at in chain) for edge, chain in grid.chains.items()},
        layers=len(grid.rows),
        rows=max(height.values(), default=-1.0) + 1.0,
    )


def _grid(nodes: Sequence[str], edges: Sequence[tuple[str, str]], layer: Mapping[str, int]) -> _Grid:
    grid = _Grid([[] for _ in range(max(layer.values(), default=-1) + 1)])
    for node in dict.fromkeys(nodes):
        grid.rows[layer[node]].append((node, layer[node]))
    for left, right in edges:
        # an edge name can't clash with a node's: ids hold no tab
        chain = [(f"{left}\t{right}", at) for at in range(layer[left] + 1, layer[right])]
        for point in chain:
            grid.rows[point[1]].append(point)
        stops = [(left, layer[left]), *chain, (right, layer[right])]
        for one, next_one in pairwise(stops):
            grid.join(one, next_one)
        grid.chains[left, right] = chain
    return grid


def _untangle(grid: _Grid) -> None:
    for rows, neighbours in ((grid.rows, grid.before), (list(reversed(grid.rows)), grid.after)):
        beside: dict[Point, int] = {}
        for row in rows:
            _sort_by_neighbours(row, neighbours, beside)
            beside = {point: at for at, point in enumerate(row)}


def _sort_by_neighbours(
    row: list[Point], neighbours: Mapping[Point, list[Point]], position: Mapping[Point, int]
) -> None:
    own = {point: at for at, point in enumerate(row)}

    def wanted(point: Point) -> float:
        around = neighbours.get(point)
        return sum(position[other] for other in around) / len(around) if around else own[point]

    row.sort(key=wanted)


def _heights(grid: _Grid) -> dict[Point, float]:
    """Beside those before it where there is room, else below the one above it."""
    height: dict[Point, float] = {}
    for row in grid.rows:
        free = 0.0
        for point in row:
            around = grid.before.get(point, [])
            beside = sum(height[other] for other in around) / len(around) if around else free
            height[point] = max(free, beside)
            free = height[point] + 1.0
    return height
