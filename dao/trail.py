"""The trail of one unit of work: its audit rows, its events, and the heads of the chains that it extends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, insert, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert as insert_if_new

from prefect_acms.canonical.events import Context, Event, event_type
from prefect_acms.canonical.machine import Severity
from prefect_acms.canonical.run import RUN
from prefect_acms.dao.chain import ANCHOR, ANCHORED, GENESIS, GLOBAL, OPENED, canonical_json, link
from prefect_acms.dao.phases import PhaseRow
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.schema import table_of
from prefect_acms.dao.statements import Compiler, parameter
from prefect_acms.dao.transitions import ChainHeadRow, TransitionRow

if TYPE_CHECKING:
    from prefect_acms.dao.connections import Desk
    from prefect_acms.dao.ids import Ids


@dataclass(slots=True)
class Head:
    """The end of one chain, and what the unit knows about its run."""

    run_id: str | None
    seq: int
    hash: str
    epoch: int | None = None
    ended: bool = False
    phase: str | None = None
    is_new: bool = False
    touched: bool = False


class TrailStatements:
    """What a trail says to the database, compiled once a store."""

    def __init__(self, compiler: Compiler, *, locks: bool) -> None:
        rows, heads, runs = table_of(TransitionRow), table_of(ChainHeadRow), table_of(RunRow)
        chain = parameter("chain", heads.c.run_id)
        place = {"seq": parameter("seq", heads.c.seq), "hash": parameter("hash", heads.c.hash)}
        head = select(heads.c.seq, heads.c.hash).where(heads.c.run_id == chain)
        run = select(runs.c.state, runs.c.epoch, _phase_of(chain)).where(runs.c.id == chain)
        # the run is read after its chain is locked, by a statement of its own: on PostgreSQL a join would see it as
        # it was before the wait; its key stays unlocked, since children refer to it meanwhile
        self.head = compiler(head.with_for_update() if locks else head)
        self.run = compiler(run.with_for_update(key_share=True, of=runs) if locks else run)
        self.begin = compiler(insert(heads).inline().values({"run_id": chain, **place}))
        self.open = compiler(insert_if_new(heads).values({"run_id": chain, **place}).on_conflict_do_nothing())
        self.extend = compiler(update(heads).where(heads.c.run_id == chain).values(place))
        names = [column.name for column in rows.columns if column.name != "transition_id"]
        self.append = compiler(insert(rows).inline().values({name: parameter(name, rows.c[name]) for name in names}))


def _phase_of(chain: Any) -> Any:
    phases: Table = table_of(PhaseRow)
    running = select(phases.c.name).where(phases.c.run_id == chain, phases.c.completed_at.is_(None))
    return running.order_by(phases.c.ordinal.desc()).limit(literal_column("1")).scalar_subquery()


class Trail:
    """Collects what a unit of work tells; `flush` writes it, in order, through the driver's cursor."""

    def __init__(self, desk: Desk, statements: TrailStatements, ids: Ids) -> None:
        self._desk = desk
        self._say = statements
        self._ids = ids
        self._heads: dict[str, Head] = {}
        self._rows: list[tuple[Any, ...]] = []
        self.events: list[Event] = []

    def head(self, chain: str) -> Head:
        """The end of a chain; from here to the end of the unit nobody else extends it."""
        head = self._heads.get(chain)
        if head is None:
            head = self._heads[chain] = self._fetch(chain)
        return head

    def _fetch(self, chain: str) -> Head:
        found = self._desk.run(self._say.head.sql, (chain,)).fetchone()
        if chain == GLOBAL:
            return Head(None, *(found or self._open_global()))
        head = Head(chain, *found) if found else Head(chain, 0, GENESIS, is_new=True)
        run = self._desk.run(self._say.run.sql, self._say.run.bind({"chain": chain})).fetchone()
        if run is not None:
            head.ended, head.epoch, head.phase = run[0] in RUN.terminal, run[1], run[2]
        return head

    def _open_global(self) -> tuple[int, str]:
        """Two may open it at once, so both go on from what is there then."""
        self._desk.run(self._say.open.sql, self._say.open.bind({"chain": GLOBAL, "seq": 0, "hash": GENESIS}))
        seq, last = self._desk.run(self._say.head.sql, (GLOBAL,)).fetchone()
        return seq, last

    def add(
        self,
        chain: str,
        *,
        entity: str,
        entity_id: str,
        from_state: str | None,
        to_state: str,
        trigger: str,
        now: str,
        severity: Severity,
        reason: str | None,
        metadata: Mapping[str, Any],
        operator: str | None,
        workstream_id: str | None,
    ) -> Event:
        """Chain one row, and give the event that subscribers get after the commit."""
        head = self.head(chain)
        event = Event(
            self._ids.new("evt"),
            now,
            event_type(entity, trigger),
            severity,
            entity,
            entity_id,
            from_state,
            to_state,
            trigger,
            reason,
            metadata,
            operator,
            Context(head.run_id, workstream_id, head.phase),
        )
        self._chain(head, event)
        self.events.append(event)
        if entity == RUN.entity:
            head.ended = to_state in RUN.terminal
        if head.seq == 1 and head.run_id:
            self._anchor(head, OPENED, now)
        return event

    def _chain(self, head: Head, event: Event) -> None:
        values = {
            "chain_seq": head.seq + 1,
            "entity_id": event.entity_id,
            "entity_type": event.entity_type,
            "event_id": event.event_id,
            "from_state": event.from_state,
            "metadata": event.metadata,
            "operator": event.operator,
            "phase": event.context.phase,
            "reason": event.reason,
            "run_id": head.run_id,
            "severity": str(event.severity),
            "to_state": event.to_state,
            "transitioned_at": event.timestamp,
            "trigger": event.trigger,
            "workstream_id": event.context.workstream_id,
        }
        last = link(head.hash, values)
        metadata = canonical_json(event.metadata) if event.metadata else "{}"
        self._rows.append(self._say.append.bind({**values, "metadata": metadata, "prev_hash": head.hash, "hash": last}))
        head.seq, head.hash, head.touched = head.seq + 1, last, True

    def _anchor(self, head: Head, trigger: str, now: str) -> None:
        """Tell the chain `global` how far a run's chain goes: what is cut off later is missed there."""
        place = {"hash": head.hash, "seq": head.seq}
        before = None if trigger == OPENED else ANCHORED
        event = Event(
            self._ids.new("evt"),
            now,
            event_type(ANCHOR, trigger),
            Severity.INFO,
            ANCHOR,
            str(head.run_id),
            before,
            ANCHORED,
            trigger,
            metadata=place,
        )
        self._chain(self.head(GLOBAL), event)

    def flush(self) -> None:
        """Write the rows and the heads that are not written yet."""
        if not self._rows:
            return
        rows, self._rows = self._rows, []
        if len(rows) == 1:
            self._desk.run(self._say.append.sql, rows[0])
        else:
            self._desk.run_many(self._say.append.sql, rows)
        for chain, head in self._heads.items():
            if head.touched:
                statement = self._say.begin if head.is_new else self._say.extend
                place = {"chain": chain, "seq": head.seq, "hash": head.hash}
                self._desk.run(statement.sql, statement.bind(place))
                head.is_new = False

    def seal(self) -> None:
        """Write everything, and anchor the chains whose runs have ended: the last thing before a commit."""
        if self.events:
            now = self.events[-1].timestamp
            for head in [h for h in self._heads.values() if h.touched and h.ended]:
                self._anchor(head, ANCHORED, now)
            self.flush()
