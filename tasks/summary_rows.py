"""Everything that the store holds of one run, read in one unit of work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.dao.gaps import GapRow
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.patches import PatchRow
from prefect_acms.dao.phases import PhaseRow
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.dao.test_gates import TestGateRow
from prefect_acms.dao.tool_metrics import ToolMetricRow
from prefect_acms.dao.transitions import TransitionRow
from prefect_acms.dao.workstreams import WorkstreamRow


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one run, sorted; `ending` is the last transition of each entity, by its id."""

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


def read_rows(dao: UnitOfWork, run_id: str) -> Rows:
    """Read a run; raises NotFound."""
    run = dao.runs.get(run_id)
    tasks = sorted(dao.tasks.of_run(run_id), key=lambda row: row.id)
    workstreams = sorted(dao.workstreams.of_run(run_id), key=lambda row: row.id)
    entries = sorted(dao.ledger.of_run(run_id), key=lambda row: row.id)
    tools = sorted({task.tool_id for task in tasks if task.tool_id})
    found = {tool: dao.tool_metrics.find(tool) for tool in tools}
    return Rows(
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
