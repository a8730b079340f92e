"""The transition service: the only code that writes a `state` column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

from prefect_acms.canonical.clock import utc_text
from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.canonical.events import CREATED, Event, Notice
from prefect_acms.canonical.machine import Severity
from prefect_acms.canonical.names import stored_name
from prefect_acms.dao.deciding import Cause, Deciding, Values
from prefect_acms.dao.encoding import json_value
from prefect_acms.dao.schema import StateRow

S = TypeVar("S", bound=StateRow)


class StateDao(Deciding[S]):
    """The rows of one lifecycle: created, read, moved along the edges of their machine, and nothing else."""

    prefix: ClassVar[str]

    def create(
        self,
        *,
        reason: str | None = None,
        metadata: Values | None = None,
        id: str | None = None,  # noqa: A002 - the name of the column
        **columns: Any,
    ) -> S:
        """Store a new row in the first state of its machine, and give it detached; `metadata` is the row's."""
        life, unit = self._life, self._unit
        self._refuse_own(columns)
        unit.admit()
        cause = self._cause(CREATED, reason=reason)
        given = {**self._completed(columns), "metadata": dict(metadata or {})}
        own = {"id": id or unit.store.ids.new(self.prefix), "state": life.machine.initial.value, "version": 1}
        values = {**life.with_defaults(given), **own, "created_at": cause.now, "updated_at": cause.now}
        stored = {name: life.encode(name, value) for name, value in values.items()}
        unit.trail.head(self._chain(stored))
        self._desk.run(life.insert.sql, life.insert.bind(stored), (life.entity, stored["id"]))
        row = life.as_written([stored[name] for name in life.every.names])
        place = {"now": cause.now, "from_state": None, "to_state": row["state"], "workstream_id": self._workstream(row)}
        self._tell(row, cause, **place, severity=Severity.INFO)
        return life.detached(row)

    def find(self, id: str) -> S | None:  # noqa: A002 - the name of the column
        """The row of that id, detached, or None; by the driver's cursor, since it is asked for so often."""
        self._unit.check_open()
        found = self._fetch((id,), self._life.every, lock=False)
        return self._life.detached(found[id]) if found else None

    def advance(
        self,
        id: str,  # noqa: A002 - the name of the column
        trigger: str,
        *,
        to: str | None = None,
        reason: str | None = None,
        operator: str | None = None,
        event_metadata: Values | None = None,
        facts: Values | None = None,
        epoch: int | None = None,
        version: int | None = None,
        **columns: Any,
    ) -> Event:
        """Move one row along an edge of its machine, all or nothing.

        `facts` state what the database can't know, `columns` are written by the same UPDATE, `epoch` is that of the
        run's driver, `version` is what the caller has read. Raises a TransitionError, and then nothing was changed.
        """
        cause = self._cause(
            trigger, to=to, reason=reason, operator=operator, metadata=event_metadata, facts=facts, epoch=epoch,
            version=version, columns=columns,
        )  # fmt: skip
        self._unit.admit()
        step = self._decide(self._read((id,), cause)[id], cause)
        self._write((step,))
        return self._tell_step(step, cause)

    def advance_many(
        self,
        ids: Sequence[str],
        trigger: str,
        *,
        to: str | None = None,
        reason: str | None = None,
        operator: str | None = None,
        event_metadata: Values | None = None,
        facts: Values | None = None,
        epoch: int | None = None,
        **columns: Any,
    ) -> list[Event]:
        """Move many rows by one trigger, in the order given; if one is refused, none is moved.

        Guards see the database as it is before the first of them moves.
        """
        if len(set(ids)) != len(ids):
            raise InvalidValue(field=f"ids of {self.entity}s to {trigger}", value=ids, expected="each id once")
        cause = self._cause(
            trigger, to=to, reason=reason, operator=operator, metadata=event_metadata, facts=facts, epoch=epoch,
            columns=columns,
        )  # fmt: skip
        self._unit.admit()
        rows = self._read(ids, cause)
        steps = [self._decide(rows[id_], cause) for id_ in ids]
        self._write(steps)
        return [self._tell_step(step, cause) for step in steps]

    def change(self, id: str, **columns: Any) -> None:  # noqa: A002 - the name of the column
        """Write columns that are not the service's own; `metadata` is merged into what is there."""
        self._refuse_own(columns)
        self._refuse_fixed(columns)
        self._set(id, columns)

    def _set(self, id_: str, columns: Values) -> None:
        self._unit.admit()
        cause = Cause("change", utc_text(self._unit.store.clock()), columns=columns)
        row = self._read((id_,), cause)[id_]
        statement = self._life.change(tuple(columns))
        parameters = statement.bind(self._stored(columns, row, max(cause.now, row["updated_at"])))
        if self._desk.run(statement.sql, parameters, (self.entity, id_)).rowcount != 1:
            self._lost([row])

    def note(
        self,
        id: str,  # noqa: A002 - the name of the column
        notice: Notice,
        *,
        reason: str,
        severity: Severity = Severity.WARNING,
        operator: str | None = None,
        event_metadata: Values | None = None,
    ) -> Event:
        """Put into the trail what is no change of state, beside the state that the row is in."""
        cause = self._cause(Notice(notice).value, reason=reason, operator=operator, metadata=event_metadata)
        self._unit.admit()
        row = self._read((id,), cause)[id]
        stays = {"from_state": row["state"], "to_state": row["state"], "workstream_id": self._workstream(row)}
        return self._tell(row, cause, **stays, now=max(cause.now, row["updated_at"]), severity=Severity(severity))

    def _completed(self, columns: Values) -> Values:
        """The columns of a new row, with those that follow from them."""
        return columns

    def _cause(
        self,
        trigger: str,
        *,
        to: str | None = None,
        reason: str | None = None,
        operator: str | None = None,
        metadata: Values | None = None,
        facts: Values | None = None,
        epoch: int | None = None,
        version: int | None = None,
        columns: Values | None = None,
    ) -> Cause:
        store = self._unit.store
        cause = Cause(str(trigger), utc_text(store.clock()), epoch=epoch, version=version)
        if columns:
            self._refuse_own(columns)
            self._refuse_fixed(columns)
            cause.columns = columns
        if to is not None:
            cause.to = stored_name(self.entity, to)
        if operator is not None:
            cause.operator = store.scrubber.text(operator)
        if reason is not None:
            cause.reason = store.scrubber.text(str(reason))
        if metadata:
            cause.metadata = json_value("metadata of the event", metadata, store.scrubber)
        if facts:
            cause.facts = facts
        return cause
