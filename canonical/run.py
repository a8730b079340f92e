"""The lifecycle of a run."""

from __future__ import annotations

from enum import StrEnum

from prefect_acms.canonical.machine import Edge, Facts, Guard, Machine, Severity, given, now
from prefect_acms.canonical.verdicts import Verdict, run_verdict


class RunState(StrEnum):
    """Where a run stands; the run says `canceled`."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    CANCELED = "canceled"


class RunTrigger(StrEnum):
    """What moves a run."""

    RUN_STARTED = "run_started"
    USER_CANCELLED = "user_cancelled"
    ALL_WORKSTREAMS_COMPLETE = "all_workstreams_complete"
    CRITICAL_WORKSTREAM_FAILED = "critical_workstream_failed"
    INCOMPLETE = "incomplete"
    RUN_CRASHED = "run_crashed"
    SAFETY_VIOLATION = "safety_violation"
    UNRESOLVED_OUTCOME = "unresolved_outcome"


def _complete(facts: Facts) -> bool:
    verdict = run_verdict(
        facts["workstreams"], allow_noncritical_failures=bool(facts.get("allow_noncritical_failures"))
    )
    return verdict in {Verdict.SUCCEEDED, Verdict.DEGRADED}


def _failed(facts: Facts) -> bool:
    if facts["trigger"] == RunTrigger.RUN_CRASHED:
        return True
    children = facts["workstreams"]
    if facts["trigger"] == RunTrigger.CRITICAL_WORKSTREAM_FAILED:
        return any(child.is_critical and child.state == "failed" for child in children)
    return run_verdict(children, allow_noncritical_failures=False) is Verdict.FAILED


COMPLETE = Guard(
    "every workstream is completed or skipped, or the policy allows what failed", ("workstreams",), _complete
)
FAILED = Guard(
    "a critical workstream failed, or all have ended and not all are completed or skipped, or the engine crashed",
    ("workstreams", "trigger"),
    _failed,
)
CHILDREN_ENDED = Guard(
    "its children are cancelled first", ("open_children",), lambda facts: facts["open_children"] == 0
)

_S, _T = RunState, RunTrigger

RUN = Machine(
    "run",
    RunState,
    RunTrigger,
    {
        _S.PENDING: (
            Edge.to(_S.RUNNING, _T.RUN_STARTED, sets=now("started_at")),
            Edge.to(_S.CANCELED, _T.USER_CANCELLED, severity=Severity.WARNING, sets=now("completed_at")),
        ),
        _S.RUNNING: (
            Edge.to(_S.SUCCEEDED, _T.ALL_WORKSTREAMS_COMPLETE, sets=now("completed_at"), guard=COMPLETE),
            Edge.to(
                _S.FAILED,
                _T.CRITICAL_WORKSTREAM_FAILED,
                _T.INCOMPLETE,
                _T.RUN_CRASHED,
                severity=Severity.CRITICAL,
                sets=now("completed_at") | given("error"),
                guard=FAILED,
            ),
            Edge.to(
                _S.QUARANTINED,
                _T.SAFETY_VIOLATION,
                _T.UNRESOLVED_OUTCOME,
                severity=Severity.CRITICAL,
                sets=now("completed_at") | given("quarantine_reason"),
            ),
            Edge.to(
                _S.CANCELED,
                _T.USER_CANCELLED,
                severity=Severity.WARNING,
                sets=now("completed_at"),
                guard=CHILDREN_ENDED,
            ),
        ),
        _S.SUCCEEDED: (),
        _S.FAILED: (),
        _S.QUARANTINED: (),
        _S.CANCELED: (),
    },
)
