"""Tasks and what they wait for."""

from __future__ import annotations

from prefect_acms.dao.migrations.keeping import bring_back, drop
from prefect_acms.dao.migrations.tables import (
    BOOLEAN,
    FLOAT,
    INTEGER,
    JSON,
    MOMENT,
    TEXT,
    common,
    create,
    optional,
    required,
)

revision = "004"
down_revision = "003"


def upgrade() -> None:
    create(
        "tasks",
        *common(),
        required("workstream_id"),
        required("run_id"),
        required("kind"),
        required("description", TEXT),
        optional("pattern_id"),
        optional("tool_id"),
        required("file_scope", JSON),
        required("is_critical", BOOLEAN),
        required("required_capabilities", JSON),
        required("retry_count", INTEGER),
        required("max_retries", INTEGER),
        required("timeout_sec", FLOAT),
        required("attempt", INTEGER),
        optional("next_attempt_at", MOMENT),
        optional("worker_id"),
        optional("exit_code", INTEGER),
        optional("last_error", TEXT),
        optional("blocked_by", JSON),
        optional("retry_of"),
        optional("queued_at", MOMENT),
        optional("started_at", MOMENT),
        optional("completed_at", MOMENT),
        optional("prefect_task_run_id"),
        checks={
            "state": (
                "state IN ('pending', 'queued', 'blocked', 'running', 'validating', "
                "'retrying', 'completed', 'failed', 'cancelled')"
            ),
            "version": "version >= 1",
            "worker_id_exactly": "(state IN ('running')) = (worker_id IS NOT NULL)",
            "completed_at_exactly": "(state IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)",
            "started_at_set": (
                "state NOT IN ('running', 'validating', 'retrying', 'completed') OR started_at IS NOT NULL"
            ),
            "queued_at_set": (
                "state NOT IN ('queued', 'running', 'validating', 'retrying', 'completed') OR queued_at IS NOT NULL"
            ),
            "blocked_by_set": "state NOT IN ('blocked') OR blocked_by IS NOT NULL",
            "blocked_by_unset": (
                "state NOT IN ('pending', 'queued', 'running', 'validating', "
                "'retrying', 'completed') OR blocked_by IS NULL"
            ),
            "exit_code_set": "state NOT IN ('validating', 'completed') OR exit_code IS NOT NULL",
            "next_attempt_at_set": "state NOT IN ('retrying') OR next_attempt_at IS NOT NULL",
            "last_error_set": "state NOT IN ('failed', 'retrying') OR last_error IS NOT NULL",
            "retries": "retry_count BETWEEN 0 AND max_retries",
            "attempt": "attempt >= 0",
            "timeout_sec": "timeout_sec > 0",
            "not_retry_of_itself": "retry_of <> id",
            "queued_at_after_created_at": "queued_at IS NULL OR created_at IS NULL OR queued_at >= created_at",
            "started_at_after_created_at": "started_at IS NULL OR created_at IS NULL OR started_at >= created_at",
            "completed_at_after_started_at": "completed_at IS NULL OR started_at IS NULL OR completed_at >= started_at",
            "completed_at_after_created_at": "completed_at IS NULL OR created_at IS NULL OR completed_at >= created_at",
        },
        references={"workstream_id": "workstreams", "run_id": "runs", "retry_of": "tasks"},
        indexes=[("workstream_id",), ("run_id", "state"), ("worker_id",), ("retry_of",), ("prefect_task_run_id",)],
    )
    create(
        "task_dependencies",
        required("task_id"),
        required("depends_on_id"),
        key=(
            "task_id",
            "depends_on_id",
        ),
        checks={
            "not_itself": "task_id <> depends_on_id",
        },
        references={"task_id": "tasks", "depends_on_id": "tasks"},
        indexes=[("depends_on_id",)],
    )
    bring_back(revision, "tasks", "task_dependencies")


def downgrade() -> None:
    drop(revision, "task_dependencies", "tasks")
