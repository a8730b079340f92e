"""A table with a lifecycle as the transition service sees it: its statements, each compiled once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Column, insert, literal_column, null, select, update
from sqlalchemy.orm import make_transient_to_detached

from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.canonical.machine import Edge, Fill, Machine
from prefect_acms.dao.encoding import Encoder, Reading
from prefect_acms.dao.redaction import Scrubber
from prefect_acms.dao.schema import StateRow, table_of
from prefect_acms.dao.statements import Compiler, Statement, parameter

S = TypeVar("S", bound=StateRow)
Values = Mapping[str, Any]

_ALWAYS = frozenset({"id", "state", "version", "updated_at", "run_id", "workstream_id"})
_GATHERED_FROM: Mapping[str, tuple[str, ...]] = {
    "workstreams": ("config",),
    "heartbeat_age_sec": ("last_heartbeat",),
    "open_for_sec": ("opened_at",),
    "exit_gate_states": ("task_id",),
}
"""Fact -> the columns of the row from which it is gathered."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The UPDATE of one edge, and the columns that the caller must hand in for it."""

    statement: Statement
    required: tuple[str, ...]


def _default(column: Column[Any]) -> tuple[str, Any]:
    """The default of a column: a value, or a function that makes one."""
    return column.name, getattr(column.default, "arg", None)


def _looked_at(machine: Machine) -> dict[str, set[str]]:
    """The columns that guards may look at, by the triggers of their edges."""
    found: dict[str, set[str]] = {}
    for edge in (edge for edges in machine.table.values() for edge in edges if edge.guard):
        needs = edge.guard.needs if edge.guard else ()
        for trigger in edge.triggers:
            found.setdefault(trigger, set()).update(needs, *(_GATHERED_FROM.get(need, ()) for need in needs))
    return found


class Lifecycle(Generic[S]):
    """One table, one machine, and every statement that was needed so far, compiled once."""

    def __init__(self, row: type[S], compiler: Compiler, scrubber: Scrubber, *, locks: bool) -> None:
        self.row = row
        self.machine = row.machine
        self.entity = row.machine.entity
        self.table = table_of(row)
        self.encode = Encoder(self.table, scrubber)
        self.every = Reading(list(self.table.columns), json_as_text=not locks)
        self.as_written = Reading(list(self.table.columns), json_as_text=True)
        self.run_key = "id" if self.entity == "run" else self._if_there("run_id")
        self.workstream_key = "id" if self.entity == "workstream" else self._if_there("workstream_id")
        self._compile = compiler
        self._locks = locks
        self._attributes = {
            column.name: attribute.key for attribute in row.__mapper__.column_attrs for column in attribute.columns
        }
        self._defaults = {name: default for name, default in map(_default, self.table.columns) if default is not None}
        self._looked_at = _looked_at(self.machine)
        self._readings: dict[tuple[str, tuple[str, ...]], Reading] = {}
        self._selects: dict[tuple[Any, ...], Statement] = {}
        self._shapes: dict[tuple[Any, ...], Shape] = {}
        self._changes: dict[tuple[str, ...], Statement] = {}
        self.insert = compiler(insert(self.table).inline().values(self._handed(self.every.names)))

    def _if_there(self, column: str) -> str | None:
        return column if column in self.table.c else None

    def reading(self, trigger: str = "", also: tuple[str, ...] = ()) -> Reading:
        """What a read fetches for that trigger: the few columns that all need, and those that its guards look at."""
        found = self._readings.get((trigger, also))
        if found is None:
            wanted = {*_ALWAYS, *also, *self._looked_at.get(trigger, ())}
            found = self._readings[trigger, also] = self._reading_of(wanted)
        return found

    def _reading_of(self, names: set[str]) -> Reading:
        columns = [column for column in self.table.columns if column.name in names]
        return Reading(columns, json_as_text=not self._locks)

    def select(self, reading: Reading, count: int, *, lock: bool) -> Statement:
        """SELECT by `count` ids, locking the rows where the database locks rows."""
        key = (reading.names, count, lock)
        statement = self._selects.get(key)
        if statement is None:
            statement = self._selects[key] = self._compile(self._selecting(reading, count, lock=lock and self._locks))
        return statement

    def _selecting(self, reading: Reading, count: int, *, lock: bool) -> Any:
        ids = [parameter(f"id{n}", self.table.c.id) for n in range(count)]
        where = self.table.c.id == ids[0] if count == 1 else self.table.c.id.in_(ids)
        statement = select(*(self.table.c[name] for name in reading.names)).where(where)
        # always in one order, so that two who lock the same rows don't wait for each other; children refer to the row
        # meanwhile, so its key stays unlocked
        return statement.order_by(self.table.c.id).with_for_update(key_share=True) if lock else statement

    def transition(self, source: str, edge: Edge, columns: tuple[str, ...]) -> Shape:
        """The guarded UPDATE of an edge: its own columns, those that are handed in, and nothing else."""
        key = (source, edge.target, columns)
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._shapes[key] = self._shape(edge, columns)
        return shape

    def _shape(self, edge: Edge, columns: tuple[str, ...]) -> Shape:
        required = tuple(name for name, fill in edge.sets.items() if fill is Fill.GIVEN)
        own = [name for name in columns if name in edge.sets and name not in required]
        if own:
            expected = f"no value: the edge sets it to {edge.sets[own[0]]}"
            raise InvalidValue(field=f"{self.entity}.{own[0]}", value="handed in", expected=expected)
        return Shape(self._compile(self._guarded({**self._fills(edge), **self._handed(columns)}, edge)), required)

    def change(self, columns: tuple[str, ...]) -> Statement:
        """UPDATE of columns that are not the service's own, guarded by state and version."""
        if columns not in self._changes:
            self._changes[columns] = self._compile(self._guarded(self._handed(columns), None))
        return self._changes[columns]

    def _guarded(self, values: dict[str, Any], edge: Edge | None) -> Any:
        c = self.table.c
        state = {"state": parameter("to", c.state)} if edge else {}
        common = {"version": c.version + literal_column("1"), "updated_at": parameter("now", c.updated_at)}
        seen = (c[name] == parameter(f"seen_{name}", c[name]) for name in ("id", "state", "version"))
        return update(self.table).where(*seen).values({**state, **common, **values})

    def _handed(self, columns: tuple[str, ...]) -> dict[str, Any]:
        for name in columns:
            self.encode.know(name)
        return {name: parameter(name, self.table.c[name]) for name in columns}

    def _fills(self, edge: Edge) -> dict[str, Any]:
        fills: dict[str, Any] = {}
        for name, fill in edge.sets.items():
            column = self.table.c[name]
            match fill:
                case Fill.NOW:
                    fills[name] = parameter("now", column)
                case Fill.CLEARED:
                    fills[name] = null()
                case Fill.PLUS_ONE:
                    fills[name] = column + literal_column("1")
                case Fill.ZERO:
                    fills[name] = literal_column("0")
                case Fill.GIVEN:
                    fills[name] = parameter(name, column)
        return fills

    def with_defaults(self, columns: Values) -> dict[str, Any]:
        """The values of a new row, before they are encoded."""
        defaults = {name: value(None) if callable(value) else value for name, value in self._defaults.items()}
        return {**dict.fromkeys(self.every.names), **defaults, **columns}

    def detached(self, values: Values) -> S:
        """A row object with these stored values, bound to no session."""
        row: S = self.row.__mapper__.class_manager.new_instance()
        row.__dict__.update({self._attributes[name]: value for name, value in values.items()})
        make_transient_to_detached(row)
        return row
