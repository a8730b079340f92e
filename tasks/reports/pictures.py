"""From a summary to its two pictures."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from markupsafe import Markup

from prefect_acms.canonical.clock import utc_moment
from prefect_acms.tasks.reports.drawing import AT_BASE, Bar, Node, dag_svg, timeline_svg
from prefect_acms.tasks.reports.text import count
from prefect_acms.tasks.summary_model import GateRecord, PhaseRecord, Summary, TaskRecord

MOST_TASKS = 160
"""Above so many tasks the DAG of the workstreams is drawn instead: boxes that nobody can find say nothing."""

MOST_BARS = 200


def dag_picture(summary: Summary) -> Markup:
    """The tasks and what they wait for, or the workstreams where there are too many tasks."""
    if len(summary.tasks) > MOST_TASKS:
        return _workstream_picture(summary)
    keys = {task.id: task.key for task in summary.tasks}
    nodes = [Node(task.id, task.key, _task_note(task, keys), task.state) for task in summary.tasks]
    edges = [(before, task.id) for task in summary.tasks for before in task.depends_on]
    return dag_svg(nodes, edges, f"Tasks of {summary.run.id} and their dependencies")


def _task_note(task: TaskRecord, keys: Mapping[str, str]) -> str:
    """What did it, how it ended, and what only had to come first: drawn as lines, that would lead far to the right."""
    state = f"{task.state}, in part" if task.partial else task.state
    first = [keys.get(before, before) for before in task.comes_after]
    after = f"after {first[0] if len(first) == 1 else count(len(first), 'task')}" if first else ""
    return " · ".join(part for part in (task.tool_id, state, after) if part)


def _workstream_picture(summary: Summary) -> Markup:
    shown = summary.workstreams[:MOST_TASKS]
    nodes = [Node(ws.id, ws.key, f"{ws.state} · {ws.resolved} of {ws.gaps}", ws.state) for ws in shown]
    edges = [(before, ws.id) for ws in shown for before in ws.depends_on]
    return dag_svg(nodes, edges, f"Workstreams of {summary.run.id} and their dependencies")


def timeline_picture(summary: Summary) -> Markup:
    """Phases, tasks and gates over the time of the run."""
    begin = utc_moment(summary.run.started_at or summary.run.created_at)
    phases = [_phase_bar(phase, begin) for phase in summary.phases]
    work = [_task_bar(task, begin) for task in summary.tasks] + [_gate_bar(gate, begin) for gate in summary.gates]
    bars = [bar for bar in phases if bar] + sorted((bar for bar in work if bar), key=lambda bar: (bar.start, bar.end))
    return timeline_svg(bars[:MOST_BARS], f"Timeline of {summary.run.id}")


def shown_state(gate: GateRecord) -> str:
    """The state of a gate; one that only tells how red the base commit is has not failed anything."""
    return AT_BASE if gate.at_base and gate.state == "FAILED" else gate.state


def _phase_bar(phase: PhaseRecord, begin: datetime) -> Bar | None:
    return _bar(phase.name, phase.outcome or "running", phase.started_at, phase.completed_at, begin, level=0)


def _task_bar(task: TaskRecord, begin: datetime) -> Bar | None:
    return _bar(task.key, task.state, task.started_at, task.completed_at, begin)


def _gate_bar(gate: GateRecord, begin: datetime) -> Bar | None:
    label = f"{gate.type} gate at base" if gate.at_base else f"{gate.type} gate"
    return _bar(label, shown_state(gate), gate.started_at, gate.completed_at, begin)


def _bar(label: str, state: str, start: str | None, end: str | None, begin: datetime, *, level: int = 1) -> Bar | None:
    if start is None or end is None:
        return None
    opened = (utc_moment(start) - begin).total_seconds()
    # what was recorded before the run was marked as started (phase 0) is drawn at its edge
    return Bar(label, state, max(opened, 0.0), max((utc_moment(end) - begin).total_seconds(), 0.0), level)
