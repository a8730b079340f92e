"""The lifecycle of an execution-engine worker: the process that a tool runs in."""

from __future__ import annotations

from enum import StrEnum

from prefect_acms.canonical.machine import Edge, Machine, Severity, now


class UetWorkerState(StrEnum):
    """Where a tool's process stands."""

    SPAWNING = "SPAWNING"
    IDLE = "IDLE"
    BUSY = "BUSY"
    DRAINING = "DRAINING"
    TERMINATED = "TERMINATED"


class UetWorkerTrigger(StrEnum):
    """What moves a tool's process."""

    SPAWNED = "spawned"
    SPAWN_FAILED = "spawn_failed"
    TASK_ASSIGNED = "task_assigned"
    SHUTDOWN_REQUESTED = "shutdown_requested"
    HEARTBEAT_LOST = "heartbeat_lost"
    TASK_FINISHED = "task_finished"
    CRASHED = "crashed"


_S, _T = UetWorkerState, UetWorkerTrigger
_ENDED = now("terminated_at")

UET_WORKER = Machine(
    "uet_worker",
    UetWorkerState,
    UetWorkerTrigger,
    {
        _S.SPAWNING: (
            Edge.to(_S.IDLE, _T.SPAWNED),
            Edge.to(_S.TERMINATED, _T.SPAWN_FAILED, severity=Severity.ERROR, sets=_ENDED),
        ),
        _S.IDLE: (
            Edge.to(_S.BUSY, _T.TASK_ASSIGNED),
            Edge.to(_S.TERMINATED, _T.SHUTDOWN_REQUESTED, _T.HEARTBEAT_LOST, sets=_ENDED),
        ),
        _S.BUSY: (
            Edge.to(_S.IDLE, _T.TASK_FINISHED),
            Edge.to(_S.DRAINING, _T.SHUTDOWN_REQUESTED),
            Edge.to(_S.TERMINATED, _T.CRASHED, _T.HEARTBEAT_LOST, severity=Severity.ERROR, sets=_ENDED),
        ),
        _S.DRAINING: (Edge.to(_S.TERMINATED, _T.TASK_FINISHED, _T.CRASHED, sets=_ENDED),),
        _S.TERMINATED: (),
    },
)
