"""Circuit breakers, tool metrics, and the turns of round-robin rules."""

from __future__ import annotations

from prefect_acms.dao.migrations.keeping import bring_back, drop
from prefect_acms.dao.migrations.tables import FLOAT, INTEGER, MOMENT, common, create, optional, required

revision = "008"
down_revision = "007"


def upgrade() -> None:
    create(
        "circuit_breakers",
        *common(),
        required("tool_id"),
        required("failure_count", INTEGER),
        required("success_count", INTEGER),
        required("failure_threshold", INTEGER),
        required("cooldown_seconds", FLOAT),
        required("success_threshold", INTEGER),
        optional("opened_at", MOMENT),
        optional("last_failure_at", MOMENT),
        checks={
            "state": "state IN ('CLOSED', 'OPEN', 'HALF_OPEN')",
            "version": "version >= 1",
            "failure_count": "failure_count >= 0",
            "success_count": "success_count >= 0",
            "failure_threshold": "failure_threshold >= 1",
            "success_threshold": "success_threshold >= 1",
            "cooldown_seconds": "cooldown_seconds >= 0",
            "opened_at_set": "state NOT IN ('OPEN', 'HALF_OPEN') OR opened_at IS NOT NULL",
        },
        unique=[("tool_id",)],
    )
    create(
        "tool_metrics",
        required("tool_id"),
        required("call_count", INTEGER),
        required("success_count", INTEGER),
        required("total_latency_ms", FLOAT),
        required("updated_at", MOMENT),
        key=("tool_id",),
        checks={
            "success_count": "success_count BETWEEN 0 AND call_count",
            "total_latency_ms": "total_latency_ms >= 0",
        },
    )
    create(
        "routing_indexes",
        required("rule_id"),
        required("next_index", INTEGER),
        key=("rule_id",),
        checks={
            "next_index": "next_index >= 0",
        },
    )
    bring_back(revision, "circuit_breakers", "tool_metrics", "routing_indexes")


def downgrade() -> None:
    drop(revision, "routing_indexes", "tool_metrics", "circuit_breakers")
