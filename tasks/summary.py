"""From the store and git to the summary of a run; what is resolved is counted from git, not from what tasks claimed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from prefect_acms.canonical.gap import GapState, GapTrigger
from prefect_acms.canonical.patch import PatchState
from prefect_acms.dao.store import Store
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.costs import cost_of_run, cost_of_tool, over_budget
from prefect_acms.tasks.landing import Landed, Made, landed_commits
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.summary_model import Counts, GapRecord, Reason, Summary, ToolRecord, WorkstreamRecord
from prefect_acms.tasks.summary_records import (
    gap_record,
    gate_record,
    patch_record,
    phase_record,
    run_record,
    task_record,
    tool_of,
    tool_record,
    workstream_record,
)
from prefect_acms.tasks.summary_rows import Rows, read_rows

HELD_BACK = frozenset({GapTrigger.FILTERED.value, GapTrigger.BASELINED.value})
"""Triggers by which a gap is deferred before it is selected."""


def build_summary(store: Store, run_id: str, repository: Repository | None = None) -> Summary:
    """Tell what a run amounted to; raises NotFound.

    Without the repository (it was moved or removed) nothing can be seen on a branch, so every fix is unproven.
    """
    with store.begin(read_only=True) as dao:
        rows = read_rows(dao, run_id)
    landed = landed_commits(repository, rows.run, _made(rows)) if repository is not None else Landed()
    discovery = next((row.artifacts for row in reversed(rows.phases) if row.name == "discovery"), {})
    gaps = tuple(gap_record(row, landed) for row in rows.gaps)
    return Summary(
        run=run_record(rows.run, landed),
        counts=_counts(gaps, rows),
        reasons=_reasons(gaps),
        phases=tuple(phase_record(row) for row in rows.phases),
        workstreams=tuple(_workstreams(rows, gaps)),
        tasks=tuple(task_record(row, rows.graph) for row in rows.tasks),
        gaps=gaps,
        patches=tuple(patch_record(entry, rows, landed) for entry in rows.entries),
        gates=tuple(gate_record(row) for row in rows.gates),
        tools=_tools(rows, landed),
        cost=cost_of_run(rows, landed),
        over_budget=over_budget(rows),
        sources=tuple(discovery.get("sources", ())),
        imported=tuple(discovery.get("records", {}).get("sarif", {}).get("logs", ())),
    )


def _workstreams(rows: Rows, gaps: Sequence[GapRecord]) -> Iterator[WorkstreamRecord]:
    found = Counter(gap.workstream_id for gap in gaps)
    resolved = Counter(gap.workstream_id for gap in gaps if _is_proven(gap))
    for row in rows.workstreams:
        yield workstream_record(row, rows.graph, gaps=found[row.id], resolved=resolved[row.id])


def _is_proven(gap: GapRecord) -> bool:
    return gap.state == GapState.RESOLVED and gap.commit is not None


def _made(rows: Rows) -> list[Made]:
    return [
        Made(entry.commit_sha, rows.patches[entry.patch_id].files, entry.state == PatchState.ROLLED_BACK)
        for entry in rows.entries
        if entry.commit_sha is not None
    ]


def _counts(gaps: Sequence[GapRecord], rows: Rows) -> Counts:
    states = Counter(gap.state for gap in gaps)
    proven = sum(map(_is_proven, gaps))
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


def _tools(rows: Rows, landed: Landed) -> tuple[ToolRecord, ...]:
    users: dict[str, list[TaskRow]] = {entry.tool_id: [] for entry in rows.spent}
    for task in rows.tasks:
        if tool := tool_of(task):
            users.setdefault(tool, []).append(task)
    return tuple(
        tool_record(tool, tasks, rows.metrics.get(tool), cost_of_tool(tool, rows, landed))
        for tool, tasks in sorted(users.items())
    )
