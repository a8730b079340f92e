"""How values of columns are stored, and how stored values become Python's again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, Boolean, Column, Table, Text

from prefect_acms.canonical.clock import utc_text
from prefect_acms.canonical.errors import InvalidValue, UnknownName
from prefect_acms.dao.chain import canonical_json
from prefect_acms.dao.redaction import Scrubber
from prefect_acms.dao.schema import MOMENT

Encode = Callable[[Any], Any]

SERVICE_OWNS = frozenset({"id", "state", "version", "created_at", "updated_at"})
"""Columns that nobody but the transition service writes."""

TOLD = frozenset({"source", "rule_id", "category", "name", "host"})
"""Short columns in which others' words stand; the other short ones hold ids, states and addresses of ours."""

_MOMENT_WIDTH = 27


class Encoder:
    """Turns the values of one table's columns into what the driver stores; refuses what can't be stored."""

    def __init__(self, table: Table, scrubber: Scrubber) -> None:
        self._table = table.name
        self._scrubber = scrubber
        self._by_column = {column.name: self._encode_of(column) for column in table.columns}

    def __call__(self, name: str, value: Any) -> Any:
        """The stored form of a value; raises UnknownName for a column that is not there, InvalidValue."""
        if name not in self._by_column:
            self.know(name)
        return None if value is None else self._by_column[name](value)

    def know(self, name: str) -> None:
        """Raises UnknownName for a column that is not there."""
        if name not in self._by_column:
            known = sorted(set(self._by_column) - SERVICE_OWNS)
            raise UnknownName(kind=f"column of {self._table}", name=name, known=known)

    def _encode_of(self, column: Column[Any]) -> Encode:
        field, scrubber = f"{self._table}.{column.name}", self._scrubber
        if isinstance(column.type, JSON):
            return lambda value: canonical_json(json_value(field, value, scrubber))
        if column.type is MOMENT:
            return lambda value: _moment_text(field, value)
        if isinstance(column.type, Text) or column.name in TOLD:
            return lambda value: scrubber.text(str(_plain(field, value)))
        return lambda value: _plain(field, value)


def _plain(field: str, value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str | int | float):
        return value
    raise InvalidValue(field=field, value=value, expected="a text, a number or a truth value")


def _moment_text(field: str, value: Any) -> str:
    if isinstance(value, datetime):
        return utc_text(value)
    if isinstance(value, str) and len(value) == _MOMENT_WIDTH and value.endswith("Z"):
        return value
    raise InvalidValue(field=field, value=value, expected="a datetime, or UTC text with microseconds and Z")


def json_value(field: str, value: Any, scrubber: Scrubber) -> Any:
    """The value as JSON would give it back, without secrets; raises InvalidValue for what JSON doesn't know."""
    try:
        return json.loads(canonical_json(scrubber.value(value)))
    except (TypeError, ValueError, RecursionError) as problem:
        raise InvalidValue(field=field, value=value, expected=f"a JSON value ({problem})") from None


class Reading:
    """Which columns a read fetches, and how a fetched row becomes values by name."""

    def __init__(self, columns: Sequence[Column[Any]], *, json_as_text: bool) -> None:
        self.names = tuple(column.name for column in columns)
        # psycopg has read the JSON already, and a text that it gives is a JSON text that was read
        self._json = tuple(column.name for column in columns if json_as_text and isinstance(column.type, JSON))
        self._truths = tuple(column.name for column in columns if isinstance(column.type, Boolean))

    def __call__(self, values: Sequence[Any]) -> dict[str, Any]:
        """The row by column name, as Python values: JSON is read, and SQLite's 0 and 1 are truth values."""
        row = dict(zip(self.names, values, strict=True))
        for name in self._json:
            if isinstance(row[name], str):  # SQLite keeps a JSON number as a number
                row[name] = json.loads(row[name])
        for name in self._truths:
            if row[name] is not None:
                row[name] = bool(row[name])
        return row
