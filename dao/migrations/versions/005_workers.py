"""Workers of the pool and of the engine; from here on a task's worker is one of them."""

from __future__ import annotations

from alembic import op

from prefect_acms.dao.migrations.keeping import bring_back, drop
from prefect_acms.dao.migrations.tables import INTEGER, JSON, MOMENT, common, create, optional, required

revision = "005"
down_revision = "004"

WORKER = "fk_tasks_worker_id_workers"


def upgrade() -> None:
    create(
        "workers",
        *common(),
        optional("run_id"),
        required("worker_type"),
        required("capabilities", JSON),
        optional("affinity"),
        required("current_load", INTEGER),
        required("last_heartbeat", MOMENT),
        optional("drain_requested_at", MOMENT),
        optional("shutdown_at", MOMENT),
        checks={
            "state": "state IN ('initializing', 'idle', 'busy', 'unresponsive', 'shutdown')",
            "version": "version >= 1",
            "current_load": "current_load IN (0, 1)",
            "idle_has_no_load": "state NOT IN ('initializing', 'idle') OR current_load = 0",
            "shutdown_at_exactly": "(state IN ('shutdown')) = (shutdown_at IS NOT NULL)",
            "shutdown_at_after_created_at": "shutdown_at IS NULL OR created_at IS NULL OR shutdown_at >= created_at",
        },
        references={"run_id": "runs"},
        indexes=[("run_id", "state")],
    )
    create(
        "uet_workers",
        *common(),
        optional("run_id"),
        required("worker_type"),
        optional("pid", INTEGER),
        optional("host"),
        optional("affinity"),
        required("last_heartbeat", MOMENT),
        optional("terminated_at", MOMENT),
        checks={
            "state": "state IN ('SPAWNING', 'IDLE', 'BUSY', 'DRAINING', 'TERMINATED')",
            "version": "version >= 1",
            "terminated_at_exactly": "(state IN ('TERMINATED')) = (terminated_at IS NOT NULL)",
            "terminated_at_after_created_at": (
                "terminated_at IS NULL OR created_at IS NULL OR terminated_at >= created_at"
            ),
        },
        references={"run_id": "runs"},
        indexes=[("run_id", "state")],
    )
    bring_back(revision, "workers", "uet_workers")
    with op.batch_alter_table("tasks") as tasks:
        tasks.create_foreign_key(WORKER, "workers", ["worker_id"], ["id"], ondelete="RESTRICT")


def downgrade() -> None:
    with op.batch_alter_table("tasks") as tasks:
        tasks.drop_constraint(WORKER, type_="foreignkey")
    drop(revision, "uet_workers", "workers")
