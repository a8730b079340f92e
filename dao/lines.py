"""The audit trail as lines of JSON: each row as its event, with its place in the chain and the hashes around it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from typing import cast as cast_to

from sqlalchemy import Connection, Select, Text, cast, select

from prefect_acms.canonical.events import Context, Event, event_type
from prefect_acms.canonical.machine import Severity
from prefect_acms.dao.schema import table_of
from prefect_acms.dao.transitions import TransitionRow

Row = Mapping[str, Any]
"""One audit row by the names of its columns."""

_AT_ONCE = 1000

_ROWS = table_of(TransitionRow)
TRAIL = select(*(cast(c, Text).label(c.name) if c.name == "metadata" else c for c in _ROWS.columns))
"""Every column of the trail, the metadata as the text that is stored."""


def rows_of(connection: Connection, wanted: Select[Any]) -> Iterator[Row]:
    """The rows of a SELECT, some at a time."""
    return iter(cast_to("Iterable[Row]", connection.execute(wanted.execution_options(yield_per=_AT_ONCE)).mappings()))


def trail(connection: Connection, run_id: str | None = None, after: int = 0) -> Iterator[Row]:
    """The rows of a run in the order of its chain, those after a position; of all chains in the order of storing."""
    of_run = TRAIL.where(_ROWS.c.run_id == run_id, _ROWS.c.chain_seq > after).order_by(_ROWS.c.chain_seq)
    wanted = TRAIL.order_by(_ROWS.c.transition_id) if run_id is None else of_run
    return rows_of(connection, wanted)


def line(row: Row) -> bytes:
    """One row as one line, newline included; equal rows give equal bytes."""
    place = {"chain_seq": row["chain_seq"], "prev_hash": row["prev_hash"], "hash": row["hash"]}
    return (json.dumps(event_of(row).as_dict() | place, ensure_ascii=False) + "\n").encode()


def event_of(row: Row) -> Event:
    """The event that a row tells."""
    return Event(
        event_id=row["event_id"],
        timestamp=row["transitioned_at"],
        event_type=event_type(row["entity_type"], row["trigger"]),
        severity=Severity(row["severity"]),
        entity_type=row["entity_type"],
        entity_id=row["entity_id"],
        from_state=row["from_state"],
        to_state=row["to_state"],
        trigger=row["trigger"],
        reason=row["reason"],
        metadata=json.loads(row["metadata"]),
        operator=row["operator"],
        context=Context(row["run_id"], row["workstream_id"], row["phase"]),
    )
