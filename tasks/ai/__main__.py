"""The program in which models are asked: `python -m prefect_acms.tasks.ai edit|scan`, in the work tree it is about."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import IntEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click
from pydantic import BaseModel, ValidationError

from prefect_acms.canonical.errors import BadInput, ExtraMissing, GuardrailViolation, InvalidDocument, InvalidValue
from prefect_acms.dao.redaction import environment_redactor, redact
from prefect_acms.tasks.ai.disclosure import Disclosure
from prefect_acms.tasks.ai.scanning import ScanRequest
from prefect_acms.tasks.ai.session import AWAY, SESSION, Session

if TYPE_CHECKING:
    from prefect_acms.tasks.ai.asking import Asker

_Model = TypeVar("_Model", bound=BaseModel)


class Exit(IntEnum):
    """How the program ends."""

    DONE = 0
    NOTHING = 1
    """Nothing was changed or found out, and it says why: the model declined, or what it proposed never fitted."""
    BAD_INPUT = 2
    AWAY = AWAY
    """The provider did not answer, or turned the request away."""


@click.group()
def program() -> None:
    """Ask a model about the work tree in the current folder; ACMS_AI in the environment says which."""
    environment_redactor()


_REQUEST = click.option("--request", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True)
_USAGE = click.option("--usage", type=click.Path(path_type=Path, dir_okay=False), help="Where the usage is kept.")


@program.command("edit")
@_REQUEST
@_USAGE
@click.option("--strong", is_flag=True, help="Ask the stronger of the two models.")
def edit_command(request: Path, usage: Path | None, *, strong: bool) -> None:
    """Mend what the request is about, by edits of the files."""
    from prefect_acms.tasks.tool_requests import ToolRequest  # noqa: PLC0415 - only what is asked for is loaded

    asked = _read(request, ToolRequest)

    def work(asker: Asker, disclosure: Disclosure) -> str:
        from prefect_acms.tasks.ai.editing import edit  # noqa: PLC0415 - pydantic-ai takes a second

        return edit(asker, disclosure, asked)

    _run(work, usage, strong=strong)


@program.command("scan")
@_REQUEST
@_USAGE
@click.option("--answer", type=click.Path(path_type=Path, dir_okay=False), required=True)
def scan_command(request: Path, usage: Path | None, answer: Path) -> None:
    """Look for faults, or for what has become of known ones; the gaps are written to a file."""
    asked = _read(request, ScanRequest)

    def work(asker: Asker, disclosure: Disclosure) -> str:
        from prefect_acms.tasks.ai.finding import scan  # noqa: PLC0415 - pydantic-ai takes a second

        found = scan(asker, disclosure, asked)
        answer.write_text(found.model_dump_json(), encoding="utf-8")
        return f"{len(found.gaps)} gaps"

    _run(work, usage, strong=False)


def _read(path: Path, model: type[_Model]) -> _Model:
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        _end(Exit.BAD_INPUT, str(InvalidDocument(path=path, where=where, problem=first["msg"])))


def _run(work: Callable[[Asker, Disclosure], str], usage: Path | None, *, strong: bool) -> NoReturn:
    """Do the work with the session that was handed over, and end the process as it came out."""
    try:
        if find_spec("pydantic_ai") is None:
            raise ExtraMissing(what="asking a model", library="pydantic-ai", choice="ai")
        session = Session.given()
        if session.strong is not strong:
            expected = f"the {'stronger' if strong else 'first'} model, which this command asks"
            raise InvalidValue(field=SESSION, value=session.model, expected=expected)
        from prefect_acms.tasks.ai.asking import Asker, NoAnswer, ProviderAway  # noqa: PLC0415 - it takes a second
    except BadInput as error:
        _end(Exit.BAD_INPUT, str(error))
    try:
        done = work(Asker(session, usage), Disclosure.of(Path.cwd(), session.withheld))
    except BadInput as error:
        _end(Exit.BAD_INPUT, str(error))
    except (NoAnswer, GuardrailViolation) as error:
        _end(Exit.NOTHING, str(error))
    except ProviderAway as error:
        _end(Exit.AWAY, str(error))
    _end(Exit.DONE, done)


def _end(code: Exit, said: str) -> NoReturn:
    click.echo(redact(said), err=code is not Exit.DONE)
    sys.exit(code)


if __name__ == "__main__":
    program()
