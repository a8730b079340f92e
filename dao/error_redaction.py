"""Errors without secrets: what one says may reach a terminal, a log, or the message of a Prefect state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from prefect_acms.dao.redaction import redact


@contextmanager
def clean_errors() -> Iterator[None]:
    """A block out of which no exception carries a secret."""
    try:
        yield
    except BaseException as error:
        clean_error(error)
        raise


def clean_error(error: BaseException) -> None:
    """Take the secrets out of an exception, and out of those that led to it; it stays the same exception."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        _clean(found)
        waiting += [found.__cause__, found.__context__]
        if isinstance(found, BaseExceptionGroup):
            waiting += found.exceptions


def _clean(error: BaseException) -> None:
    error.args = tuple(_cleaned(value) for value in error.args)
    for name, value in list(vars(error).items()):
        clean = _cleaned(value)
        if clean is not value:
            with suppress(AttributeError, TypeError):  # what can't be set was made by code that is not ours
                setattr(error, name, clean)


def _cleaned(value: Any) -> Any:
    """The same value where there is nothing to hide in it."""
    match value:
        case str():
            clean: Any = redact(value)
        case bytes():
            clean = redact(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        case dict():
            clean = {name: _cleaned(item) for name, item in value.items()}
        case list() | tuple() if type(value) in {list, tuple}:
            clean = type(value)(map(_cleaned, value))
        case _:
            return value
    return value if clean == value else clean
