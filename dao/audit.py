"""The audit: whether the trail holds, from the first row of each chain to the state that every entity is in now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TextIO

from sqlalchemy import Connection, select, text

from prefect_acms.canonical.errors import ChainBroken, NotFound
from prefect_acms.canonical.events import CREATED, NOTICES
from prefect_acms.dao.chain import ANCHOR, GENESIS, GLOBAL, canonical_json, chain_of, row_hash
from prefect_acms.dao.lines import TRAIL, Row, line, rows_of, trail
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.schema import Base, StateRow, table_of, terminal
from prefect_acms.dao.store import Store
from prefect_acms.dao.transitions import ChainHeadRow, TransitionRow

_ROWS = table_of(TransitionRow)
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class BadRow:
    """The first thing in the trail that is not as it was written; what is gone has no row number."""

    chain: str
    seq: int
    transition_id: int | None
    problem: str

    def error(self) -> ChainBroken:
        """The same as an error, to be raised."""
        where = "gone" if self.transition_id is None else self.transition_id
        return ChainBroken(chain=self.chain, seq=self.seq, transition_id=where, problem=self.problem)


@dataclass(frozen=True, slots=True)
class Verification:
    """What an audit found: how much was looked at, and the first bad row, if any."""

    chains: int
    rows: int
    first_bad: BadRow | None

    @property
    def ok(self) -> bool:
        """Whether everything is as it was written."""
        return self.first_bad is None


def verify(store: Store, chain: str | None = None) -> Verification:
    """Recompute every chain, or the one of a run (or `global`), and compare it with all that depends on it."""
    with store.begin(read_only=True) as dao:
        if store.locks:  # one view of the database for all questions; a file has that by itself
            dao.desk.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", ())
        audit = _Audit(dao.connection, chain)
        first_bad = next(audit.problems(), None)
        if chain is not None and not audit.is_known(chain):
            raise NotFound(entity="audit chain", id=chain)
        return Verification(len(audit.ends), audit.rows, first_bad)


def export(store: Store, run_id: str | None, out: TextIO) -> int:
    """Write the trail of a run, or of everything, as lines of JSON; gives their number. Raises NotFound."""
    number = 0
    with store.begin(read_only=True) as dao:
        if run_id is not None:
            dao.runs.get(run_id)
        for row in trail(dao.connection, run_id):
            out.write(line(row).decode())
            number += 1
    return number


@dataclass(slots=True)
class _End:
    """The last row of a chain, so far."""

    seq: int = 0
    hash: str = GENESIS
    transition_id: int = 0


@dataclass(slots=True)
class _Last:
    """The last that the trail tells of an entity."""

    row: Row
    changes: int = 0


class _Audit:
    """One walk over the trail; each check relies on what those before it have gathered."""

    def __init__(self, connection: Connection, chain: str | None) -> None:
        self._connection = connection
        self._only = chain
        self.rows = 0
        self.ends: dict[str, _End] = {}
        self._lasts: dict[tuple[str, str], _Last] = {}
        heads, runs = table_of(ChainHeadRow), table_of(RunRow)
        self._heads = {row.run_id: row for row in connection.execute(select(heads)) if self._wanted(row.run_id)}
        self._runs = {row.id: row.state for row in connection.execute(select(runs.c.id, runs.c.state))}
        self._anchors = self._find_anchors()

    def _wanted(self, chain: str) -> bool:
        return self._only in {None, chain}

    def is_known(self, chain: str) -> bool:
        """Whether anything speaks of that chain."""
        return any(chain in known for known in (self.ends, self._heads, self._runs, self._anchors))

    def problems(self) -> Iterator[BadRow]:
        """Everything that is wrong, the rows first."""
        yield from self._in_rows()
        yield from self._in_heads()
        yield from self._in_runs()
        yield from self._in_entities()
        if self._only is None and self._connection.dialect.name == "sqlite":
            yield from self._in_numbers()

    # rows

    def _find_anchors(self) -> dict[str, dict[int, Row]]:
        """What the chain `global` says of the runs' chains: run -> position -> its row."""
        anchors: dict[str, dict[int, Row]] = {}
        of_global = TRAIL.where(_ROWS.c.run_id.is_(None), _ROWS.c.entity_type == ANCHOR).order_by(_ROWS.c.chain_seq)
        for row in rows_of(self._connection, of_global):
            place = _json(row["metadata"])
            if isinstance(place, dict) and isinstance(place.get("seq"), int):
                anchors.setdefault(row["entity_id"], {})[place["seq"]] = {**row, "anchored": place.get("hash")}
        return anchors

    def _in_rows(self) -> Iterator[BadRow]:
        of_global = TRAIL.where(_ROWS.c.run_id.is_(None)).order_by(_ROWS.c.chain_seq)
        of_runs = TRAIL.where(_ROWS.c.run_id.is_not(None)).order_by(_ROWS.c.run_id, _ROWS.c.chain_seq)
        if self._only is not None:
            of_runs = of_runs.where(_ROWS.c.run_id == self._only)
        for wanted in ([of_global] if self._wanted(GLOBAL) else []) + [of_runs]:
            for chain, members in groupby(rows_of(self._connection, wanted), lambda row: chain_of(row["run_id"])):
                yield from self._in_chain(chain, members)

    def _in_chain(self, chain: str, rows: Iterator[Row]) -> Iterator[BadRow]:
        end = self.ends[chain] = _End()
        for row in rows:
            self.rows += 1
            if row["chain_seq"] != end.seq + 1:
                yield BadRow(chain, end.seq + 1, None, f"it is gone, what comes next is position {row['chain_seq']}")
            problem = self._problem(chain, row, end)
            if problem:
                yield _bad(row, problem)
            end.seq, end.hash, end.transition_id = row["chain_seq"], row["hash"], row["transition_id"]

    def _problem(self, chain: str, row: Row, end: _End) -> str | None:
        value = _json(row["metadata"])
        if row["prev_hash"] != end.hash:
            return "it does not follow the row before it"
        if value is None or canonical_json(value) != row["metadata"]:
            return "its metadata is not as it was written"
        if row_hash(end.hash, {**row, "metadata": value}) != row["hash"]:
            return "its content does not match its hash"
        if row["transition_id"] <= end.transition_id:
            return "it is numbered before the row that it follows"
        anchor = self._anchors.get(chain, {}).get(row["chain_seq"])
        if anchor is not None and anchor["anchored"] != row["hash"]:
            return f"its hash is not the one that the chain {GLOBAL} has anchored"
        return self._follow(row)

    def _follow(self, row: Row) -> str | None:
        """What the row does to its entity must start where the row before it has left the entity."""
        key = (row["entity_type"], row["entity_id"])
        last = self._lasts.get(key)
        before = last.row["to_state"] if last else None
        if row["entity_type"] == ANCHOR:
            return None
        if row["from_state"] != before or (before is None) != (row["trigger"] == CREATED):
            return f"it starts at {row['from_state']}, but {key[0]} {key[1]} was at {before}"
        is_change = row["trigger"] not in NOTICES
        self._lasts[key] = _Last(row, (last.changes if last else 0) + is_change)
        return None

    # what depends on the rows

    def _in_heads(self) -> Iterator[BadRow]:
        for chain in sorted({*self.ends, *self._heads}):
            end, head = self.ends.get(chain, _End()), self._heads.get(chain)
            if head is None:
                yield BadRow(chain, end.seq, end.transition_id, "the head of the chain is gone")
            elif head.seq > end.seq:
                yield BadRow(chain, end.seq + 1, None, f"it is gone, the chain went on to position {head.seq}")
            elif (head.seq, head.hash) != (end.seq, end.hash):
                yield BadRow(chain, end.seq, end.transition_id, "the head of the chain is not its last row")
        for chain, anchors in sorted(self._anchors.items()):
            end = self.ends.get(chain, _End())
            if self._wanted(chain) and max(anchors) > end.seq:
                problem = f"it is gone, the chain {GLOBAL} has anchored position {max(anchors)}"
                yield BadRow(chain, end.seq + 1, None, problem)

    def _in_runs(self) -> Iterator[BadRow]:
        for run_id in sorted({*self._runs, *self.ends} - {GLOBAL}):
            if self._wanted(run_id):
                problem = self._problem_of_run(run_id)
                if problem:
                    end = self.ends.get(run_id, _End(1))
                    yield BadRow(run_id, end.seq, end.transition_id or None, problem)

    def _problem_of_run(self, run_id: str) -> str | None:
        end, anchors = self.ends.get(run_id), self._anchors.get(run_id, {})
        if run_id not in self._runs:
            return "the run of this chain is gone"
        if end is None:
            return "the run has no trail"
        if 1 not in anchors:
            return f"the beginning of this chain is not anchored in the chain {GLOBAL}"
        if self._runs[run_id] in terminal(RunRow.machine) and end.seq not in anchors:
            return f"the run has ended, but the end of its chain is not anchored in the chain {GLOBAL}"
        return None

    def _in_entities(self) -> Iterator[BadRow]:
        for row_class in sorted(_state_rows(), key=lambda kind: kind.__tablename__):
            for id_, state, version in self._connection.execute(self._entities(row_class)):
                last = self._lasts.pop((row_class.machine.entity, id_), None)
                about = f"{row_class.machine.entity} {id_}"
                if last is None:
                    yield BadRow(self._only or _UNKNOWN, 1, None, f"{about} is {state}, but the trail doesn't know it")
                elif last.row["to_state"] != state:
                    yield _bad(last.row, f"it left {about} {last.row['to_state']}, but it is {state}")
                elif version < last.changes:
                    yield _bad(last.row, f"it is change {last.changes} of {about}, but that is at version {version}")
        for last in self._lasts.values():
            yield _bad(last.row, f"its {last.row['entity_type']} {last.row['entity_id']} is gone")

    def _entities(self, row_class: type[StateRow]) -> Any:
        columns = table_of(row_class).c
        wanted = select(columns.id, columns.state, columns.version).order_by(columns.id)
        if self._only is None:
            return wanted
        if row_class is RunRow:
            return wanted.where(columns.id == self._only)
        if "run_id" not in columns:
            return wanted.where(text("1 = 1" if self._only == GLOBAL else "1 = 0"))
        return wanted.where(columns.run_id == self._only if self._only != GLOBAL else columns.run_id.is_(None))

    def _in_numbers(self) -> Iterator[BadRow]:
        """SQLite numbers the rows without a hole, and remembers how far it came."""
        reached = text("SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'state_transitions'")
        given = self._connection.execute(reached).scalar_one()
        numbers = self._connection.execute(select(_ROWS.c.transition_id).order_by(_ROWS.c.transition_id)).scalars()
        hole = next((number for number, found in enumerate(numbers, start=1) if number != found), self.rows + 1)
        if hole <= given:
            yield BadRow(_UNKNOWN, 0, hole, f"it is gone, {given} rows were written")


def _bad(row: Row, problem: str) -> BadRow:
    return BadRow(chain_of(row["run_id"]), row["chain_seq"], row["transition_id"], problem)


def _json(stored: str) -> Any:
    try:
        return json.loads(stored)
    except ValueError:
        return None


def _state_rows() -> list[type[StateRow]]:
    classes = (mapper.class_ for mapper in Base.registry.mappers)
    return [row for row in classes if issubclass(row, StateRow)]
