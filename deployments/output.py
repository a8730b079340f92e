"""How lists are printed: a table for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from prefect_acms.canonical.errors import InvalidValue

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel
    from rich.console import Console, RenderableType
    from rich.syntax import Syntax

    from prefect_acms.deployments.screen import Screen
    from prefect_acms.tasks.retrials import Retrial


def emit_json(value: Any) -> None:
    """Print a value as JSON, keys in their documented order."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def emit_records(records: Iterable[BaseModel]) -> None:
    """Print records as a JSON array."""
    emit_json([record.model_dump(mode="json") for record in records])


def console(*, to_stderr: bool = False) -> Screen:
    """The screen on standard output, or on standard error where that is for a program."""
    from prefect_acms.deployments.screen import Screen

    return Screen(sys.stderr if to_stderr else sys.stdout)


def say(renderable: RenderableType, on: Console | None = None) -> None:
    """Print a renderable; without a terminal, no line ends in blanks."""
    screen = on or console()
    if screen.is_terminal:
        screen.print(renderable)
        return
    with screen.capture() as captured:
        screen.print(renderable)
    screen.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def emit_table(head: Sequence[str], rows: Sequence[Sequence[str]], nothing: str) -> None:
    """Print rows under a head, or a sentence when there are none; a column called STATE is coloured."""
    from prefect_acms.deployments.table import table_of

    if not rows:
        click.echo(nothing)
        return
    screen = console()
    say(table_of(head, rows, screen.width), screen)


def show_diff(text: str) -> None:
    """Print a diff for people, in colours on a terminal."""
    from prefect_acms.tasks.reports.text import printable

    if sys.stdout.isatty():
        console().print(coloured_diff(text))
    else:
        click.echo(printable(text))


def coloured_diff(text: str) -> Syntax:
    """A diff in the terminal's own colours; what steers a terminal is shown, not obeyed."""
    from rich.syntax import Syntax

    from prefect_acms.tasks.reports.text import printable

    return Syntax(printable(text), "diff", theme="ansi_dark", background_color="default", word_wrap=True)


def emit_retrial(done: Retrial, *, as_json: bool) -> int:
    """Print what became of a patch; the exit code is 1 if it was to go in and did not."""
    from prefect_acms.tasks.reports.text import printable

    if as_json:
        emit_json(asdict(done))
    else:
        click.echo(printable(done.sentence))
    return 0 if done.went_well else 1


def emit_file(content: bytes, output: Path | None) -> None:
    """Write an export to a file, whole or not at all, or to the standard output; raises InvalidValue for `--output`."""
    from prefect_acms.tasks.documents import write_atomically

    if output is None:
        sys.stdout.buffer.write(content)
        return
    try:
        write_atomically(output, content)
    except OSError as error:
        expected = f"a file that can be written ({error.strerror})"
        raise InvalidValue(field="--output", value=str(output), expected=expected) from error
