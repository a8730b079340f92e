"""The planning loop: plans of the same commit and settings that are carried out, again and again, without a patch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from prefect_acms.blocks.config import Mode
from prefect_acms.blocks.tool_spec import TaskKind
from prefect_acms.canonical.errors import PlanningLoop
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.tasks.anti_patterns import PLANNING_LOOP
from prefect_acms.tasks.driving import COMPLETED, Drive
from prefect_acms.tasks.gaps import Gap, gap_order, severity_order
from prefect_acms.tasks.plans import Plan

NARROWED = "narrowed"
"""Under this name the planning phase keeps why its plan holds only the most severe gaps."""

LOOKED_AT = 50
"""Earlier runs of the repository that are looked at."""

_NOTHING = sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class _Vain:
    """A plan that was carried out and led to no patch."""

    plan: Plan
    is_narrowed: bool


def loop_in(drive: Drive, plan: Plan) -> str | None:
    """Why only the most severe gaps of a plan are to be kept; raises PlanningLoop when that has led nowhere before."""
    settings = drive.config.fix_loop
    with drive.reading() as dao:
        vain = _in_vain(dao, dao.runs.get(drive.run_id))
    if not vain:
        return None
    if vain[0].is_narrowed:
        raise PlanningLoop(code=PLANNING_LOOP, plans=len(vain))
    if len(vain) >= settings.plans:
        return f"{PLANNING_LOOP}: {len(vain)} plans of this commit were carried out, and no patch came of them"
    if likeness(plan, vain[0].plan) > settings.plans_alike:
        return f"{PLANNING_LOOP}: the plan before this one was almost the same, and no patch came of it"
    return None


def likeness(one: Plan, other: Plan) -> float:
    """How much of what two plans hold is in both, from 0 to 1: gaps, and the patterns by which they are worked on."""
    mine, theirs = _held(one), _held(other)
    return len(mine & theirs) / len(mine | theirs) if mine or theirs else 1.0


def most_severe(gaps: tuple[Gap, ...], number: int) -> frozenset[str]:
    """The fingerprints of the most severe gaps, in the order of lists among equals.

    A gap is taken with those that have to be fixed before it, or not at all.
    """
    by_name = {gap.fingerprint: gap for gap in gaps}
    kept: frozenset[str] = frozenset()
    for gap in sorted(gaps, key=lambda gap: (severity_order(gap.severity), gap_order(gap))):
        together = kept | _with_needs(gap, by_name)
        if len(together) <= number:
            kept = together
    return kept


def _with_needs(gap: Gap, by_name: Mapping[str, Gap]) -> frozenset[str]:
    found: set[str] = set()
    left = [gap.fingerprint]
    while left:
        name = left.pop()
        if name in by_name and name not in found:
            found.add(name)
            left += by_name[name].dependencies
    return frozenset(found)


def _held(plan: Plan) -> frozenset[tuple[str, str]]:
    return frozenset((task.pattern_id, gap) for task in plan.tasks for gap in task.gaps)


def _in_vain(dao: UnitOfWork, current: RunRow) -> list[_Vain]:
    """The plans before this run that led to no patch, the newest first; a patch, or anything that has changed, ends it.

    A run that has carried nothing out says nothing: one that was cancelled, or ended for its planning loop.
    """
    found: list[_Vain] = []
    for run in dao.runs.latest(LOOKED_AT, current.repo_root, before=current):
        tasks = [task for task in dao.tasks.of_run(run.id) if task.kind == TaskKind.IMPLEMENTATION]
        patches = [patch.sha256 for task in tasks for patch in dao.patches.of_task(task.id)]
        if not _is_alike(run, current) or any(digest != _NOTHING for digest in patches):
            break
        if patches and all(task.exit_code is not None for task in tasks):
            found += _carried_out(dao, run)
    return found


def _is_alike(run: RunRow, current: RunRow) -> bool:
    same: list[tuple[Any, Any]] = [(run.base_commit, current.base_commit), (run.config, current.config)]
    return run.config.get("mode") == Mode.FULL and all(one == other for one, other in same)


def _carried_out(dao: UnitOfWork, run: RunRow) -> list[_Vain]:
    planned = [row for row in dao.phases.of_run(run.id) if row.name == "planning" and row.outcome == COMPLETED]
    return [_Vain(Plan.model_validate(row.artifacts["plan"]), NARROWED in row.artifacts) for row in planned[-1:]]
