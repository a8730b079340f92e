"""Statements compiled once for the dialect, run by the driver's own cursor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, ClauseElement, ColumnElement, bindparam
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

# SQLAlchemy keeps a column's own name for itself in VALUES and SET, so ours are prefixed
_OURS = "p_"

_PARAMSTYLES = {"sqlite": "qmark", "postgresql": "format"}


def parameter(name: str, like: ColumnElement[Any] | TypeEngine[Any]) -> BindParameter[Any]:
    """A place in a statement for a value of that type, or of that column's type, known by that name."""
    return bindparam(_OURS + name, required=False, type_=like if isinstance(like, TypeEngine) else like.type)


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL in the driver's words, the names of its parameters in their order, and those that never change."""

    sql: str
    names: tuple[str, ...]
    constants: Mapping[str, Any]

    def bind(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """The parameters in the driver's order."""
        if self.constants:
            values = {**self.constants, **values}
        return tuple([values[name] for name in self.names])


class Compiler:
    """Writes SQLAlchemy's expressions in the words of one database."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = type(dialect)(paramstyle=_PARAMSTYLES[dialect.name])  # type: ignore[call-arg]

    def __call__(self, expression: ClauseElement) -> Statement:
        """Compile once; the caller keeps the result."""
        compiled = expression.compile(dialect=self._dialect, compile_kwargs={"render_postcompile": True})
        if not isinstance(compiled, SQLCompiler):
            raise TypeError(expression)
        names = compiled.positiontup or ()
        constants = {name: value for name, value in compiled.params.items() if not name.startswith(_OURS)}
        return Statement(str(compiled), tuple(name.removeprefix(_OURS) for name in names), constants)
