"""Lists for people break no word on a narrow screen, and lose nothing."""

from __future__ import annotations

import io
from itertools import chain

import pytest

from prefect_acms.deployments.screen import Screen
from prefect_acms.deployments.table import table_of

HEAD = ("STATE", "SEVERITY", "RULE", "WHERE", "FINDING", "REASON")
ROWS: list[tuple[str, ...]] = [
    (
        "deferred",
        "low",
        "mypy no-untyped-def",
        "tests/test_statsutils_histogram.py:12",
        "f has no types",
        "none can",
    ),
    ("resolved", "medium", "ruff F401", "a.py:1", "`os` imported but unused", ""),
]


def shown(head: tuple[str, ...], rows: list[tuple[str, ...]], width: int) -> list[str]:
    """The lines of a table on a screen of this width."""
    screen = Screen(io.StringIO(), width=width)
    screen.print(table_of(head, rows, width))
    assert isinstance(screen.file, io.StringIO)
    return [line.rstrip() for line in screen.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_word_is_broken_and_none_is_lost(width: int) -> None:
    """Whatever the width is, as long as it holds the longest word."""
    lines = shown(HEAD, ROWS, width)
    assert all(len(line) <= width for line in lines)
    words = {word for line in lines for word in line.replace(",", " ").split()}
    assert {word for cell in (*HEAD, *chain(*ROWS)) for word in cell.replace(",", " ").split()} == words


def test_what_has_no_room_stands_below_its_row() -> None:
    """Under a head that says what it is; an empty cell takes no line."""
    assert shown(HEAD, ROWS, 80) == [
        "STATE     SEVERITY  RULE                 WHERE",
        "  FINDING, REASON",
        "deferred  low       mypy no-untyped-def  tests/test_statsutils_histogram.py:12",
        "  f has no types",
        "  none can",
        "resolved  medium    ruff F401            a.py:1",
        "  `os` imported but unused",
    ]


def test_a_word_that_is_wider_than_the_screen_is_cut_and_not_lost() -> None:
    """It goes on in the next line."""
    assert shown(("PATH",), [("a" * 25,)], 10) == ["PATH", "a" * 10, "a" * 10, "a" * 5]
