"""What the client hands out beside the records of the summary: workers, breakers, events, and where a run stands."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from prefect_acms.dao.audit import BadRow
from prefect_acms.dao.circuit_breakers import BreakerRow
from prefect_acms.dao.transitions import TransitionRow
from prefect_acms.dao.uet_workers import UetWorkerRow
from prefect_acms.dao.workers import WorkerRow
from prefect_acms.tasks.summary_model import ListedRun, PhaseRecord, Record, TaskRecord, WorkstreamRecord


class WorkerRecord(Record):
    """One slot that takes one task at a time."""

    id: str
    run_id: str | None = Field(default=None, description="run that it belongs to; none: any")
    type: str
    state: str
    capabilities: tuple[str, ...] = ()
    affinity: str | None = None
    task_id: str | None = Field(default=None, description="task that it has claimed")
    created_at: str
    last_heartbeat: str
    shutdown_at: str | None = None


class ProcessRecord(Record):
    """One process in which a tool runs, or ran."""

    id: str
    run_id: str | None = None
    type: str
    state: str
    pid: int | None = None
    host: str | None = None
    created_at: str
    last_heartbeat: str
    terminated_at: str | None = None


class BreakerRecord(Record):
    """The circuit breaker of one tool."""

    id: str
    tool_id: str
    state: str
    failure_count: int
    failure_threshold: int = Field(description="failures that open it")
    success_count: int
    success_threshold: int = Field(description="good probes that close it")
    cooldown_sec: float = Field(description="seconds that it stays open before a probe")
    opened_at: str | None = None
    last_failure_at: str | None = None


class EventRecord(Record):
    """One row of the audit trail: something that happened to one entity."""

    transition_id: int = Field(description="number of the row; what comes later has a higher one")
    event_id: str
    run_id: str | None = None
    entity_type: str
    entity_id: str
    from_state: str | None = Field(default=None, description="none: it was created")
    to_state: str
    trigger: str
    reason: str | None = None
    severity: str
    metadata: dict[str, Any] = Field(default={}, description="further facts about it")
    operator: str | None = Field(default=None, description="person who ordered it")
    workstream_id: str | None = None
    phase: str | None = None
    transitioned_at: str


class Audit(Record):
    """What a check of the hash chains has found."""

    ok: bool
    chains: int
    rows: int
    first_bad: BadRow | None = Field(default=None, description="first row that is not as it was written")


class PatchFate(Record):
    """What became of a patch so far, without its diff and without what git says."""

    id: str
    entry_id: str
    task_id: str
    workstream_id: str
    state: str
    files: tuple[str, ...] = ()
    lines_added: int = 0
    lines_removed: int = 0
    commit: str | None = None
    reason: str | None = Field(default=None, description="why it was put aside or taken back, or waits")
    expires_at: str | None = Field(default=None, description="until when a review may be answered")


class Snapshot(Record):
    """Where a run stands, by the store alone; a workstream's resolved gaps are those that the store calls so."""

    run: ListedRun
    phases: tuple[PhaseRecord, ...] = ()
    workstreams: tuple[WorkstreamRecord, ...] = ()
    tasks: tuple[TaskRecord, ...] = ()
    patches: tuple[PatchFate, ...] = ()
    gaps: dict[str, int] = Field(default={}, description="number of gaps by state")


def worker_record(row: WorkerRow, task_id: str | None) -> WorkerRecord:
    """One worker, with the task that it has claimed."""
    return WorkerRecord(
        id=row.id,
        run_id=row.run_id,
        type=row.worker_type,
        state=row.state,
        capabilities=tuple(row.capabilities),
        affinity=row.affinity,
        task_id=task_id,
        created_at=row.created_at,
        last_heartbeat=row.last_heartbeat,
        shutdown_at=row.shutdown_at,
    )


def process_record(row: UetWorkerRow) -> ProcessRecord:
    """One process of a tool."""
    return ProcessRecord(
        id=row.id,
        run_id=row.run_id,
        type=row.worker_type,
        state=row.state,
        pid=row.pid,
        host=row.host,
        created_at=row.created_at,
        last_heartbeat=row.last_heartbeat,
        terminated_at=row.terminated_at,
    )


def breaker_record(row: BreakerRow) -> BreakerRecord:
    """One breaker."""
    return BreakerRecord(
        id=row.id,
        tool_id=row.tool_id,
        state=row.state,
        failure_count=row.failure_count,
        failure_threshold=row.failure_threshold,
        success_count=row.success_count,
        success_threshold=row.success_threshold,
        cooldown_sec=row.cooldown_seconds,
        opened_at=row.opened_at,
        last_failure_at=row.last_failure_at,
    )


def event_record(row: TransitionRow) -> EventRecord:
    """One row of the trail."""
    return EventRecord(
        transition_id=row.transition_id,
        event_id=row.event_id,
        run_id=row.run_id,
        entity_type=row.entity_type,
        entity_id=row.entity_id,
        from_state=row.from_state,
        to_state=row.to_state,
        trigger=row.trigger,
        reason=row.reason,
        severity=row.severity,
        metadata=row.info,
        operator=row.operator,
        workstream_id=row.workstream_id,
        phase=row.phase,
        transitioned_at=row.transitioned_at,
    )
