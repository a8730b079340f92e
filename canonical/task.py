"""The lifecycle of a task."""

from __future__ import annotations

from enum import StrEnum

from prefect_acms.canonical.machine import Edge, Facts, Guard, Machine, Severity, cleared, given, now, plus_one
from prefect_acms.canonical.verdicts import gates_passed, live_patches, patches_kept


class TaskState(StrEnum):
    """Where a task stands."""

    PENDING = "pending"
    QUEUED = "queued"
    BLOCKED = "blocked"
    RUNNING = "running"
    VALIDATING = "validating"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TaskTrigger(StrEnum):
    """What moves a task."""

    SCHEDULER_ASSIGNED = "scheduler_assigned"
    DEPENDENCY_CHECK_FAILED = "dependency_check_failed"
    GATE_FAILED = "gate_failed"
    DEPENDENCY_SATISFIED = "dependency_satisfied"
    DEPENDENCY_UNSATISFIABLE = "dependency_unsatisfiable"
    WORKER_STARTED = "worker_started"
    EXECUTION_COMPLETED = "execution_completed"
    EXECUTION_FAILED = "execution_failed"
    TIMEOUT_EXCEEDED = "timeout_exceeded"
    WORKER_LOST = "worker_lost"
    RETRY_DELAY_ELAPSED = "retry_delay_elapsed"
    VALIDATION_PASSED = "validation_passed"
    VALIDATION_FAILED = "validation_failed"
    USER_CANCELLED = "user_cancelled"
    RUN_ENDED = "run_ended"


def _clear_to_start(facts: Facts) -> bool:
    return all(state == "completed" for state in facts["dependency_states"]) and gates_passed(
        facts["entry_gate_states"]
    )


def _held_up(facts: Facts) -> bool:
    return any(state in {"failed", "cancelled", "blocked"} for state in facts["dependency_states"]) or any(
        state in {"FAILED", "BLOCKED"} for state in facts["entry_gate_states"]
    )


def _worker_fits(facts: Facts) -> bool:
    return facts["worker_state"] == "idle" and set(facts["required_capabilities"]) <= set(facts["worker_capabilities"])


def _may_retry(facts: Facts) -> bool:
    return bool(facts["retryable"]) and facts["retry_count"] < facts["max_retries"]


def _completed(facts: Facts) -> bool:
    patches = facts["patches"]
    nothing_kept = bool(live_patches(patches)) and all(p.state == "quarantined" for p in live_patches(patches))
    return gates_passed(facts["exit_gate_states"]) and patches_kept(patches) and not nothing_kept


CLEAR = Guard(
    "every task it depends on is completed and every entry gate is PASSED",
    ("dependency_states", "entry_gate_states"),
    _clear_to_start,
)
HELD_UP = Guard(
    "a dependency or entry gate is failed, cancelled or held", ("dependency_states", "entry_gate_states"), _held_up
)
NOT_HELD_UP = Guard(
    "nothing blocks it any more", ("dependency_states", "entry_gate_states"), lambda facts: not _held_up(facts)
)
WORKER_FITS = Guard(
    "the worker is idle and has the required capabilities",
    ("worker_state", "worker_capabilities", "required_capabilities"),
    _worker_fits,
)
EXPECTED_EXIT = Guard(
    "the exit code is among the expected ones",
    ("exit_code", "expected_exit_codes"),
    lambda facts: facts["exit_code"] in facts["expected_exit_codes"],
)
MAY_RETRY = Guard(
    "retries are left and the error is retryable", ("retryable", "retry_count", "max_retries"), _may_retry
)
NO_RETRY = Guard(
    "retries are exhausted or the error is not retryable",
    ("retryable", "retry_count", "max_retries"),
    lambda facts: not _may_retry(facts),
)
COMPLETE = Guard(
    "every exit gate is PASSED and its patch, if any, is verified or committed",
    ("exit_gate_states", "patches"),
    _completed,
)

_S, _T = TaskState, TaskTrigger
_WENT_WRONG = (_T.EXECUTION_FAILED, _T.TIMEOUT_EXCEEDED, _T.WORKER_LOST)
_CANCELLED = Edge.to(_S.CANCELLED, _T.USER_CANCELLED, _T.RUN_ENDED, severity=Severity.WARNING, sets=now("completed_at"))

TASK = Machine(
    "task",
    TaskState,
    TaskTrigger,
    {
        _S.PENDING: (
            Edge.to(_S.QUEUED, _T.SCHEDULER_ASSIGNED, sets=now("queued_at"), guard=CLEAR),
            Edge.to(_S.BLOCKED, _T.DEPENDENCY_CHECK_FAILED, sets=given("blocked_by"), guard=HELD_UP),
            _CANCELLED,
        ),
        _S.QUEUED: (
            Edge.to(
                _S.BLOCKED,
                _T.DEPENDENCY_CHECK_FAILED,
                _T.GATE_FAILED,
                severity=Severity.WARNING,
                sets=given("blocked_by"),
            ),
            Edge.to(
                _S.RUNNING,
                _T.WORKER_STARTED,
                sets=given("worker_id") | now("started_at") | plus_one("attempt"),
                guard=WORKER_FITS,
            ),
            _CANCELLED,
        ),
        _S.BLOCKED: (
            Edge.to(_S.PENDING, _T.DEPENDENCY_SATISFIED, sets=cleared("blocked_by"), guard=NOT_HELD_UP),
            Edge.to(
                _S.FAILED,
                _T.DEPENDENCY_UNSATISFIABLE,
                severity=Severity.ERROR,
                sets=now("completed_at") | given("last_error"),
            ),
            _CANCELLED,
        ),
        _S.RUNNING: (
            Edge.to(
                _S.VALIDATING,
                _T.EXECUTION_COMPLETED,
                sets=cleared("worker_id") | given("exit_code"),
                guard=EXPECTED_EXIT,
            ),
            Edge.to(
                _S.RETRYING,
                *_WENT_WRONG,
                severity=Severity.WARNING,
                sets=cleared("worker_id") | plus_one("retry_count") | given("next_attempt_at", "last_error"),
                guard=MAY_RETRY,
            ),
            Edge.to(
                _S.FAILED,
                *_WENT_WRONG,
                severity=Severity.ERROR,
                sets=cleared("worker_id") | now("completed_at") | given("last_error"),
                guard=NO_RETRY,
            ),
            Edge.to(
                _S.CANCELLED,
                _T.USER_CANCELLED,
                _T.RUN_ENDED,
                severity=Severity.WARNING,
                sets=cleared("worker_id") | now("completed_at"),
            ),
        ),
        _S.VALIDATING: (
            Edge.to(_S.COMPLETED, _T.VALIDATION_PASSED, sets=now("completed_at"), guard=COMPLETE),
            Edge.to(
                _S.FAILED,
                _T.VALIDATION_FAILED,
                severity=Severity.ERROR,
                sets=now("completed_at") | given("last_error"),
            ),
            _CANCELLED,
        ),
        _S.RETRYING: (
            Edge.to(_S.QUEUED, _T.RETRY_DELAY_ELAPSED, severity=Severity.WARNING, sets=now("queued_at")),
            _CANCELLED,
        ),
        _S.COMPLETED: (),
        _S.FAILED: (),
        _S.CANCELLED: (),
    },
)
