"""From stored rows to the records of the summary, a function for each kind."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime

from prefect_acms.blocks.tool_spec import TaskKind
from prefect_acms.canonical.clock import utc_moment
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.patch import PatchState
from prefect_acms.canonical.task import TaskState
from prefect_acms.canonical.test_gate import TestGateState
from prefect_acms.dao.gaps import GapRow
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.phases import PhaseRow
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.dao.test_gates import TestGateRow
from prefect_acms.dao.tool_metrics import ToolMetricRow
from prefect_acms.dao.workstreams import WorkstreamRow
from prefect_acms.tasks.landing import Landed
from prefect_acms.tasks.leases import driver_of
from prefect_acms.tasks.recurring import NEWS, meanwhile_of
from prefect_acms.tasks.summary_model import (
    CostRecord,
    GapRecord,
    GateRecord,
    ListedRun,
    PatchRecord,
    PhaseRecord,
    ProofRecord,
    RunRecord,
    TaskRecord,
    ToolRecord,
    WorkstreamRecord,
)
from prefect_acms.tasks.summary_rows import Graph, Rows

OUTPUT_LINES = 60
"""The end of a failed gate's output is where its verdict stands."""


def _lasted(start: str | None, end: str | None) -> float | None:
    return (utc_moment(end) - utc_moment(start)).total_seconds() if start and end else None


def run_record(run: RunRow, landed: Landed) -> RunRecord:
    """The run itself, as the summary tells it."""
    return RunRecord(
        id=run.id,
        state=run.state,
        degraded=bool(run.info.get("degraded")),
        mode=run.mode,
        repository=run.repo_root,
        base_commit=run.base_commit,
        branch=landed.branch,
        head=landed.head,
        created_at=run.created_at,
        started_at=run.started_at,
        completed_at=run.completed_at,
        duration_sec=_lasted(run.started_at, run.completed_at),
        error=run.error,
        quarantine_reason=run.quarantine_reason,
        news=run.info.get(NEWS),
        meanwhile=tuple(fixed.sentence for fixed in meanwhile_of(run)),
    )


def listed_run(run: RunRow, now: datetime) -> ListedRun:
    """The run as a list of runs tells it."""
    driver = driver_of(run, now)
    told = f"process {driver.pid} on {driver.host}" if driver else "nobody"
    ended = run.state in MACHINES["run"].terminal
    return ListedRun(**run_record(run, Landed()).model_dump(), driver=None if ended else told)


def gap_record(row: GapRow, landed: Landed) -> GapRecord:
    """One gap and its fate."""
    return GapRecord(
        id=row.id,
        fingerprint=row.fingerprint,
        source=row.source,
        rule_id=row.rule_id,
        title=row.title,
        description=row.description,
        category=row.category,
        severity=row.severity,
        file_paths=tuple(row.file_paths),
        start_line=row.start_line,
        end_line=row.end_line,
        state=row.state,
        reason=row.deferred_reason,
        workstream_id=row.workstream_id,
        commit=landed.commit_of(row),
    )


def phase_record(row: PhaseRow) -> PhaseRecord:
    """One phase."""
    return PhaseRecord(
        name=row.name,
        ordinal=row.ordinal,
        outcome=row.outcome,
        started_at=row.started_at,
        completed_at=row.completed_at,
        duration_sec=_lasted(row.started_at, row.completed_at),
    )


def workstream_record(row: WorkstreamRow, graph: Graph, *, gaps: int, resolved: int) -> WorkstreamRecord:
    """One workstream, with the number of gaps that it was about, and of those that are gone."""
    return WorkstreamRecord(
        id=row.id,
        key=str(row.info.get("key", row.name)),
        name=row.name,
        category=row.category,
        state=row.state,
        effort=row.effort,
        priority_score=row.priority_score,
        is_critical=row.is_critical,
        depends_on=tuple(graph.prerequisites.get(row.id, ())),
        gaps=gaps,
        resolved=resolved,
        started_at=row.started_at,
        completed_at=row.completed_at,
        duration_sec=_lasted(row.started_at, row.completed_at),
        error=row.error,
    )


def tool_of(row: TaskRow) -> str | None:
    """The tool of a task; a verification that the gates have made alone used none, whatever the plan would allow."""
    return None if row.kind == TaskKind.TEST and not row.info.get("transcripts") else row.tool_id


def _order_only(row: TaskRow, graph: Graph) -> list[str]:
    """The tasks that come first and may end badly, as the plan says."""
    ids = {task for key in row.info.get("order_only", ()) for task in graph.keyed.get(key, ())}
    return sorted(ids.difference(graph.dependencies.get(row.id, ())))


def task_record(row: TaskRow, graph: Graph) -> TaskRecord:
    """One task of the DAG, with what it waits for."""
    return TaskRecord(
        id=row.id,
        key=str(row.info.get("key", row.description or row.id)),
        workstream_id=row.workstream_id,
        kind=row.kind,
        description=row.description,
        tool_id=tool_of(row),
        state=row.state,
        partial=bool(row.info.get("partial")),
        depends_on=tuple(graph.dependencies.get(row.id, ())),
        comes_after=tuple(_order_only(row, graph)),
        attempt=row.attempt,
        retry_count=row.retry_count,
        started_at=row.started_at,
        completed_at=row.completed_at,
        duration_sec=_lasted(row.started_at, row.completed_at),
        error=row.last_error,
    )


def patch_record(entry: LedgerRow, rows: Rows, landed: Landed) -> PatchRecord:
    """One patch, its fate and its evidence."""
    patch = rows.patches[entry.patch_id]
    return PatchRecord(
        id=patch.id,
        entry_id=entry.id,
        task_id=entry.task_id,
        workstream_id=entry.workstream_id,
        state=entry.state,
        on_branch=is_on_branch(entry, landed),
        commit=entry.commit_sha,
        files=tuple(patch.files),
        lines_added=patch.lines_added,
        lines_removed=patch.lines_removed,
        sha256=patch.sha256,
        reason=_fate(entry, rows),
        supersedes=entry.supersedes,
        gates=_judges(entry, rows),
        resolves=tuple(sorted(gap for gap, commit in landed.gaps.items() if commit == entry.commit_sha)),
        proof=ProofRecord.model_validate(entry.info["proof"]) if "proof" in entry.info else None,
        diff=patch.content.decode("utf-8", errors="replace"),
    )


def is_on_branch(entry: LedgerRow, landed: Landed) -> bool:
    """Whether the patch's commit is reachable from the result branch, and was not rolled back."""
    return entry.commit_sha in landed.commits and entry.state != PatchState.ROLLED_BACK


def _judges(entry: LedgerRow, rows: Rows) -> tuple[str, ...]:
    """The gates that judged this patch: those that say so, and those that its quarantine keeps as evidence."""
    evidence = set((entry.quarantine_metadata or {}).get("gates", ()))
    return tuple(row.id for row in rows.gates if row.info.get("ledger_entry") == entry.id or row.id in evidence)


def _fate(entry: LedgerRow, rows: Rows) -> str | None:
    """Why the patch is not, or no longer, on its way to the branch."""
    if entry.state == PatchState.DROPPED:
        ending = rows.ending[entry.id]
        return ending.reason or ending.trigger
    return entry.rollback_reason or entry.quarantine_reason or entry.last_error


def gate_record(row: TestGateRow) -> GateRecord:
    """One run of a gate."""
    return GateRecord(
        id=row.id,
        type=row.gate_type,
        state=row.state,
        workstream_id=row.workstream_id,
        task_id=row.task_id,
        patch_entry_id=row.info.get("ledger_entry"),
        command=row.command if isinstance(row.command, str) else shlex.join(row.command),
        exit_code=row.exit_code,
        timed_out=row.timed_out,
        started_at=row.started_at,
        completed_at=row.completed_at,
        duration_sec=row.duration_sec,
        at_base=bool(row.info.get("base")),
        judgement=_judgement(row),
        output=_tail(row) if row.state == TestGateState.FAILED else "",
    )


def _judgement(row: TestGateRow) -> str | None:
    """What the gate said, without its own name in front: the reader sees that beside it."""
    said = row.info.get("judgement") or row.info.get("unavailable")
    return str(said).removeprefix(f"{row.gate_type}: ") if said else None


def _tail(row: TestGateRow) -> str:
    lines = [line for part in (row.stdout, row.stderr) if part for line in part.splitlines()]
    return "\n".join(lines[-OUTPUT_LINES:])


def tool_record(tool: str, tasks: Sequence[TaskRow], metric: ToolMetricRow | None, cost: CostRecord) -> ToolRecord:
    """How a tool did, in this run and over all runs."""
    times = [lasted for task in tasks if (lasted := _lasted(task.started_at, task.completed_at)) is not None]
    calls = metric.call_count if metric else 0
    return ToolRecord(
        id=tool,
        tasks=len(tasks),
        completed=sum(task.state == TaskState.COMPLETED for task in tasks),
        mean_sec=sum(times) / len(times) if times else None,
        calls=calls,
        success_rate=metric.success_count / calls if metric and calls else None,
        mean_latency_ms=metric.total_latency_ms / calls if metric and calls else None,
        cost=cost,
    )
