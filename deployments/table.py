"""A table for people that breaks no word: columns that have no room beside the others go below their row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from prefect_acms.tasks.reports.drawing import tone
from prefect_acms.tasks.reports.text import printable

STYLES = {"good": "green", "bad": "red", "held": "yellow", "warning": "yellow", "busy": "blue", "waiting": "dim"}
"""Colours of the tones of states."""

GAP = 2
"""Blanks between columns, and before what stands below a row."""

READABLE = 24
"""The width that sentences need beside other columns."""


@dataclass(slots=True)
class _Column:
    """A column: how wide it is, and how wide it must be so that no word is broken."""

    name: str
    width: int
    least: int

    @classmethod
    def of(cls, name: str, cells: Sequence[str]) -> _Column:
        lines = [line for cell in (name, *cells) for line in cell.splitlines()]
        words = (word for line in lines for word in line.split())
        return cls(name, max(map(cell_len, lines), default=0), max(map(cell_len, words), default=0))


def table_of(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> RenderableType:
    """The rows under their head, within a width; a column called STATE is coloured."""
    shown = [tuple(map(printable, row)) for row in rows]
    columns = [_Column.of(name, cells) for name, *cells in zip(head, *shown, strict=True)]
    beside = columns[: _room(columns, width)]
    _narrow(beside, width)
    if len(beside) == len(columns):
        return _grid(beside, shown)
    below = columns[len(beside) :]
    parts: list[RenderableType] = [_grid(beside, ()), _below(", ".join(column.name for column in below), "bold")]
    for row in shown:
        parts.append(_grid(beside, (row,), show_header=False))
        parts += [_below(cell) for cell in row[len(beside) :] if cell]
    return Group(*parts)


def _room(columns: Sequence[_Column], width: int) -> int:
    """How many columns, from the left, have room; the last of them for a sentence."""
    for count in range(len(columns), 1, -1):
        *others, last = columns[:count]
        needed = sum(column.least for column in others) + max(last.least, min(last.width, READABLE))
        if needed + GAP * len(others) <= width:
            return count
    return 1


def _narrow(columns: Sequence[_Column], width: int) -> None:
    """Take from the columns that can give most; a column that is alone is cut to the width."""
    excess = sum(column.width for column in columns) + GAP * (len(columns) - 1) - width
    for _ in range(excess):
        widest = max(columns, key=lambda column: column.width - column.least)
        widest.width = max(1, widest.width - 1)


def _grid(columns: Sequence[_Column], rows: Sequence[Sequence[str]], *, show_header: bool = True) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold", show_header=show_header)
    for column in columns:
        table.add_column(column.name, overflow="fold", width=column.width)
    for row in rows:
        cells = zip(columns, row, strict=False)
        table.add_row(*(Text(cell, style=_style(cell) if column.name == "STATE" else "") for column, cell in cells))
    return table


def _below(said: str, style: str = "") -> Padding:
    return Padding(Text(said, style=style), (0, 0, 0, GAP))


def _style(state: str) -> str:
    return STYLES.get(state) or STYLES[tone(state)]
