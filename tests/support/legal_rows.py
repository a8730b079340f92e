"""Rows that are legal in each state of each table, and what makes them illegal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from prefect_acms.canonical.machines import MACHINES

T0, T1, T2, T3, T4 = (f"2026-01-31T09:0{n}:00.000000Z" for n in range(5))
SHA = "a" * 64
Row = dict[str, Any]


@dataclass
class Table:
    """What a table holds in every state, and what it must and must not hold in some."""

    machine: str
    always: Row
    values: Row = field(default_factory=dict)
    """A legal value of each column that depends on the state."""
    needs: dict[str, set[str]] = field(default_factory=dict)
    """Column -> the states in which it must be set."""
    bans: dict[str, set[str]] = field(default_factory=dict)
    """Column -> the states in which it must be NULL."""
    wrong: list[Row] = field(default_factory=list)
    """Values that no state allows."""
    wrong_in: list[tuple[str, Row]] = field(default_factory=list)
    """Values that one state does not allow."""

    @property
    def states(self) -> list[str]:
        """All states of the machine."""
        return [state.value for state in MACHINES[self.machine].states]

    def row(self, state: str) -> Row:
        """The barest row that is legal in that state."""
        set_here = {name: self.values[name] for name, states in self.needs.items() if state in states}
        return {"id": "x", "state": state, "version": 1, **COMMON, **self.always, **set_here}


COMMON = {"created_at": T0, "updated_at": T0, "metadata": "{}"}


def but(machine: str, *states: str) -> set[str]:
    """All states of a machine except these."""
    return {state.value for state in MACHINES[machine].states} - set(states)


def exactly(*states: str, of: str) -> tuple[set[str], set[str]]:
    """The states in which a column is set, and those in which it is not."""
    return set(states), but(of, *states)


RUN_ENDS = {"succeeded", "failed", "quarantined", "canceled"}
STREAM_ENDS = {"completed", "failed", "cancelled", "skipped"}
TASK_ENDS = {"completed", "failed", "cancelled"}
VALID_PATCH = {
    "validated", "awaiting_review", "queued", "applied", "apply_failed", "verified", "committed", "rolled_back",
}  # fmt: skip
COMMITTED = {"committed", "rolled_back"}

TABLES: dict[str, Table] = {
    "runs": Table(
        "run",
        {"repo_root": "/r", "mode": "full", "config": "{}", "epoch": 0},
        {"started_at": T1, "completed_at": T2, "error": "?", "quarantine_reason": "?"},
        {
            "started_at": {"running", "succeeded", "failed", "quarantined"},
            "completed_at": RUN_ENDS,
            "error": {"failed"},
            "quarantine_reason": {"quarantined"},
        },
        {
            "started_at": {"pending"},
            "completed_at": {"pending", "running"},
            "quarantine_reason": but("run", "quarantined"),
        },
        [{"epoch": -1}, {"version": 0}],
        [("running", {"created_at": T2}), ("succeeded", {"started_at": T3}), ("canceled", {"created_at": T3})],
    ),
    "workstreams": Table(
        "workstream",
        {
            "run_id": "r", "name": "n", "category": "c", "priority_score": 5.0, "effort": "low", "file_scope": "[]",
            "is_critical": 0,
        },
        {"started_at": T1, "completed_at": T2, "error": "?"},
        {
            "started_at": {"executing", "validating", "completed"},
            "completed_at": STREAM_ENDS,
            "error": {"failed"},
        },
        {
            "started_at": {"planned", "ready", "blocked", "skipped"},
            "completed_at": but("workstream", *STREAM_ENDS),
        },
        [{"version": 0}, {"priority_score": 10.5}, {"priority_score": -1}, {"effort": "huge"}],
        [("executing", {"created_at": T2}), ("completed", {"started_at": T3}), ("skipped", {"created_at": T3})],
    ),
    "tasks": Table(
        "task",
        {
            "workstream_id": "w", "run_id": "r", "kind": "test", "description": "", "file_scope": "[]",
            "is_critical": 0, "required_capabilities": "[]", "retry_count": 0, "max_retries": 3, "timeout_sec": 1800,
            "attempt": 0,
        },
        {
            "worker_id": "w", "completed_at": T3, "started_at": T2, "queued_at": T1, "blocked_by": "[]",
            "exit_code": 0, "next_attempt_at": T3, "last_error": "?",
        },
        {
            "worker_id": {"running"},
            "completed_at": TASK_ENDS,
            "started_at": {"running", "validating", "retrying", "completed"},
            "queued_at": {"queued", "running", "validating", "retrying", "completed"},
            "blocked_by": {"blocked"},
            "exit_code": {"validating", "completed"},
            "next_attempt_at": {"retrying"},
            "last_error": {"failed", "retrying"},
        },
        {
            "worker_id": but("task", "running"),
            "completed_at": but("task", *TASK_ENDS),
            "blocked_by": {"pending", "queued", "running", "validating", "retrying", "completed"},
        },
        [
            {"version": 0}, {"retry_count": 4}, {"retry_count": -1}, {"max_retries": -1}, {"timeout_sec": 0},
            {"attempt": -1}, {"retry_of": "x"},
        ],
        [
            ("queued", {"created_at": T2}), ("running", {"created_at": T3}), ("completed", {"started_at": T4}),
            ("cancelled", {"created_at": T4}), ("failed", {"created_at": T3, "started_at": T2}),
        ],
    ),
    "gaps": Table(
        "gap",
        {
            "run_id": "r", "source": "s", "rule_id": "r", "fingerprint": "f", "title": "t", "description": "",
            "category": "c", "severity": "low", "file_paths": "[]", "dependencies": "[]",
        },
        {"workstream_id": "w", "deferred_reason": "?"},
        {"workstream_id": {"clustered", "planned", "in_progress", "resolved"}, "deferred_reason": {"deferred"}},
        {"deferred_reason": but("gap", "deferred")},
        [{"version": 0}, {"severity": "awful"}, {"start_line": 0}, {"start_line": 3, "end_line": 2}],
    ),
    "workers": Table(
        "worker",
        {"worker_type": "t", "capabilities": "[]", "current_load": 0, "last_heartbeat": T0},
        {"shutdown_at": T1},
        {"shutdown_at": {"shutdown"}},
        {"shutdown_at": but("worker", "shutdown")},
        [{"version": 0}, {"current_load": 2}, {"current_load": -1}],
        [
            ("idle", {"current_load": 1}), ("initializing", {"current_load": 1}), ("shutdown", {"created_at": T2}),
        ],
    ),
    "uet_workers": Table(
        "uet_worker",
        {"worker_type": "t", "last_heartbeat": T0},
        {"terminated_at": T1},
        {"terminated_at": {"TERMINATED"}},
        {"terminated_at": but("uet_worker", "TERMINATED")},
        [{"version": 0}],
        [("TERMINATED", {"created_at": T2})],
    ),
    "patch_ledger_entries": Table(
        "patch_ledger",
        {"run_id": "r", "patch_id": "p", "task_id": "t", "workstream_id": "w", "apply_attempts": 0},
        {
            "validation_format": 1, "validation_scope": 1, "validation_constraints": 1, "validation_tests_passed": 1,
            "applied_at": T1, "last_error": "?", "commit_sha": "c", "committed_at": T2, "quarantine_reason": "?",
            "quarantined_at": T1, "rollback_reason": "?", "rollback_compensation": "{}", "rolled_back_at": T3,
        },
        {
            "validation_format": VALID_PATCH,
            "validation_scope": VALID_PATCH,
            "validation_constraints": VALID_PATCH,
            "validation_tests_passed": {"verified"} | COMMITTED,
            "applied_at": {"applied", "verified"} | COMMITTED,
            "last_error": {"apply_failed"},
            "commit_sha": COMMITTED,
            "committed_at": COMMITTED,
            "quarantine_reason": {"quarantined"},
            "quarantined_at": {"quarantined"},
            "rollback_reason": {"rolled_back"},
            "rollback_compensation": {"rolled_back"},
            "rolled_back_at": {"rolled_back"},
        },
        {
            "commit_sha": but("patch_ledger", *COMMITTED),
            "committed_at": but("patch_ledger", *COMMITTED),
            "quarantined_at": but("patch_ledger", "quarantined", "dropped"),
            "rollback_reason": but("patch_ledger", "rolled_back"),
            "rollback_compensation": but("patch_ledger", "rolled_back"),
            "rolled_back_at": but("patch_ledger", "rolled_back"),
        },
        [{"version": 0}, {"apply_attempts": 4}, {"apply_attempts": -1}, {"supersedes": "x"}],
        [
            ("applied", {"created_at": T2}), ("committed", {"applied_at": T3}), ("rolled_back", {"committed_at": T4}),
            ("quarantined", {"created_at": T2}),
        ],
    ),
    "test_gates": Table(
        "test_gate",
        {"run_id": "r", "gate_type": "UNIT", "command": "[]", "timeout_sec": 1, "timed_out": 0},
        {"started_at": T1, "exit_code": 0, "completed_at": T2},
        {
            "started_at": {"RUNNING", "PASSED", "FAILED"},
            "exit_code": {"PASSED", "FAILED"},
            "completed_at": {"PASSED", "FAILED"},
        },
        {
            "started_at": {"PENDING", "BLOCKED"},
            "exit_code": {"PENDING", "RUNNING", "BLOCKED"},
            "completed_at": {"PENDING", "RUNNING", "BLOCKED"},
        },
        [
            {"version": 0}, {"gate_type": "LOOKS"}, {"timeout_sec": 0}, {"duration_sec": -1}, {"rerun_of": "x"},
            {"timed_out": 1},
        ],
        [
            ("PASSED", {"timed_out": 1, "exit_code": 124}), ("FAILED", {"timed_out": 1, "exit_code": 1}),
            ("RUNNING", {"created_at": T2}), ("PASSED", {"started_at": T3}),
        ],
    ),
    "circuit_breakers": Table(
        "circuit_breaker",
        {
            "tool_id": "t", "failure_count": 0, "success_count": 0, "failure_threshold": 5, "cooldown_seconds": 60,
            "success_threshold": 1,
        },
        {"opened_at": T0},
        {"opened_at": {"OPEN", "HALF_OPEN"}},
        {},
        [
            {"version": 0}, {"failure_count": -1}, {"success_count": -1}, {"failure_threshold": 0},
            {"success_threshold": 0}, {"cooldown_seconds": -1},
        ],
    ),
}  # fmt: skip

WITH_STATES = [(name, state) for name, table in TABLES.items() for state in table.states]

WITHOUT_STATE: dict[str, tuple[Row, list[Row]]] = {
    "phases": (
        {
            "id": "x", "version": 1, **COMMON, "run_id": "r", "name": "summary", "ordinal": 5, "started_at": T1,
            "completed_at": T2, "outcome": "done", "artifacts": "{}",
        },
        [
            {"version": 0}, {"name": "lunch"}, {"ordinal": 6}, {"ordinal": -1}, {"outcome": None},
            {"completed_at": None}, {"completed_at": T0}, {"created_at": T2},
        ],
    ),
    "patches": (
        {
            "id": "x", "version": 1, **COMMON, "task_id": "t", "content": b"", "sha256": SHA, "files": "[]",
            "lines_added": 0, "lines_removed": 0,
        },
        [{"version": 0}, {"sha256": "short"}, {"lines_added": -1}, {"lines_removed": -1}],
    ),
    "budget_entries": (
        {
            "id": "x", "version": 1, **COMMON, "run_id": "r", "tool_id": "t", "wall_sec": 0.0, "tool_runs": 0,
            "tokens": 0, "micro_usd": 0, "expires_at": T1,
        },
        [{"version": 0}, {"wall_sec": -1}, {"tool_runs": -1}, {"tokens": -1}, {"micro_usd": -1}],
    ),
    "tool_metrics": (
        {"tool_id": "t", "call_count": 2, "success_count": 2, "total_latency_ms": 1.5, "updated_at": T0},
        [{"success_count": 3}, {"success_count": -1}, {"call_count": 1}, {"total_latency_ms": -1}],
    ),
    "routing_indexes": ({"rule_id": "r", "next_index": 0}, [{"next_index": -1}]),
    "chain_heads": ({"run_id": "r", "seq": 0, "hash": SHA}, [{"seq": -1}, {"hash": "short"}]),
    "state_transitions": (
        {
            "event_id": "e", "run_id": "r", "entity_type": "run", "entity_id": "r", "to_state": "pending",
            "trigger": "created", "severity": "info", "metadata": "{}", "transitioned_at": T0, "chain_seq": 1,
            "prev_hash": SHA, "hash": SHA,
        },
        [{"severity": "loud"}, {"chain_seq": 0}, {"prev_hash": ""}, {"hash": ""}],
    ),
    "workstream_dependencies": ({"workstream_id": "a", "depends_on_id": "b"}, [{"depends_on_id": "a"}]),
    "task_dependencies": ({"task_id": "a", "depends_on_id": "b"}, [{"depends_on_id": "a"}]),
    "gate_dependencies": ({"gate_id": "a", "depends_on_id": "b"}, [{"depends_on_id": "a"}]),
    "task_gates": ({"task_id": "a", "gate_id": "b", "role": "exit"}, [{"role": "side"}]),
}  # fmt: skip
