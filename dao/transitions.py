"""The audit trail: one row a transition, chained by hashes; rows are added and never changed."""

from __future__ import annotations

from sqlalchemy import DDL, BigInteger, Index, Integer, String, event, func, select, text
from sqlalchemy.orm import Mapped, mapped_column

from prefect_acms.canonical.machine import Severity
from prefect_acms.dao.reading import Dao
from prefect_acms.dao.schema import Base, JsonDict, Moment, Words, at_least, check, one_of

_ROW_NUMBER = BigInteger().with_variant(Integer, "sqlite")


class TransitionRow(Base):
    """One thing that happened to one entity; `run_id` is None in the chain `global`."""

    __tablename__ = "state_transitions"
    __table_args__ = (
        one_of("severity", *(severity.value for severity in Severity)),
        at_least("chain_seq", 1),
        check("hash", "length(hash) = 64 AND length(prev_hash) = 64"),
        Index("uq_state_transitions_event_id", "event_id", unique=True),
        Index("uq_state_transitions_run_id_chain_seq", "run_id", "chain_seq", unique=True),
        Index(
            "uq_state_transitions_global_chain_seq",
            "chain_seq",
            unique=True,
            sqlite_where=text("run_id IS NULL"),
            postgresql_where=text("run_id IS NULL"),
        ),
        Index("ix_state_transitions_entity_id", "entity_id"),
        {"sqlite_autoincrement": True},
    )

    transition_id: Mapped[int] = mapped_column(_ROW_NUMBER, primary_key=True, autoincrement=True)
    event_id: Mapped[str]
    run_id: Mapped[str | None]
    entity_type: Mapped[str]
    entity_id: Mapped[str]
    from_state: Mapped[str | None]
    to_state: Mapped[str]
    trigger: Mapped[str]
    reason: Mapped[Words | None]
    severity: Mapped[str]
    info: Mapped[JsonDict] = mapped_column("metadata")
    operator: Mapped[str | None]
    workstream_id: Mapped[str | None]
    phase: Mapped[str | None]
    transitioned_at: Mapped[Moment]
    chain_seq: Mapped[int]
    prev_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class ChainHeadRow(Base):
    """The last position and hash of one chain; `run_id` is the run's, or `global`."""

    __tablename__ = "chain_heads"
    __table_args__ = (
        at_least("seq", 0),
        check("hash", "length(hash) = 64"),
    )

    run_id: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int]
    hash: Mapped[str] = mapped_column(String(64))


SQLITE_SHIELDS = tuple(
    f"CREATE TRIGGER state_transitions_no_{verb} BEFORE {verb.upper()} ON state_transitions "
    f"BEGIN SELECT RAISE(ABORT, 'state_transitions is append-only: {verb} refused'); END"
    for verb in ("update", "delete")
)
_REFUSE = (
    "CREATE FUNCTION state_transitions_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "RAISE EXCEPTION 'state_transitions is append-only: % refused', lower(TG_OP); END $$"
)
POSTGRESQL_SHIELDS = (
    _REFUSE,
    *(
        f"CREATE TRIGGER state_transitions_no_{verb} BEFORE {verb.upper()} ON state_transitions "
        "FOR EACH STATEMENT EXECUTE FUNCTION state_transitions_refuse()"
        for verb in ("update", "delete", "truncate")
    ),
)
"""Triggers by which the database itself refuses to change or delete an audit row."""

for _dialect, _shields in (("sqlite", SQLITE_SHIELDS), ("postgresql", POSTGRESQL_SHIELDS)):
    for _shield in _shields:
        _trigger = DDL(_shield.replace("%", "%%"))  # type: ignore[no-untyped-call]
        event.listen(TransitionRow.__table__, "after_create", _trigger.execute_if(dialect=_dialect))


class TransitionDao(Dao[TransitionRow]):
    """The audit trail, for reading; the transition service alone adds to it."""

    row = TransitionRow
    entity = "transition"

    def of_run(self, run_id: str) -> list[TransitionRow]:
        """The trail of a run in the order of its chain."""
        statement = select(TransitionRow).where(TransitionRow.run_id == run_id)
        return self._all(statement.order_by(TransitionRow.chain_seq))

    def of_entity(self, entity_type: str, entity_id: str) -> list[TransitionRow]:
        """What happened to one entity, oldest first."""
        same = TransitionRow.entity_id == entity_id, TransitionRow.entity_type == entity_type
        return self._all(select(TransitionRow).where(*same).order_by(TransitionRow.transition_id))

    def after(self, transition_id: int, *, run_id: str | None = None, limit: int = 1000) -> list[TransitionRow]:
        """What was stored after that row, oldest first and at most so many: of one run, or of everything."""
        statement = select(TransitionRow).where(TransitionRow.transition_id > transition_id)
        if run_id is not None:
            statement = statement.where(TransitionRow.run_id == run_id)
        return self._all(statement.order_by(TransitionRow.transition_id).limit(limit))

    def last_id(self) -> int:
        """The number of the last row; 0 where there is none."""
        return self._unit.session.scalar(select(func.max(TransitionRow.transition_id))) or 0
