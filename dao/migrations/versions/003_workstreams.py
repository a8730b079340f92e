"""Workstreams and what they wait for."""

from __future__ import annotations

from prefect_acms.dao.migrations.keeping import bring_back, drop
from prefect_acms.dao.migrations.tables import BOOLEAN, FLOAT, JSON, MOMENT, TEXT, common, create, optional, required

revision = "003"
down_revision = "002"


def upgrade() -> None:
    create(
        "workstreams",
        *common(),
        required("run_id"),
        required("name"),
        required("category"),
        required("priority_score", FLOAT),
        required("effort"),
        required("file_scope", JSON),
        required("is_critical", BOOLEAN),
        optional("branch"),
        optional("worktree"),
        optional("started_at", MOMENT),
        optional("completed_at", MOMENT),
        optional("error", TEXT),
        checks={
            "state": (
                "state IN ('planned', 'ready', 'blocked', 'executing', 'validating', "
                "'completed', 'failed', 'cancelled', 'skipped')"
            ),
            "version": "version >= 1",
            "priority_score": "priority_score BETWEEN 0 AND 10",
            "effort": "effort IN ('low', 'medium', 'high')",
            "started_at_unset": "state NOT IN ('planned', 'ready', 'blocked', 'skipped') OR started_at IS NULL",
            "started_at_set": "state NOT IN ('executing', 'validating', 'completed') OR started_at IS NOT NULL",
            "completed_at_exactly": (
                "(state IN ('completed', 'failed', 'cancelled', 'skipped')) = (completed_at IS NOT NULL)"
            ),
            "error_set": "state NOT IN ('failed') OR error IS NOT NULL",
            "started_at_after_created_at": "started_at IS NULL OR created_at IS NULL OR started_at >= created_at",
            "completed_at_after_started_at": "completed_at IS NULL OR started_at IS NULL OR completed_at >= started_at",
            "completed_at_after_created_at": "completed_at IS NULL OR created_at IS NULL OR completed_at >= created_at",
        },
        references={"run_id": "runs"},
        indexes=[("run_id",)],
    )
    create(
        "workstream_dependencies",
        required("workstream_id"),
        required("depends_on_id"),
        key=(
            "workstream_id",
            "depends_on_id",
        ),
        checks={
            "not_itself": "workstream_id <> depends_on_id",
        },
        references={"workstream_id": "workstreams", "depends_on_id": "workstreams"},
        indexes=[("depends_on_id",)],
    )
    bring_back(revision, "workstreams", "workstream_dependencies")


def downgrade() -> None:
    drop(revision, "workstream_dependencies", "workstreams")
