"""Patches and their ledger."""

from __future__ import annotations

from prefect_acms.dao.migrations.keeping import bring_back, drop
from prefect_acms.dao.migrations.tables import (
    BOOLEAN,
    BYTES,
    INTEGER,
    JSON,
    MOMENT,
    TEXT,
    common,
    create,
    optional,
    required,
)

revision = "006"
down_revision = "005"


def upgrade() -> None:
    create(
        "patches",
        *common(state=False),
        required("task_id"),
        required("content", BYTES),
        required("sha256"),
        required("files", JSON),
        required("lines_added", INTEGER),
        required("lines_removed", INTEGER),
        optional("base_commit"),
        checks={
            "version": "version >= 1",
            "sha256": "length(sha256) = 64",
            "lines_added": "lines_added >= 0",
            "lines_removed": "lines_removed >= 0",
        },
        references={"task_id": "tasks"},
        indexes=[("task_id",)],
    )
    create(
        "patch_ledger_entries",
        *common(),
        required("run_id"),
        required("patch_id"),
        required("task_id"),
        required("workstream_id"),
        optional("phase_id"),
        optional("validation_format", BOOLEAN),
        optional("validation_scope", BOOLEAN),
        optional("validation_constraints", BOOLEAN),
        optional("validation_tests_passed", BOOLEAN),
        required("apply_attempts", INTEGER),
        optional("applied_at", MOMENT),
        optional("commit_sha"),
        optional("committed_at", MOMENT),
        optional("quarantine_reason", TEXT),
        optional("quarantine_metadata", JSON),
        optional("quarantined_at", MOMENT),
        optional("rollback_reason", TEXT),
        optional("rollback_compensation", JSON),
        optional("rolled_back_at", MOMENT),
        optional("last_error", TEXT),
        optional("supersedes"),
        checks={
            "state": (
                "state IN ('created', 'validated', 'queued', 'applied', "
                "'apply_failed', 'verified', 'rolled_back', 'quarantined', 'dropped')"
            ),
            "version": "version >= 1",
            "validation_format_set": (
                "state NOT IN ('validated', 'queued', 'applied', 'apply_failed', "
                "'verified', 'rolled_back') OR validation_format IS NOT NULL"
            ),
            "validation_scope_set": (
                "state NOT IN ('validated', 'queued', 'applied', 'apply_failed', "
                "'verified', 'rolled_back') OR validation_scope IS NOT NULL"
            ),
            "validation_constraints_set": (
                "state NOT IN ('validated', 'queued', 'applied', 'apply_failed', "
                "'verified', 'rolled_back') OR validation_constraints IS NOT NULL"
            ),
            "validation_tests_passed_set": (
                "state NOT IN ('verified', 'rolled_back') OR validation_tests_passed IS NOT NULL"
            ),
            "apply_attempts": "apply_attempts BETWEEN 0 AND 3",
            "applied_at_set": "state NOT IN ('applied', 'verified', 'rolled_back') OR applied_at IS NOT NULL",
            "last_error_set": "state NOT IN ('apply_failed') OR last_error IS NOT NULL",
            "commit_sha_exactly": "(state IN ('rolled_back')) = (commit_sha IS NOT NULL)",
            "committed_at_exactly": "(state IN ('rolled_back')) = (committed_at IS NOT NULL)",
            "quarantine_reason_set": "state NOT IN ('quarantined') OR quarantine_reason IS NOT NULL",
            "quarantined_at_set": "state NOT IN ('quarantined') OR quarantined_at IS NOT NULL",
            "quarantined_at_unset": (
                "state NOT IN ('created', 'validated', 'queued', 'applied', "
                "'apply_failed', 'verified', 'rolled_back') OR quarantined_at IS NULL"
            ),
            "rollback_reason_exactly": "(state IN ('rolled_back')) = (rollback_reason IS NOT NULL)",
            "rollback_compensation_exactly": "(state IN ('rolled_back')) = (rollback_compensation IS NOT NULL)",
            "rolled_back_at_exactly": "(state IN ('rolled_back')) = (rolled_back_at IS NOT NULL)",
            "not_superseding_itself": "supersedes <> id",
            "applied_at_after_created_at": "applied_at IS NULL OR created_at IS NULL OR applied_at >= created_at",
            "committed_at_after_applied_at": "committed_at IS NULL OR applied_at IS NULL OR committed_at >= applied_at",
            "rolled_back_at_after_committed_at": (
                "rolled_back_at IS NULL OR committed_at IS NULL OR rolled_back_at >= committed_at"
            ),
            "quarantined_at_after_created_at": (
                "quarantined_at IS NULL OR created_at IS NULL OR quarantined_at >= created_at"
            ),
        },
        references={
            "run_id": "runs",
            "patch_id": "patches",
            "task_id": "tasks",
            "workstream_id": "workstreams",
            "phase_id": "phases",
            "supersedes": "patch_ledger_entries",
        },
        indexes=[("run_id", "state"), ("patch_id",), ("task_id",), ("workstream_id",), ("supersedes",)],
    )
    bring_back(revision, "patches", "patch_ledger_entries")


def downgrade() -> None:
    drop(revision, "patch_ledger_entries", "patches")
