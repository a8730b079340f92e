"""The lifecycle of a test gate."""

from __future__ import annotations

from enum import StrEnum

from prefect_acms.canonical.machine import Edge, Machine, Severity, given, now

TIMED_OUT_EXIT_CODE = 124


class TestGateState(StrEnum):
    """Where a gate stands."""

    __test__ = False

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PASSED = "PASSED"
    FAILED = "FAILED"
    BLOCKED = "BLOCKED"


class TestGateTrigger(StrEnum):
    """What moves a gate."""

    __test__ = False

    GATE_STARTED = "gate_started"
    DEPENDENCY_GATE_FAILED = "dependency_gate_failed"
    DEPENDENCY_GATE_PASSED = "dependency_gate_passed"
    EXPECTED_EXIT_CODE = "expected_exit_code"
    UNEXPECTED_EXIT_CODE = "unexpected_exit_code"
    TIMEOUT_EXCEEDED = "timeout_exceeded"


class GateType(StrEnum):
    """What a gate judges."""

    LINT = "LINT"
    UNIT = "UNIT"
    INTEGRATION = "INTEGRATION"
    SECURITY = "SECURITY"


_S, _T = TestGateState, TestGateTrigger
_RESULT = given("exit_code", "stdout", "stderr", "duration_sec") | now("completed_at")

TEST_GATE = Machine(
    "test_gate",
    TestGateState,
    TestGateTrigger,
    {
        _S.PENDING: (
            Edge.to(_S.RUNNING, _T.GATE_STARTED, sets=now("started_at")),
            Edge.to(_S.BLOCKED, _T.DEPENDENCY_GATE_FAILED, severity=Severity.WARNING),
        ),
        _S.RUNNING: (
            Edge.to(_S.PASSED, _T.EXPECTED_EXIT_CODE, sets=_RESULT),
            Edge.to(
                _S.FAILED,
                _T.UNEXPECTED_EXIT_CODE,
                _T.TIMEOUT_EXCEEDED,
                severity=Severity.ERROR,
                sets=_RESULT | given("timed_out"),
            ),
        ),
        _S.BLOCKED: (Edge.to(_S.PENDING, _T.DEPENDENCY_GATE_PASSED),),
        _S.PASSED: (),
        _S.FAILED: (),
    },
)
