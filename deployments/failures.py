"""From an exception to the one sentence and the exit code that the caller gets."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

import click

from prefect_acms.canonical.errors import AcmsError

if TYPE_CHECKING:
    from pydantic import ValidationError

CANCELLED = 130
BROKEN_PIPE = 141
FAILED = 1
BAD_INPUT = 2


class Failure(NamedTuple):
    """What is told on stderr, and what the process exits with."""

    sentence: str
    exit_code: int


def failure_of(error: Exception) -> Failure | None:
    """The failure that an exception means, or None for one that nobody foresaw: that one deserves its traceback."""
    if isinstance(error, AcmsError):
        return Failure(str(error), error.exit_code)
    if isinstance(error, click.ClickException):
        return Failure(_click_sentence(error), error.exit_code)
    if isinstance(error, OSError):
        told = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return Failure(told or type(error).__name__, FAILED)
    if _is_validation_error(error):
        return Failure(validation_sentence(error), BAD_INPUT)
    if isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        # what ends a worker of Prefect comes out of its group of tasks
        return failure_of(error.exceptions[0])
    return _of_prefect(error)


def _of_prefect(error: Exception) -> Failure | None:
    """The failure that the Prefect server did not do what it was asked for, as far as no command has said it better."""
    # as above: who has talked to a server has imported these
    prefect, httpx = sys.modules.get("prefect.exceptions"), sys.modules.get("httpx")
    if prefect is None or httpx is None:
        return None
    trouble = error.__cause__ if type(error).__name__ == "DeploymentApplyError" else error
    if not isinstance(trouble, httpx.HTTPError | prefect.ObjectNotFound | prefect.ObjectAlreadyExists):
        return None
    from prefect.settings import PREFECT_API_URL

    from prefect_acms.canonical.errors import ServerUnavailable
    from prefect_acms.tasks.prefect_server import problem_of

    answer = getattr(trouble, "http_exc", trouble)
    return failure_of(ServerUnavailable(url=PREFECT_API_URL.value() or "of this process", problem=problem_of(answer)))


def _click_sentence(error: click.ClickException) -> str:
    sentence = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{sentence} (see `{context.command_path} --help`)" if context is not None else sentence


def _is_validation_error(error: Exception) -> TypeGuard[ValidationError]:
    # pydantic is not imported only to find out: who raised it has imported it
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(error, pydantic.ValidationError)


def validation_sentence(error: ValidationError) -> str:
    """Name the first wrong field, its value, and what was expected; further ones are counted."""
    found = error.errors(include_url=False, include_context=False)
    first = found[0]
    field = ".".join(str(part) for part in first["loc"]) or "the configuration"
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"there is no setting {field}{more}"
    if first["type"] == "missing":
        return f"{field} is missing{more}"
    expected = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return f"{field} is {first['input']!r}: expected {expected}{more}"
