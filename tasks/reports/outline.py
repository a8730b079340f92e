"""A plan drawn in characters, for pages that show text and no picture of ours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from prefect_acms.tasks.plans import Plan, PlannedTask
from prefect_acms.tasks.reports.text import count, one_line

STEP = "   "
DEEPEST = 12
"""Steps to the right at most: what comes after so many is still below the task that it waits for."""


def plan_outline(plan: Plan, most: int = 500) -> str:
    """The workstreams, and each task below the one that it waits for; what else it waits for is named beside it."""
    lines = list(_lines(plan))
    left = len(lines) - most
    return "\n".join(lines[:most] + ([f"and {count(left, 'more line')}"] if left > 0 else []))


def _lines(plan: Plan) -> Iterator[str]:
    first: dict[str, list[PlannedTask]] = defaultdict(list)
    below: dict[str, list[PlannedTask]] = defaultdict(list)
    parents: dict[str, str] = {}
    home = {task.key: task.workstream for task in plan.tasks}
    for task in plan.tasks:
        near = [key for key in task.depends_on if home.get(key) == task.workstream]
        if near:
            parents[task.key] = near[-1]
        (below[near[-1]] if near else first[task.workstream]).append(task)
    for workstream in plan.workstreams:
        yield one_line(f"{workstream.key}: {workstream.name}") + _after(workstream.depends_on)
        left = [(task, 0) for task in reversed(first[workstream.key])]
        while left:
            task, depth = left.pop()
            others = [key for key in task.depends_on if key != parents.get(task.key)]
            named = [_name(key) if home.get(key) == task.workstream else key for key in others]
            yield f"{STEP * min(depth, DEEPEST)}└─ {_name(task.key)}{_after(named)}"
            left += [(further, depth + 1) for further in reversed(below[task.key])]


def _name(key: str) -> str:
    """The name of a task without that of its workstream."""
    return key.rpartition("/")[2]


def _after(names: Sequence[str]) -> str:
    return f"  (after {', '.join(names)})" if names else ""
