"""The audit trail: state_transitions and chain_heads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from prefect_acms.dao.migrations.keeping import bring_back, drop, go_on_counting
from prefect_acms.dao.migrations.tables import HASH, INTEGER, JSON, MOMENT, ROW_NUMBER, TEXT, create, optional, required

revision = "001"
down_revision = None

SQLITE_SHIELDS = tuple(
    f"CREATE TRIGGER state_transitions_no_{verb} BEFORE {verb.upper()} ON state_transitions "
    f"BEGIN SELECT RAISE(ABORT, 'state_transitions is append-only: {verb} refused'); END"
    for verb in ("update", "delete")
)
POSTGRESQL_SHIELDS = (
    (
        "CREATE FUNCTION state_transitions_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'state_transitions is append-only: % refused', lower(TG_OP); END $$"
    ),
    *(
        f"CREATE TRIGGER state_transitions_no_{verb} BEFORE {verb.upper()} ON state_transitions "
        "FOR EACH STATEMENT EXECUTE FUNCTION state_transitions_refuse()"
        for verb in ("update", "delete", "truncate")
    ),
)


def upgrade() -> None:
    create(
        "state_transitions",
        required("transition_id", ROW_NUMBER),
        required("event_id"),
        optional("run_id"),
        required("entity_type"),
        required("entity_id"),
        optional("from_state"),
        required("to_state"),
        required("trigger"),
        optional("reason", TEXT),
        required("severity"),
        required("metadata", JSON),
        optional("operator"),
        optional("workstream_id"),
        optional("phase"),
        required("transitioned_at", MOMENT),
        required("chain_seq", INTEGER),
        required("prev_hash", HASH),
        required("hash", HASH),
        key=("transition_id",),
        checks={
            "severity": "severity IN ('debug', 'info', 'warning', 'error', 'critical')",
            "chain_seq": "chain_seq >= 1",
            "hash": "length(hash) = 64 AND length(prev_hash) = 64",
        },
        indexes=[("entity_id",)],
        sqlite_autoincrement=True,
    )
    op.create_index("uq_state_transitions_event_id", "state_transitions", ["event_id"], unique=True)
    op.create_index(
        "uq_state_transitions_global_chain_seq",
        "state_transitions",
        ["chain_seq"],
        unique=True,
        sqlite_where=sa.text("run_id IS NULL"),
        postgresql_where=sa.text("run_id IS NULL"),
    )
    op.create_index("uq_state_transitions_run_id_chain_seq", "state_transitions", ["run_id", "chain_seq"], unique=True)
    create(
        "chain_heads",
        required("run_id"),
        required("seq", INTEGER),
        required("hash", HASH),
        key=("run_id",),
        checks={
            "seq": "seq >= 0",
            "hash": "length(hash) = 64",
        },
    )
    bring_back(revision, "state_transitions", "chain_heads")
    for shield in SQLITE_SHIELDS if op.get_context().dialect.name == "sqlite" else POSTGRESQL_SHIELDS:
        op.execute(sa.text(shield))
    go_on_counting("state_transitions", "transition_id")


def downgrade() -> None:
    drop(revision, "chain_heads", "state_transitions")
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION state_transitions_refuse()")
