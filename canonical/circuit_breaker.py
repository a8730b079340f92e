"""The lifecycle of a circuit breaker."""

from __future__ import annotations

from enum import StrEnum

from prefect_acms.canonical.machine import Edge, Facts, Guard, Machine, Severity, given, now, zero


class CircuitBreakerState(StrEnum):
    """Where a breaker stands."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


class CircuitBreakerTrigger(StrEnum):
    """What moves a breaker."""

    FAILURE_THRESHOLD_EXCEEDED = "failure_threshold_exceeded"
    COOLDOWN_EXPIRED = "cooldown_expired"
    MANUAL_RESET = "manual_reset"
    SUCCESS_THRESHOLD_MET = "success_threshold_met"
    PROBE_FAILED = "probe_failed"


def _may_probe(facts: Facts) -> bool:
    if facts["trigger"] == CircuitBreakerTrigger.MANUAL_RESET:
        return bool(facts["operator"])
    return bool(facts["open_for_sec"] >= facts["cooldown_seconds"])


MAY_PROBE = Guard(
    "the cooldown has passed, or an operator resets it",
    ("trigger", "operator", "open_for_sec", "cooldown_seconds"),
    _may_probe,
)

_S, _T = CircuitBreakerState, CircuitBreakerTrigger

CIRCUIT_BREAKER = Machine(
    "circuit_breaker",
    CircuitBreakerState,
    CircuitBreakerTrigger,
    {
        _S.CLOSED: (
            Edge.to(
                _S.OPEN,
                _T.FAILURE_THRESHOLD_EXCEEDED,
                severity=Severity.ERROR,
                sets=now("opened_at") | given("failure_count"),
            ),
        ),
        _S.OPEN: (
            Edge.to(_S.HALF_OPEN, _T.COOLDOWN_EXPIRED, _T.MANUAL_RESET, severity=Severity.WARNING, guard=MAY_PROBE),
        ),
        _S.HALF_OPEN: (
            Edge.to(_S.CLOSED, _T.SUCCESS_THRESHOLD_MET, sets=zero("failure_count")),
            Edge.to(_S.OPEN, _T.PROBE_FAILED, severity=Severity.ERROR, sets=now("opened_at")),
        ),
    },
)
