"""Everything that the store holds of one run, read in one unit of work."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.dao.budgets import BudgetEntryRow
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
class Graph:
    """What waits for what in one run, by ids; `keyed` are the tasks by their short name in the plan."""

    prerequisites: Mapping[str, Sequence[str]]
    dependencies: Mapping[str, Sequence[str]]
    keyed: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one run, sorted; `ending` is the last transition of each entity, by its id."""

    run: RunRow
    phases: Sequence[PhaseRow]
    workstreams: Sequence[WorkstreamRow]
    tasks: Sequence[TaskRow]
    graph: Graph
    gaps: Sequence[GapRow]
    entries: Sequence[LedgerRow]
    patches: Mapping[str, PatchRow]
    gates: Sequence[TestGateRow]
    metrics: Mapping[str, ToolMetricRow]
    spent: Sequence[BudgetEntryRow]
    ending: Mapping[str, TransitionRow]


def read_graph(dao: UnitOfWork, run_id: str, tasks: Iterable[TaskRow]) -> Graph:
    """Read what waits for what; `tasks` are those of the run."""
    return Graph(
        prerequisites=_grouped(dao.workstreams.edges(run_id)),
        dependencies=_grouped(dao.tasks.edges(run_id)),
        keyed=_grouped((str(task.info["key"]), task.id) for task in tasks if "key" in task.info),
    )


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    grouped = defaultdict(list)
    for name, member in pairs:
        grouped[name].append(member)
    return dict(grouped)


def read_rows(dao: UnitOfWork, run_id: str) -> Rows:
    """Read a run; raises NotFound."""
    run = dao.runs.get(run_id)
    tasks = sorted(dao.tasks.of_run(run_id), key=lambda row: row.id)
    workstreams = sorted(dao.workstreams.of_run(run_id), key=lambda row: row.id)
    entries = sorted(dao.ledger.of_run(run_id), key=lambda row: row.id)
    spent = dao.budgets.of_run(run_id)
    tools = sorted({task.tool_id for task in tasks if task.tool_id} | {entry.tool_id for entry in spent})
    found = {tool: dao.tool_metrics.find(tool) for tool in tools}
    return Rows(
        run=run,
        phases=sorted(dao.phases.of_run(run_id), key=lambda row: (row.ordinal, row.id)),
        workstreams=workstreams,
        tasks=tasks,
        graph=read_graph(dao, run_id, tasks),
        gaps=sorted(dao.gaps.of_run(run_id), key=_by_severity),
        entries=entries,
        patches={patch.id: patch for patch in dao.patches.of_run(run_id)},
        gates=sorted(dao.test_gates.of_run(run_id), key=lambda row: row.id),
        metrics={tool: row for tool, row in found.items() if row is not None},
        spent=spent,
        ending={row.entity_id: row for row in dao.transitions.of_run(run_id)},
    )


_RANK = {severity.value: rank for rank, severity in enumerate(GapSeverity)}


def _by_severity(gap: GapRow) -> tuple[int, str, str, int, str]:
    first = gap.file_paths[0] if gap.file_paths else ""
    return _RANK[gap.severity], gap.source, first, gap.start_line or 0, gap.id
