"""The lifecycle of an orchestration worker: one slot of the pool that runs tasks."""

from __future__ import annotations

from enum import StrEnum

from prefect_acms.canonical.machine import Edge, Facts, Guard, Machine, Severity, now

UNRESPONSIVE_AFTER_SEC = 120
LOST_AFTER_SEC = 300


class WorkerState(StrEnum):
    """Where a worker stands."""

    INITIALIZING = "initializing"
    IDLE = "idle"
    BUSY = "busy"
    UNRESPONSIVE = "unresponsive"
    SHUTDOWN = "shutdown"


class WorkerTrigger(StrEnum):
    """What moves a worker."""

    REGISTERED = "registered"
    INIT_FAILED = "init_failed"
    TASK_ASSIGNED = "task_assigned"
    TASK_FINISHED = "task_finished"
    HEARTBEAT_MISSED = "heartbeat_missed"
    HEARTBEAT_RECOVERED = "heartbeat_recovered"
    RECOVERY_WINDOW_EXCEEDED = "recovery_window_exceeded"
    SHUTDOWN_REQUESTED = "shutdown_requested"
    WORKER_CRASHED = "worker_crashed"


def _fits(facts: Facts) -> bool:
    affinity = facts["affinity"]
    return set(facts["required_capabilities"]) <= set(facts["capabilities"]) and (
        not affinity or affinity == facts.get("task_affinity")
    )


def _silent_for(setting: str, default: int) -> Guard:
    return Guard(
        f"its last heartbeat is older than {default} s, or than the setting {setting}",
        ("heartbeat_age_sec",),
        lambda facts: facts["heartbeat_age_sec"] > facts.get(setting, default),
    )


FITS = Guard("capabilities and affinity match the task", ("capabilities", "affinity", "required_capabilities"), _fits)
SILENT = _silent_for("unresponsive_after_sec", UNRESPONSIVE_AFTER_SEC)
LOST = _silent_for("lost_after_sec", LOST_AFTER_SEC)
CLAIM_ENDED = Guard(
    "its task claim has been ended first", ("claimed_tasks",), lambda facts: facts["claimed_tasks"] == 0
)
DRAINED = Guard(
    "its load is 0, or it crashed",
    ("current_load", "trigger"),
    lambda facts: facts["current_load"] == 0 or facts["trigger"] == WorkerTrigger.WORKER_CRASHED,
)

_S, _T = WorkerState, WorkerTrigger
_MISSED = Edge.to(_S.UNRESPONSIVE, _T.HEARTBEAT_MISSED, severity=Severity.WARNING, guard=SILENT)

WORKER = Machine(
    "worker",
    WorkerState,
    WorkerTrigger,
    {
        _S.INITIALIZING: (
            Edge.to(_S.IDLE, _T.REGISTERED),
            Edge.to(_S.SHUTDOWN, _T.INIT_FAILED, severity=Severity.ERROR, sets=now("shutdown_at")),
        ),
        _S.IDLE: (
            Edge.to(_S.BUSY, _T.TASK_ASSIGNED, guard=FITS),
            _MISSED,
            Edge.to(_S.SHUTDOWN, _T.SHUTDOWN_REQUESTED, sets=now("shutdown_at")),
        ),
        _S.BUSY: (
            Edge.to(_S.IDLE, _T.TASK_FINISHED),
            _MISSED,
            Edge.to(
                _S.SHUTDOWN,
                _T.SHUTDOWN_REQUESTED,
                _T.WORKER_CRASHED,
                severity=Severity.WARNING,
                sets=now("shutdown_at"),
                guard=DRAINED,
            ),
        ),
        _S.UNRESPONSIVE: (
            Edge.to(_S.IDLE, _T.HEARTBEAT_RECOVERED, severity=Severity.WARNING, guard=CLAIM_ENDED),
            Edge.to(
                _S.SHUTDOWN,
                _T.RECOVERY_WINDOW_EXCEEDED,
                severity=Severity.ERROR,
                sets=now("shutdown_at"),
                guard=LOST,
            ),
        ),
        _S.SHUTDOWN: (),
    },
)
