"""The states that the execution engine brings: run quarantined, patch awaiting_review and committed, and the gaps."""

from __future__ import annotations

from alembic import op

from prefect_acms.dao.migrations.keeping import bring_back, drop, put_aside, set_back
from prefect_acms.dao.migrations.tables import (
    INTEGER,
    JSON,
    TEXT,
    common,
    create,
    exchange_checks,
    optional,
    required,
)

revision = "009"
down_revision = "008"

RUN_CHECKS_008 = {
    "state": "state IN ('pending', 'running', 'succeeded', 'failed', 'canceled')",
    "started_at_set": "state NOT IN ('running', 'succeeded', 'failed') OR started_at IS NOT NULL",
    "completed_at_exactly": "(state IN ('succeeded', 'failed', 'canceled')) = (completed_at IS NOT NULL)",
}
RUN_CHECKS_009 = {
    "state": "state IN ('pending', 'running', 'succeeded', 'failed', 'quarantined', 'canceled')",
    "started_at_set": "state NOT IN ('running', 'succeeded', 'failed', 'quarantined') OR started_at IS NOT NULL",
    "completed_at_exactly": (
        "(state IN ('succeeded', 'failed', 'quarantined', 'canceled')) = (completed_at IS NOT NULL)"
    ),
    "quarantine_reason_exactly": "(state IN ('quarantined')) = (quarantine_reason IS NOT NULL)",
}
_VALID_008 = "('validated', 'queued', 'applied', 'apply_failed', 'verified', 'rolled_back')"
_VALID_009 = (
    "('validated', 'awaiting_review', 'queued', 'applied', 'apply_failed', 'verified', 'committed', 'rolled_back')"
)
PATCH_CHECKS_008 = {
    "state": (
        "state IN ('created', 'validated', 'queued', 'applied', 'apply_failed', 'verified', "
        "'rolled_back', 'quarantined', 'dropped')"
    ),
    "validation_format_set": f"state NOT IN {_VALID_008} OR validation_format IS NOT NULL",
    "validation_scope_set": f"state NOT IN {_VALID_008} OR validation_scope IS NOT NULL",
    "validation_constraints_set": f"state NOT IN {_VALID_008} OR validation_constraints IS NOT NULL",
    "validation_tests_passed_set": "state NOT IN ('verified', 'rolled_back') OR validation_tests_passed IS NOT NULL",
    "applied_at_set": "state NOT IN ('applied', 'verified', 'rolled_back') OR applied_at IS NOT NULL",
    "commit_sha_exactly": "(state IN ('rolled_back')) = (commit_sha IS NOT NULL)",
    "committed_at_exactly": "(state IN ('rolled_back')) = (committed_at IS NOT NULL)",
    "quarantined_at_unset": (
        "state NOT IN ('created', 'validated', 'queued', 'applied', 'apply_failed', 'verified', "
        "'rolled_back') OR quarantined_at IS NULL"
    ),
}
PATCH_CHECKS_009 = {
    "state": (
        "state IN ('created', 'validated', 'awaiting_review', 'queued', 'applied', 'apply_failed', 'verified', "
        "'committed', 'rolled_back', 'quarantined', 'dropped')"
    ),
    "validation_format_set": f"state NOT IN {_VALID_009} OR validation_format IS NOT NULL",
    "validation_scope_set": f"state NOT IN {_VALID_009} OR validation_scope IS NOT NULL",
    "validation_constraints_set": f"state NOT IN {_VALID_009} OR validation_constraints IS NOT NULL",
    "validation_tests_passed_set": (
        "state NOT IN ('verified', 'committed', 'rolled_back') OR validation_tests_passed IS NOT NULL"
    ),
    "applied_at_set": "state NOT IN ('applied', 'verified', 'committed', 'rolled_back') OR applied_at IS NOT NULL",
    "commit_sha_exactly": "(state IN ('committed', 'rolled_back')) = (commit_sha IS NOT NULL)",
    "committed_at_exactly": "(state IN ('committed', 'rolled_back')) = (committed_at IS NOT NULL)",
    "quarantined_at_unset": (
        "state NOT IN ('created', 'validated', 'awaiting_review', 'queued', 'applied', 'apply_failed', 'verified', "
        "'committed', 'rolled_back') OR quarantined_at IS NULL"
    ),
}

RUNS_BEFORE = """
    UPDATE runs SET state = 'failed', error = COALESCE(error, 'quarantined: ' || quarantine_reason),
    quarantine_reason = NULL WHERE state = 'quarantined'
"""
REVIEWED_BEFORE = "UPDATE patch_ledger_entries SET state = 'validated' WHERE state = 'awaiting_review'"
COMMITTED_BEFORE = """
    UPDATE patch_ledger_entries SET state = 'verified', commit_sha = NULL, committed_at = NULL
    WHERE state = 'committed'
"""


def upgrade() -> None:
    create(
        "gaps",
        *common(),
        required("run_id"),
        optional("workstream_id"),
        required("source"),
        required("rule_id"),
        required("fingerprint"),
        required("title", TEXT),
        required("description", TEXT),
        required("category"),
        required("severity"),
        required("file_paths", JSON),
        optional("start_line", INTEGER),
        optional("end_line", INTEGER),
        required("dependencies", JSON),
        optional("deferred_reason", TEXT),
        checks={
            "state": "state IN ('discovered', 'clustered', 'planned', 'in_progress', 'resolved', 'deferred')",
            "version": "version >= 1",
            "severity": "severity IN ('critical', 'high', 'medium', 'low', 'info')",
            "workstream_id_set": (
                "state NOT IN ('clustered', 'planned', 'in_progress', 'resolved') OR workstream_id IS NOT NULL"
            ),
            "deferred_reason_exactly": "(state IN ('deferred')) = (deferred_reason IS NOT NULL)",
            "start_line": "start_line >= 1",
            "end_line": "end_line IS NULL OR start_line IS NULL OR end_line >= start_line",
        },
        references={"run_id": "runs", "workstream_id": "workstreams"},
        indexes=[("run_id", "state"), ("workstream_id",), ("fingerprint",)],
    )
    bring_back(revision, "gaps")
    exchange_checks("runs", RUN_CHECKS_008, RUN_CHECKS_009)
    set_back(revision, "runs", ["state", "error", "quarantine_reason"])
    exchange_checks("patch_ledger_entries", PATCH_CHECKS_008, PATCH_CHECKS_009)
    set_back(revision, "patch_ledger_entries", ["state", "commit_sha", "committed_at"])


def downgrade() -> None:
    """Rows in the new states go to the nearest older one; the upgrade gives them their state back."""
    put_aside(revision, "patch_ledger_entries", "state IN ('awaiting_review', 'committed')")
    op.execute(REVIEWED_BEFORE)
    op.execute(COMMITTED_BEFORE)
    exchange_checks("patch_ledger_entries", PATCH_CHECKS_009, PATCH_CHECKS_008)
    put_aside(revision, "runs", "state = 'quarantined'")
    op.execute(RUNS_BEFORE)
    exchange_checks("runs", RUN_CHECKS_009, RUN_CHECKS_008)
    drop(revision, "gaps")
