"""The plan that a run of mode execute_only carries out: from a file, or from the run that made it."""

from __future__ import annotations

from collections.abc import Callable
from graphlib import CycleError
from pathlib import Path

from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.canonical.errors import CyclicPlan, InvalidDocument, InvalidValue
from prefect_acms.dao.store import Store
from prefect_acms.tasks.ordering import cycle_of, drawn, in_order
from prefect_acms.tasks.patterns import index_of
from prefect_acms.tasks.planning import read_plan, validate_plan
from prefect_acms.tasks.plans import Plan
from prefect_acms.tasks.repository import Repository


def stored_plan(config: PipelineConfig, repository: Repository, store: Callable[[], Store]) -> Plan:
    """Find the plan and check that it is for the commit that is checked out; raises BadInput.

    The store is opened, and so made, only for a plan that is in it.
    """
    given = config.plan
    if given is None:
        raise InvalidValue(field="plan", value=None, expected="a plan file, or the id of a run that has a plan")
    patterns = index_of(config)
    path = Path(given)
    plan = read_plan(path, patterns) if path.is_file() else validate_plan(_plan_of_run(store(), given), patterns)
    _require_order(plan, given)
    head = repository.head()
    if plan.base_commit != head:
        made_for, found = plan.base_commit[:12], head[:12]
        raise InvalidDocument(
            path=given,
            where="base_commit",
            problem=f"the plan was made for commit {made_for}, the repository is at {found}: plan again",
        )
    return plan


def _require_order(plan: Plan, path: str) -> None:
    """Refuse a plan whose workstreams wait for each other: a workstream is merged as a whole."""
    waits = {workstream.key: set(workstream.depends_on) for workstream in plan.workstreams}
    place = {task.key: task.workstream for task in plan.tasks}
    for task in plan.tasks:
        waits[task.workstream].update(place[key] for key in task.depends_on if place[key] != task.workstream)
    try:
        in_order(waits, str)
    except CycleError as error:
        raise CyclicPlan(path=path, where="depends_on", problem="cycle", cycle=drawn(cycle_of(error))) from error


def _plan_of_run(store: Store, run_id: str) -> Plan:
    with store.begin(read_only=True) as dao:
        dao.runs.get(run_id)
        for row in dao.phases.of_run(run_id):
            if row.name == "planning" and row.artifacts and "plan" in row.artifacts:
                return Plan.model_validate(row.artifacts["plan"])
    raise InvalidValue(
        field="plan", value=run_id, expected="a plan file, or the id of a run whose planning has completed"
    )
