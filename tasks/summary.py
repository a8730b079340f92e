"""From the store and git to the summary of a run; what is resolved is counted from git, not from what tasks claimed."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prefect_acms.canonical.clock import utc_moment
from prefect_acms.canonical.gap import GapSeverity, GapState, GapTrigger
from prefect_acms.canonical.patch import PatchState
from prefect_acms.canonical.task import TaskState
from prefect_acms.canonical.test_gate import TestGateState
from prefect_acms.dao.gaps import GapRow
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.patches import PatchRow
from prefect_acms.dao.phases import PhaseRow
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.dao.test_gates import TestGateRow
from prefect_acms.dao.tool_metrics import ToolMetricRow
from prefect_acms.dao.transitions import TransitionRow
from prefect_acms.dao.workstreams import WorkstreamRow
from prefect_acms.tasks.git import Repository
from prefect_acms.tasks.landing import Landed, landed_commits
from prefect_acms.tasks.summary_model import (
    Counts,
    GapRecord,
    GateRecord,
    PatchRecord,
    PhaseRecord,
    Reason,
    RunRecord,
    Summary,
    TaskRecord,
    ToolRecord,
    WorkstreamRecord,
)

OUTPUT_LINES = 60
"""The end of a failed gate's output is where its verdict stands."""

HELD_BACK = frozenset({GapTrigger.FILTERED.value, GapTrigger.BASELINED.value})


def build_summary(store: Store, run_id: str, repository: Repository | None = None) -> Summary:
    """Tell what a run amounted to; raises NotFound.

    Without the repository (it was moved or removed) nothing can be seen on a branch, so every fix is unproven.
    """
    with store.begin(read_only=True) as dao:
        rows = _read(dao, run_id)
    landed = landed_commits(repository, rows.run) if repository is not None else Landed()
    gaps = tuple(_gap(row, landed) for row in rows.gaps)
    return Summary(
        run=run_record(rows.run, landed),
        counts=_counts(gaps, rows),
        reasons=_reasons(gaps),
        phases=tuple(_phase(row) for row in rows.phases),
        workstreams=tuple(_workstream(row, gaps, rows) for row in rows.workstreams),
        tasks=tuple(_task(row, rows) for row in rows.tasks),
        gaps=gaps,
        patches=tuple(_patch(entry, rows, landed) for entry in rows.entries),
        gates=tuple(_gate(row) for row in rows.gates),
        tools=_tools(rows),
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    run: RunRow
    phases: Sequence[PhaseRow]
    workstreams: Sequence[WorkstreamRow]
    prerequisites: Mapping[str, Sequence[str]]
    tasks: Sequence[TaskRow]
    dependencies: Mapping[str, Sequence[str]]
    gaps: Sequence[GapRow]
    entries: Sequence[LedgerRow]
    patches: Mapping[str, PatchRow]
    gates: Sequence[TestGateRow]
    metrics: Mapping[str, ToolMetricRow]
    ending: Mapping[str, TransitionRow]


def _read(dao: UnitOfWork, run_id: str) -> _Rows:
    run = dao.runs.get(run_id)
    tasks = sorted(dao.tasks.of_run(run_id), key=lambda row: row.id)
    workstreams = sorted(dao.workstreams.of_run(run_id), key=lambda row: row.id)
    entries = sorted(dao.ledger.of_run(run_id), key=lambda row: row.id)
    tools = sorted({task.tool_id for task in tasks if task.tool_id})
    found = {tool: dao.tool_metrics.find(tool) for tool in tools}
    return _Rows(
        run=run,
        phases=sorted(dao.phases.of_run(run_id), key=lambda row: (row.ordinal, row.id)),
        workstreams=workstreams,
        prerequisites={row.id: sorted(p.id for p in dao.workstreams.prerequisites(row.id)) for row in workstreams},
        tasks=tasks,
        dependencies={row.id: sorted(d.id for d in dao.tasks.dependencies(row.id)) for row in tasks},
        gaps=sorted(dao.gaps.of_run(run_id), key=_by_severity),
        entries=entries,
        patches={entry.patch_id: dao.patches.get(entry.patch_id) for entry in entries},
        gates=sorted(dao.test_gates.of_run(run_id), key=lambda row: row.id),
        metrics={tool: row for tool, row in found.items() if row is not None},
        ending={row.entity_id: row for row in dao.transitions.of_run(run_id)},
    )


_RANK = {severity.value: rank for rank, severity in enumerate(GapSeverity)}


def _by_severity(gap: GapRow) -> tuple[int, str, str, int, str]:
    first = gap.file_paths[0] if gap.file_paths else ""
    return _RANK[gap.severity], gap.source, first, gap.start_line or 0, gap.id


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
    )


def _counts(gaps: Sequence[GapRecord], rows: _Rows) -> Counts:
    states = Counter(gap.state for gap in gaps)
    proven = sum(gap.state == GapState.RESOLVED and gap.commit is not None for gap in gaps)
    held_back = sum(gap.state == GapState.DEFERRED and rows.ending[gap.id].trigger in HELD_BACK for gap in gaps)
    return Counts(
        found=len(gaps),
        selected=len(gaps) - held_back,
        resolved=proven,
        deferred=states[GapState.DEFERRED],
        open=len(gaps) - states[GapState.RESOLVED] - states[GapState.DEFERRED],
        unproven=states[GapState.RESOLVED] - proven,
        by_category=_tally(gap.category for gap in gaps),
        by_severity=_tally(gap.severity for gap in gaps),
        by_source=_tally(gap.source for gap in gaps),
    )


def _tally(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _reasons(gaps: Sequence[GapRecord]) -> tuple[Reason, ...]:
    reasons = Counter(gap.reason or "no reason was stored" for gap in gaps if gap.state == GapState.DEFERRED)
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Reason(reason=reason, gaps=number) for reason, number in ordered)


def _gap(row: GapRow, landed: Landed) -> GapRecord:
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


def _phase(row: PhaseRow) -> PhaseRecord:
    return PhaseRecord(
        name=row.name,
        ordinal=row.ordinal,
        outcome=row.outcome,
        started_at=row.started_at,
        completed_at=row.completed_at,
        duration_sec=_lasted(row.started_at, row.completed_at),
    )


def _workstream(row: WorkstreamRow, gaps: Sequence[GapRecord], rows: _Rows) -> WorkstreamRecord:
    own = [gap for gap in gaps if gap.workstream_id == row.id]
    return WorkstreamRecord(
        id=row.id,
        key=str(row.info.get("key", row.name)),
        name=row.name,
        category=row.category,
        state=row.state,
        effort=row.effort,
        priority_score=row.priority_score,
        is_critical=row.is_critical,
        depends_on=tuple(rows.prerequisites[row.id]),
        gaps=len(own),
        resolved=sum(gap.state == GapState.RESOLVED and gap.commit is not None for gap in own),
        started_at=row.started_at,
        completed_at=row.completed_at,
        duration_sec=_lasted(row.started_at, row.completed_at),
        error=row.error,
    )


def _task(row: TaskRow, rows: _Rows) -> TaskRecord:
    return TaskRecord(
        id=row.id,
        key=str(row.info.get("key", row.description or row.id)),
        workstream_id=row.workstream_id,
        kind=row.kind,
        description=row.description,
        tool_id=row.tool_id,
        state=row.state,
        partial=bool(row.info.get("partial")),
        depends_on=tuple(rows.dependencies[row.id]),
        attempt=row.attempt,
        retry_count=row.retry_count,
        started_at=row.started_at,
        completed_at=row.completed_at,
        duration_sec=_lasted(row.started_at, row.completed_at),
        error=row.last_error,
    )


def _patch(entry: LedgerRow, rows: _Rows, landed: Landed) -> PatchRecord:
    patch = rows.patches[entry.patch_id]
    return PatchRecord(
        id=patch.id,
        entry_id=entry.id,
        task_id=entry.task_id,
        workstream_id=entry.workstream_id,
        state=entry.state,
        on_branch=entry.commit_sha in landed.commits,
        commit=entry.commit_sha,
        files=tuple(patch.files),
        lines_added=patch.lines_added,
        lines_removed=patch.lines_removed,
        sha256=patch.sha256,
        reason=_fate(entry, rows),
        supersedes=entry.supersedes,
        gates=_judges(entry, rows),
        resolves=tuple(sorted(gap for gap, commit in landed.gaps.items() if commit == entry.commit_sha)),
        diff=patch.content.decode("utf-8", errors="replace"),
    )


def _judges(entry: LedgerRow, rows: _Rows) -> tuple[str, ...]:
    """The gates that judged this patch: those that say so, and those that its quarantine keeps as evidence."""
    evidence = set((entry.quarantine_metadata or {}).get("gates", ()))
    return tuple(row.id for row in rows.gates if row.info.get("ledger_entry") == entry.id or row.id in evidence)


def _fate(entry: LedgerRow, rows: _Rows) -> str | None:
    """Why the patch is not, or no longer, on its way to the branch."""
    if entry.state == PatchState.DROPPED:
        ending = rows.ending[entry.id]
        return ending.reason or ending.trigger
    return entry.rollback_reason or entry.quarantine_reason or entry.last_error


def _gate(row: TestGateRow) -> GateRecord:
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


def _tools(rows: _Rows) -> tuple[ToolRecord, ...]:
    used = sorted({task.tool_id for task in rows.tasks if task.tool_id})
    return tuple(
        _tool(tool, [task for task in rows.tasks if task.tool_id == tool], rows.metrics.get(tool)) for tool in used
    )


def _tool(tool: str, tasks: Sequence[TaskRow], metric: ToolMetricRow | None) -> ToolRecord:
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
    )
