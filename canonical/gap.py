"""The lifecycle of a gap."""

from __future__ import annotations

from enum import StrEnum

from prefect_acms.canonical.machine import Edge, Guard, Machine, Severity, given


class GapState(StrEnum):
    """Where a gap stands."""

    DISCOVERED = "discovered"
    CLUSTERED = "clustered"
    PLANNED = "planned"
    IN_PROGRESS = "in_progress"
    RESOLVED = "resolved"
    DEFERRED = "deferred"


class GapTrigger(StrEnum):
    """What moves a gap."""

    CLUSTERED = "clustered"
    FILTERED = "filtered"
    BASELINED = "baselined"
    DISABLED = "disabled"
    PLAN_COMPILED = "plan_compiled"
    NOT_FIXABLE = "not_fixable"
    TASK_STARTED = "task_started"
    TASK_NOT_RUN = "task_not_run"
    RUN_ENDED = "run_ended"
    RESCAN_CLEAN = "rescan_clean"
    STILL_PRESENT = "still_present"
    TASK_FAILED = "task_failed"
    PATCH_QUARANTINED = "patch_quarantined"


class GapSeverity(StrEnum):
    """How bad a gap is, worst first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"


CLEAN = Guard(
    "a re-scan of the patched tree no longer finds its fingerprint",
    ("fingerprint", "rescan_fingerprints"),
    lambda facts: facts["fingerprint"] not in facts["rescan_fingerprints"],
)

_S, _T = GapState, GapTrigger
_DEFERRED = given("deferred_reason")

GAP = Machine(
    "gap",
    GapState,
    GapTrigger,
    {
        _S.DISCOVERED: (
            Edge.to(_S.CLUSTERED, _T.CLUSTERED, severity=Severity.DEBUG, sets=given("workstream_id")),
            Edge.to(_S.DEFERRED, _T.FILTERED, _T.BASELINED, _T.DISABLED, sets=_DEFERRED),
        ),
        _S.CLUSTERED: (
            Edge.to(_S.PLANNED, _T.PLAN_COMPILED, severity=Severity.DEBUG),
            Edge.to(_S.DEFERRED, _T.NOT_FIXABLE, _T.DISABLED, sets=_DEFERRED),
        ),
        _S.PLANNED: (
            Edge.to(_S.IN_PROGRESS, _T.TASK_STARTED, severity=Severity.DEBUG),
            Edge.to(_S.DEFERRED, _T.TASK_NOT_RUN, _T.RUN_ENDED, sets=_DEFERRED),
        ),
        _S.IN_PROGRESS: (
            Edge.to(_S.RESOLVED, _T.RESCAN_CLEAN, guard=CLEAN),
            Edge.to(
                _S.DEFERRED,
                _T.STILL_PRESENT,
                _T.TASK_FAILED,
                _T.PATCH_QUARANTINED,
                _T.RUN_ENDED,
                sets=_DEFERRED,
            ),
        ),
        _S.RESOLVED: (),
        _S.DEFERRED: (),
    },
)
