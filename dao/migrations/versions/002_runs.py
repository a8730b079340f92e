"""Runs and their phases."""

from __future__ import annotations

from prefect_acms.dao.migrations.keeping import bring_back, drop
from prefect_acms.dao.migrations.tables import INTEGER, JSON, MOMENT, TEXT, common, create, optional, required

revision = "002"
down_revision = "001"


def upgrade() -> None:
    create(
        "runs",
        *common(),
        optional("project_id"),
        required("repo_root"),
        optional("base_commit"),
        required("mode"),
        required("config", JSON),
        required("epoch", INTEGER),
        optional("lease_expires_at", MOMENT),
        optional("prefect_flow_run_id"),
        optional("prefect_run_count", INTEGER),
        optional("started_at", MOMENT),
        optional("completed_at", MOMENT),
        optional("error", TEXT),
        optional("quarantine_reason", TEXT),
        checks={
            "state": "state IN ('pending', 'running', 'succeeded', 'failed', 'canceled')",
            "version": "version >= 1",
            "epoch": "epoch >= 0",
            "started_at_unset": "state NOT IN ('pending') OR started_at IS NULL",
            "started_at_set": "state NOT IN ('running', 'succeeded', 'failed') OR started_at IS NOT NULL",
            "completed_at_exactly": "(state IN ('succeeded', 'failed', 'canceled')) = (completed_at IS NOT NULL)",
            "error_set": "state NOT IN ('failed') OR error IS NOT NULL",
            "started_at_after_created_at": "started_at IS NULL OR created_at IS NULL OR started_at >= created_at",
            "completed_at_after_started_at": "completed_at IS NULL OR started_at IS NULL OR completed_at >= started_at",
            "completed_at_after_created_at": "completed_at IS NULL OR created_at IS NULL OR completed_at >= created_at",
        },
        indexes=[("repo_root", "created_at"), ("prefect_flow_run_id",)],
    )
    create(
        "phases",
        *common(state=False),
        required("run_id"),
        required("name"),
        required("ordinal", INTEGER),
        required("started_at", MOMENT),
        optional("completed_at", MOMENT),
        optional("outcome"),
        required("artifacts", JSON),
        checks={
            "version": "version >= 1",
            "name": "name IN ('configure', 'discovery', 'clustering', 'planning', 'execution', 'summary')",
            "ordinal": "ordinal BETWEEN 0 AND 5",
            "outcome_at_end": "(completed_at IS NULL) = (outcome IS NULL)",
            "started_at_after_created_at": "started_at IS NULL OR created_at IS NULL OR started_at >= created_at",
            "completed_at_after_started_at": "completed_at IS NULL OR started_at IS NULL OR completed_at >= started_at",
        },
        references={"run_id": "runs"},
        indexes=[("run_id", "ordinal")],
    )
    bring_back(revision, "runs", "phases")


def downgrade() -> None:
    drop(revision, "phases", "runs")
