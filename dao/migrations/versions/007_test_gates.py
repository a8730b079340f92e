"""Test gates, what they wait for, and the tasks that they judge."""

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

revision = "007"
down_revision = "006"


def upgrade() -> None:
    create(
        "test_gates",
        *common(),
        required("run_id"),
        required("gate_type"),
        optional("workstream_id"),
        optional("task_id"),
        required("command", JSON),
        required("timeout_sec", FLOAT),
        required("timed_out", BOOLEAN),
        optional("exit_code", INTEGER),
        optional("stdout", TEXT),
        optional("stderr", TEXT),
        optional("duration_sec", FLOAT),
        optional("started_at", MOMENT),
        optional("completed_at", MOMENT),
        optional("rerun_of"),
        checks={
            "state": "state IN ('PENDING', 'RUNNING', 'PASSED', 'FAILED', 'BLOCKED')",
            "version": "version >= 1",
            "gate_type": "gate_type IN ('LINT', 'UNIT', 'INTEGRATION', 'SECURITY')",
            "started_at_unset": "state NOT IN ('PENDING', 'BLOCKED') OR started_at IS NULL",
            "started_at_set": "state NOT IN ('RUNNING', 'PASSED', 'FAILED') OR started_at IS NOT NULL",
            "exit_code_exactly": "(state IN ('PASSED', 'FAILED')) = (exit_code IS NOT NULL)",
            "completed_at_exactly": "(state IN ('PASSED', 'FAILED')) = (completed_at IS NOT NULL)",
            "timed_out": "NOT timed_out OR (state = 'FAILED' AND exit_code = 124)",
            "timeout_sec": "timeout_sec > 0",
            "duration_sec": "duration_sec >= 0",
            "not_rerun_of_itself": "rerun_of <> id",
            "started_at_after_created_at": "started_at IS NULL OR created_at IS NULL OR started_at >= created_at",
            "completed_at_after_started_at": "completed_at IS NULL OR started_at IS NULL OR completed_at >= started_at",
        },
        references={"run_id": "runs", "workstream_id": "workstreams", "task_id": "tasks", "rerun_of": "test_gates"},
        indexes=[("run_id", "state"), ("workstream_id",), ("task_id",), ("rerun_of",)],
    )
    create(
        "gate_dependencies",
        required("gate_id"),
        required("depends_on_id"),
        key=(
            "gate_id",
            "depends_on_id",
        ),
        checks={
            "not_itself": "gate_id <> depends_on_id",
        },
        references={"gate_id": "test_gates", "depends_on_id": "test_gates"},
        indexes=[("depends_on_id",)],
    )
    create(
        "task_gates",
        required("task_id"),
        required("gate_id"),
        required("role"),
        key=(
            "task_id",
            "gate_id",
            "role",
        ),
        checks={
            "role": "role IN ('entry', 'exit')",
        },
        references={"task_id": "tasks", "gate_id": "test_gates"},
        indexes=[("gate_id",)],
    )
    bring_back(revision, "test_gates", "gate_dependencies", "task_gates")


def downgrade() -> None:
    drop(revision, "task_gates", "gate_dependencies", "test_gates")
