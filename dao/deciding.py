"""The inner steps of a transition: read the row, gather the facts, decide, write, tell; each does one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, TypeVar

from prefect_acms.canonical.errors import InvalidValue, LostRace, MissingColumn, NotFound, StateAssignmentRefused
from prefect_acms.canonical.events import Event
from prefect_acms.canonical.machine import Edge, Severity
from prefect_acms.dao.chain import GLOBAL, chain_of
from prefect_acms.dao.encoding import SERVICE_OWNS, Reading
from prefect_acms.dao.lifecycles import Lifecycle
from prefect_acms.dao.reading import Dao
from prefect_acms.dao.schema import StateRow
from prefect_acms.dao.statements import Statement

if TYPE_CHECKING:
    from prefect_acms.dao.unit import UnitOfWork

S = TypeVar("S", bound=StateRow)
Values = Mapping[str, Any]

_AT_ONCE = 200
"""Rows that one SELECT fetches at most."""


@dataclass(slots=True)
class Cause:
    """Why something is asked for, made fit to be stored."""

    trigger: str
    now: str
    reason: str | None = None
    operator: str | None = None
    metadata: Values = field(default_factory=dict)
    to: str | None = None
    facts: Values = field(default_factory=dict)
    columns: Values = field(default_factory=dict)
    epoch: int | None = None
    version: int | None = None


@dataclass(slots=True)
class Step:
    """A transition that is decided and not yet written."""

    row: dict[str, Any]
    edge: Edge
    now: str
    statement: Statement
    parameters: tuple[Any, ...]
    workstream_id: str | None


def _merged(implied: Values, given: Values) -> Values:
    if not implied:
        return given
    both = {**implied, **given}
    if "metadata" in implied and "metadata" in given:
        both["metadata"] = {**given["metadata"], **implied["metadata"]}
    return both


class Deciding(Dao[S], Generic[S]):
    """What the transition service is made of."""

    fixed: ClassVar[frozenset[str]] = frozenset()
    """Columns that keep the value they were created with."""
    fixed_later: ClassVar[frozenset[str]] = frozenset()
    """Columns that keep the value they have when the row leaves the first state of its machine."""

    brings_metadata: ClassVar[bool] = False
    """Whether `_implied` may bring metadata."""

    def __init__(self, unit: UnitOfWork) -> None:
        super().__init__(unit)
        self._life: Lifecycle[S] = unit.store.lifecycle(self.row)
        self._desk = unit.desk

    def _implied(self, _trigger: str, _edge: Edge, _facts: Values) -> Values:
        """Columns that a transition brings with it although the table of its machine doesn't say so."""
        return {}

    def _refuse_own(self, columns: Values) -> None:
        for name in SERVICE_OWNS.intersection(columns):
            if name == "state":
                raise StateAssignmentRefused(entity=self.entity, attempt=f"setting it to {columns[name]!r}")
            self._refuse(name, columns[name], "no value: the store keeps it")

    def _refuse_fixed(self, columns: Values) -> None:
        for name in self.fixed.intersection(columns):
            self._refuse(name, columns[name], "no value: it is fixed once the row exists")

    def _refuse_late(self, row: Values, columns: Values) -> None:
        if row["state"] != self._life.machine.initial:
            for name in self.fixed_later.intersection(columns):
                self._refuse(name, columns[name], f"no value: it is fixed once the {self.entity} is {row['state']}")

    def _refuse(self, column: str, value: Any, expected: str) -> NoReturn:
        raise InvalidValue(field=f"{self.entity}.{column}", value=value, expected=expected)

    def _read(self, ids: Sequence[str], cause: Cause, also: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
        """The rows by id, their chains locked before them; raises NotFound and, for a stale epoch, Superseded."""
        if "metadata" in cause.columns or self.brings_metadata:
            also += ("metadata",)
        if self._unit.store.locks:
            found = self._fetch(ids, self._life.reading(), lock=False)
            for chain in sorted({self._chain(row) for row in found.values()}):
                self._unit.trail.head(chain)
        rows = self._fetch(ids, self._life.reading(cause.trigger, also), lock=True)
        for id_ in ids:
            if id_ not in rows:
                raise NotFound(entity=self.entity, id=id_)
        if cause.epoch is not None:
            for chain in {self._chain(row): None for row in rows.values()}:
                if chain == GLOBAL:
                    self._refuse("epoch", cause.epoch, f"none: the {self.entity} belongs to no run")
                self._unit.check_epoch(chain, cause.epoch)
        return rows

    def _fetch(self, ids: Sequence[str], reading: Reading, *, lock: bool) -> dict[str, dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {}
        for start in range(0, len(ids), _AT_ONCE):
            some = tuple(ids[start : start + _AT_ONCE])
            # few sizes, so that few statements are compiled; the last id fills up
            count = 1 if len(some) == 1 else next(size for size in (10, 50, _AT_ONCE) if size >= len(some))
            sql = self._life.select(reading, count, lock=lock).sql
            for row in map(reading, self._desk.run(sql, some + some[-1:] * (count - len(some))).fetchall()):
                rows[row["id"]] = row
        return rows

    def _chain(self, row: Values) -> str:
        key = self._life.run_key
        return chain_of(row[key] if key else None)

    def _workstream(self, row: Values) -> str | None:
        key = self._life.workstream_key
        return row[key] if key else None

    def _decide(self, row: dict[str, Any], cause: Cause) -> Step:
        """The step that is due, with all that it writes; raises a TransitionError."""
        life, machine = self._life, self._life.machine
        id_, state, trigger = row["id"], row["state"], cause.trigger
        if cause.version is not None and cause.version != row["version"]:
            raise LostRace(entity=self.entity, id=id_, seen=cause.version, found=row["version"])
        edges = machine.candidates(id_, state, trigger, cause.to)
        known = self._facts(row, edges, cause)
        edge = machine.decide(id_, state, edges, known, operator=cause.operator, trigger=trigger)
        given = _merged(self._implied(trigger, edge, known), cause.columns)
        shape = life.transition(state, edge, tuple(given))
        for column in shape.required:
            if given.get(column) is None:
                raise MissingColumn(entity=self.entity, id=id_, state=state, target=edge.target, column=column)
        now = max(cause.now, row["updated_at"])
        stored = self._stored(given, row, now)
        stored["to"] = str(edge.target)
        return Step(row, edge, now, shape.statement, shape.statement.bind(stored), self._workstream({**row, **given}))

    def _facts(self, row: dict[str, Any], edges: tuple[Edge, ...], cause: Cause) -> Values:
        """What the guards of these edges may look at; what is stored goes before what the caller states."""
        needs = dict.fromkeys(need for edge in edges if edge.guard for need in edge.guard.needs)
        if not needs:
            return {}
        known = {**cause.facts, **row, **cause.columns, "trigger": cause.trigger, "operator": cause.operator}
        known.update(self._unit.store.asker.gather(self.entity, needs, self._desk, row, cause.columns))
        return known

    def _stored(self, columns: Values, row: dict[str, Any], now: str) -> dict[str, Any]:
        """The parameters of a guarded UPDATE: new values, and what was seen."""
        if self.fixed_later:
            self._refuse_late(row, columns)
        encode = self._life.encode
        stored = {name: encode(name, value) for name, value in columns.items() if name != "metadata"}
        if "metadata" in columns:
            stored["metadata"] = encode("metadata", {**row["metadata"], **columns["metadata"]})
        stored["now"] = now
        stored["seen_id"], stored["seen_state"], stored["seen_version"] = row["id"], row["state"], row["version"]
        return stored

    def _write(self, steps: Sequence[Step]) -> None:
        """The guarded UPDATEs; raises LostRace where a row is no longer what was read."""
        if len(steps) == 1:
            self._update(steps)
            return
        alike: dict[str, list[Step]] = {}
        for step in steps:
            alike.setdefault(step.statement.sql, []).append(step)
        for some in alike.values():
            self._update(some)

    def _update(self, steps: Sequence[Step]) -> None:
        sql, about = steps[0].statement.sql, (self.entity, steps[0].row["id"])
        if len(steps) == 1:
            changed = self._desk.run(sql, steps[0].parameters, about).rowcount
        else:
            changed = self._desk.run_many(sql, [step.parameters for step in steps], about).rowcount
        if changed != len(steps):
            self._lost([step.row for step in steps], str(steps[0].edge.target))

    def _lost(self, rows: Sequence[dict[str, Any]], target: str | None = None) -> NoReturn:
        """Name the row that somebody else changed; what was written before it in the same step must not stay."""
        found = self._fetch([row["id"] for row in rows], self._life.reading(), lock=False)
        gone = {"state": None, "version": None}
        pairs = [(row, found.get(row["id"], gone)) for row in rows]
        ours = [(row["version"] + 1, target) == (now["version"], now["state"]) for row, now in pairs]
        row, now = pairs[ours.index(False)] if False in ours else pairs[0]
        self._desk.failure = LostRace(entity=self.entity, id=row["id"], seen=row["version"], found=now["version"])
        raise self._desk.failure

    def _tell(
        self, row: Values, cause: Cause, *, now: str, from_state: str | None, to_state: str, severity: Severity,
        workstream_id: str | None,
    ) -> Event:  # fmt: skip
        return self._unit.trail.add(
            self._chain(row),
            entity=self.entity,
            entity_id=row["id"],
            from_state=from_state,
            to_state=to_state,
            trigger=cause.trigger,
            now=now,
            severity=severity,
            reason=cause.reason,
            metadata=cause.metadata,
            operator=cause.operator,
            workstream_id=workstream_id,
        )

    def _tell_step(self, step: Step, cause: Cause) -> Event:
        return self._tell(
            step.row,
            cause,
            now=step.now,
            from_state=step.row["state"],
            to_state=str(step.edge.target),
            severity=step.edge.severity,
            workstream_id=step.workstream_id,
        )
