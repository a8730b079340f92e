"""The lifecycle of a patch, as the patch ledger keeps it."""

from __future__ import annotations

from enum import StrEnum

from prefect_acms.canonical.machine import Edge, Guard, Machine, Severity, given, now, plus_one
from prefect_acms.canonical.verdicts import gates_passed

MAX_APPLY_ATTEMPTS = 3


class PatchState(StrEnum):
    """Where a patch stands."""

    CREATED = "created"
    VALIDATED = "validated"
    AWAITING_REVIEW = "awaiting_review"
    QUEUED = "queued"
    APPLIED = "applied"
    APPLY_FAILED = "apply_failed"
    VERIFIED = "verified"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"
    QUARANTINED = "quarantined"
    DROPPED = "dropped"


class PatchTrigger(StrEnum):
    """What moves a patch."""

    VALIDATION_PASSED = "validation_passed"
    VALIDATION_FAILED = "validation_failed"
    SUPERSEDED = "superseded"
    RUN_ENDED = "run_ended"
    DISCARDED = "discarded"
    REVIEW_REQUIRED = "review_required"
    ACCEPTED = "accepted"
    POLICY_VIOLATION = "policy_violation"
    REVIEW_APPROVED = "review_approved"
    REVIEW_REJECTED = "review_rejected"
    REVIEW_EXPIRED = "review_expired"
    APPLY_SUCCEEDED = "apply_succeeded"
    APPLY_FAILED = "apply_failed"
    APPLY_RETRY = "apply_retry"
    APPLY_EXHAUSTED = "apply_exhausted"
    GATES_PASSED = "gates_passed"
    GATES_FAILED = "gates_failed"
    COMMIT_SUCCEEDED = "commit_succeeded"
    COMMIT_FAILED = "commit_failed"
    ROLLBACK_APPROVED = "rollback_approved"


_FLAGS = ("validation_format", "validation_scope", "validation_constraints")

VALID = Guard("format, scope and constraints all pass", _FLAGS, lambda facts: all(facts[flag] for flag in _FLAGS))
NO_REVIEW = Guard("the policy asks for no review", ("review_required",), lambda facts: not facts["review_required"])
MAY_APPLY_AGAIN = Guard(
    f"it was tried fewer than {MAX_APPLY_ATTEMPTS} times",
    ("apply_attempts",),
    lambda facts: facts["apply_attempts"] < MAX_APPLY_ATTEMPTS,
)
GATES_PASSED = Guard(
    "every required gate is PASSED", ("exit_gate_states",), lambda facts: gates_passed(facts["exit_gate_states"])
)
REVERTED = Guard("the working tree has been reverted first", ("reverted",), lambda facts: bool(facts["reverted"]))
COMPENSATED = Guard("the compensation plan has succeeded", ("compensated",), lambda facts: bool(facts["compensated"]))

_S, _T = PatchState, PatchTrigger
_QUARANTINED = given("quarantine_reason") | now("quarantined_at")
_DROPPED = Edge.to(_S.DROPPED, _T.SUPERSEDED, _T.RUN_ENDED, _T.DISCARDED)

PATCH_LEDGER = Machine(
    "patch_ledger",
    PatchState,
    PatchTrigger,
    {
        _S.CREATED: (
            Edge.to(_S.VALIDATED, _T.VALIDATION_PASSED, sets=given(*_FLAGS), guard=VALID),
            Edge.to(_S.QUARANTINED, _T.VALIDATION_FAILED, severity=Severity.WARNING, sets=_QUARANTINED),
            _DROPPED,
        ),
        _S.VALIDATED: (
            Edge.to(_S.AWAITING_REVIEW, _T.REVIEW_REQUIRED),
            Edge.to(_S.QUEUED, _T.ACCEPTED, guard=NO_REVIEW),
            Edge.to(_S.QUARANTINED, _T.POLICY_VIOLATION, severity=Severity.WARNING, sets=_QUARANTINED),
            _DROPPED,
        ),
        _S.AWAITING_REVIEW: (
            Edge.to(_S.QUEUED, _T.REVIEW_APPROVED, operator=(_T.REVIEW_APPROVED,)),
            Edge.to(
                _S.DROPPED,
                _T.REVIEW_REJECTED,
                _T.REVIEW_EXPIRED,
                _T.RUN_ENDED,
                severity=Severity.WARNING,
                operator=(_T.REVIEW_REJECTED,),
            ),
        ),
        _S.QUEUED: (
            Edge.to(_S.APPLIED, _T.APPLY_SUCCEEDED, sets=plus_one("apply_attempts") | now("applied_at")),
            Edge.to(
                _S.APPLY_FAILED,
                _T.APPLY_FAILED,
                severity=Severity.ERROR,
                sets=plus_one("apply_attempts") | given("last_error"),
            ),
            _DROPPED,
        ),
        _S.APPLY_FAILED: (
            Edge.to(_S.QUEUED, _T.APPLY_RETRY, severity=Severity.WARNING, guard=MAY_APPLY_AGAIN),
            Edge.to(_S.QUARANTINED, _T.APPLY_EXHAUSTED, severity=Severity.ERROR, sets=_QUARANTINED),
            Edge.to(_S.DROPPED, _T.DISCARDED, operator=(_T.DISCARDED,)),
        ),
        _S.APPLIED: (
            Edge.to(_S.VERIFIED, _T.GATES_PASSED, sets=given("validation_tests_passed"), guard=GATES_PASSED),
            Edge.to(
                _S.QUARANTINED,
                _T.GATES_FAILED,
                _T.RUN_ENDED,
                severity=Severity.WARNING,
                sets=_QUARANTINED,
                guard=REVERTED,
            ),
        ),
        _S.VERIFIED: (
            Edge.to(_S.COMMITTED, _T.COMMIT_SUCCEEDED, sets=given("commit_sha") | now("committed_at")),
            Edge.to(_S.QUARANTINED, _T.COMMIT_FAILED, severity=Severity.ERROR, sets=_QUARANTINED),
        ),
        _S.COMMITTED: (
            Edge.to(
                _S.ROLLED_BACK,
                _T.ROLLBACK_APPROVED,
                severity=Severity.CRITICAL,
                sets=given("rollback_reason", "rollback_compensation") | now("rolled_back_at"),
                guard=COMPENSATED,
                operator=(_T.ROLLBACK_APPROVED,),
            ),
        ),
        _S.ROLLED_BACK: (),
        _S.QUARANTINED: (Edge.to(_S.DROPPED, _T.DISCARDED, operator=(_T.DISCARDED,)),),
        _S.DROPPED: (),
    },
)
