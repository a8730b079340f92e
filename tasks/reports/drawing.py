"""Pictures of a run as SVG: the DAG of its tasks, and its timeline. Colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from prefect_acms.tasks.reports.layout import Layout, arrange
from prefect_acms.tasks.reports.text import one_line, printable, seconds

BOX_WIDTH, BOX_HEIGHT = 252, 46
COLUMN, ROW = 288, 62
MARGIN = 8
BOX_LETTERS = 34
"""What fits into a box at the size of the style sheet."""

LABELS, LABEL_LETTERS = 250, 37
TRACK = 680
BAR_ROW, BAR_HEIGHT = 22, 14
AXIS = 26
TICKS = 7
NARROWEST = 2.0

AT_BASE = "red already"
"""What is shown for a gate that finds something at the base commit: with that, patches are only compared."""

GOOD = frozenset({"completed", "succeeded", "PASSED", "committed", "verified", "resolved"})
BAD = frozenset({"failed", "FAILED", "quarantined", "apply_failed"})
HELD = frozenset(
    {"blocked", "BLOCKED", "cancelled", "canceled", "skipped", "dropped", "rolled_back", "deferred", "awaiting_review"}
    | {AT_BASE}
)
WAITING = frozenset({"pending", "PENDING", "planned", "discovered", "created", "ready"})


def tone(state: str) -> str:
    """The class of a state in the style sheet: good, bad, held, waiting or busy."""
    for name, states in (("good", GOOD), ("bad", BAD), ("held", HELD), ("waiting", WAITING)):
        if state in states:
            return name
    return "busy"


@dataclass(frozen=True, slots=True)
class Node:
    """One box: its name, a second line, and the state that colours it."""

    key: str
    label: str
    note: str
    state: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of the timeline, in seconds since the run began; `level` 0 is a phase, 1 what happens in it."""

    label: str
    state: str
    start: float
    end: float
    level: int = 1


def dag_svg(nodes: Sequence[Node], edges: Sequence[tuple[str, str]], title: str) -> Markup:
    """Draw a DAG, left before right; every text in it is escaped."""
    layout = arrange([node.key for node in nodes], edges)
    width = max(layout.layers - 1, 0) * COLUMN + BOX_WIDTH + 2 * MARGIN
    height = max(layout.rows - 1, 0) * ROW + BOX_HEIGHT + 2 * MARGIN
    lines = [_edge(layout, left, right) for left, right in sorted(layout.routes)]
    boxes = [_box(layout, node) for node in nodes]
    return _picture("dag", width, height, title, [*lines, *boxes])


def _picture(kind: str, width: float, height: float, title: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg class="{}" role="img" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" width="{}" height="{}">'
        "<title>{}</title>{}</svg>"
    ).format(kind, _n(width), _n(height), _n(width), _n(height), title, Markup("").join(parts))


def _place(layout: Layout, key: str) -> tuple[float, float]:
    return MARGIN + layout.layer[key] * COLUMN, MARGIN + layout.height[key] * ROW


def _edge(layout: Layout, left: str, right: str) -> Markup:
    x, y = _place(layout, left)
    path = [f"M{_n(x + BOX_WIDTH)} {_n(y + BOX_HEIGHT / 2)}"]
    x, y = x + BOX_WIDTH, y + BOX_HEIGHT / 2
    stops = [(MARGIN + at * COLUMN, MARGIN + up * ROW + BOX_HEIGHT / 2) for at, up in layout.routes[left, right]]
    goal = _place(layout, right)
    for stop_x, stop_y in [*stops, (goal[0], goal[1] + BOX_HEIGHT / 2)]:
        bend = (stop_x - x) / 2
        path.append(f"C{_n(x + bend)} {_n(y)} {_n(stop_x - bend)} {_n(stop_y)} {_n(stop_x)} {_n(stop_y)}")
        x, y = stop_x, stop_y
        if (stop_x, stop_y) in stops:
            x += BOX_WIDTH
            path.append(f"H{_n(x)}")
    return Markup('<path class="edge" d="{}"/>').format(" ".join(path))


def _box(layout: Layout, node: Node) -> Markup:
    x, y = _place(layout, node.key)
    return Markup(
        '<g class="node {}"><title>{}</title><rect x="{}" y="{}" width="{}" height="{}" rx="6"/>'
        '<text x="{}" y="{}">{}</text><text class="note" x="{}" y="{}">{}</text></g>'
    ).format(
        tone(node.state), printable(f"{node.label}: {node.note}"), _n(x), _n(y), BOX_WIDTH, BOX_HEIGHT,
        _n(x + 10), _n(y + 19), one_line(node.label, BOX_LETTERS),
        _n(x + 10), _n(y + 36), one_line(node.note, BOX_LETTERS + 4),
    )  # fmt: skip


def timeline_svg(bars: Sequence[Bar], title: str) -> Markup:
    """Draw bars over time, one a row, with a scale in seconds; every text in it is escaped."""
    total = max((bar.end for bar in bars), default=0.0) or 1.0
    height = AXIS + len(bars) * BAR_ROW + MARGIN
    ticks = [_tick(at, total, height) for at in tick_places(total)]
    rows = [_bar(bar, row, total) for row, bar in enumerate(bars)]
    return _picture("timeline", LABELS + TRACK + 2 * MARGIN, height, title, [*ticks, *rows])


def tick_places(total: float) -> list[float]:
    """Round moments between 0 and `total` seconds, at most eight, 1, 2 or 5 times a power of ten apart."""
    rough = total / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [number * step for number in range(math.floor(total / step + 1e-9) + 1)]


def _across(moment: float, total: float) -> float:
    return LABELS + TRACK * moment / total


def _tick(at: float, total: float, height: float) -> Markup:
    x = _n(_across(at, total))
    label = f"{at:g} s" if total < 120 or at < 60 else seconds(at)  # noqa: PLR2004  beyond two minutes, minutes read better
    return Markup(
        '<g class="tick"><line x1="{0}" y1="{1}" x2="{0}" y2="{2}"/><text x="{0}" y="14">{3}</text></g>'
    ).format(x, AXIS - 6, _n(height), label)


def _bar(bar: Bar, row: int, total: float) -> Markup:
    y = AXIS + row * BAR_ROW
    start = _across(bar.start, total)
    width = max(_across(bar.end, total) - start, NARROWEST)
    # a short bar at the very end must stay inside the picture
    start = min(start, LABELS + TRACK - width)
    return Markup(
        '<g class="bar {} level{}"><title>{}</title><text x="{}" y="{}">{}</text>'
        '<rect x="{}" y="{}" width="{}" height="{}" rx="3"/></g>'
    ).format(
        tone(bar.state), bar.level, printable(f"{bar.label}: {bar.state}, {seconds(bar.end - bar.start)}"),
        bar.level * 12, y + BAR_HEIGHT - 3, one_line(bar.label, LABEL_LETTERS - 2 * bar.level),
        _n(start), y, _n(width), BAR_HEIGHT,
    )  # fmt: skip


def _n(number: float) -> str:
    """A coordinate in tenths, so that the file is the same on every machine."""
    return f"{number:.1f}".removesuffix(".0")
