"""Budget entries: what calls of tools and models have used up, and what is set aside for those that are going on."""

from __future__ import annotations

from prefect_acms.dao.migrations.keeping import bring_back, drop
from prefect_acms.dao.migrations.tables import FLOAT, INTEGER, MOMENT, ROW_NUMBER, common, create, optional, required

revision = "010"
down_revision = "009"


def upgrade() -> None:
    create(
        "budget_entries",
        *common(state=False),
        required("run_id"),
        optional("task_id"),
        required("tool_id"),
        required("wall_sec", FLOAT),
        required("tool_runs", INTEGER),
        required("tokens", INTEGER),
        required("micro_usd", ROW_NUMBER),
        required("expires_at", MOMENT),
        optional("settled_at", MOMENT),
        checks={
            "version": "version >= 1",
            "wall_sec": "wall_sec >= 0",
            "tool_runs": "tool_runs >= 0",
            "tokens": "tokens >= 0",
            "micro_usd": "micro_usd >= 0",
        },
        references={"run_id": "runs", "task_id": "tasks"},
        indexes=[("run_id",), ("task_id",)],
    )
    bring_back(revision, "budget_entries")


def downgrade() -> None:
    drop(revision, "budget_entries")
