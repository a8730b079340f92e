"""The screen: a rich console that neither interprets foreign text nor decides when the process ends."""

from __future__ import annotations

from typing import IO, NoReturn

from rich.console import Console

WIDE = 10_000
"""Columns for output that no screen cuts: a program or a file gets whole lines."""


class Screen(Console):
    """A console without markup, highlighting and emoji codes; without a terminal, its lines are never cut."""

    def __init__(self, file: IO[str], *, width: int | None = None, force_terminal: bool | None = None) -> None:
        wide = width or (None if force_terminal or file.isatty() else WIDE)
        super().__init__(
            file=file, width=wide, force_terminal=force_terminal, markup=False, highlight=False, emoji=False
        )

    def on_broken_pipe(self) -> NoReturn:
        """Tell the caller; rich would exit the process, or only the thread that happens to print."""
        raise BrokenPipeError
