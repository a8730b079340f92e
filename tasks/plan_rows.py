"""Workstreams and tasks in the store, as the plan has them; the key of each is kept in its row's metadata."""

from __future__ import annotations

from collections.abc import Mapping

from prefect_acms.dao.store import UnitOfWork
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.dao.workstreams import WorkstreamRow
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.plans import Plan, PlannedTask, Workstream


def store_workstreams(dao: UnitOfWork, drive: Drive, workstreams: tuple[Workstream, ...]) -> dict[str, WorkstreamRow]:
    """Store workstreams as planned; what they wait for is stored with their tasks. Key to row."""
    return {workstream.key: _store_workstream(dao, drive, workstream) for workstream in workstreams}


def _store_workstream(dao: UnitOfWork, drive: Drive, workstream: Workstream) -> WorkstreamRow:
    return dao.workstreams.create(
        run_id=drive.run_id,
        name=workstream.name,
        category=workstream.category,
        priority_score=workstream.priority_score,
        effort=workstream.effort.value,
        file_scope=list(workstream.file_scope),
        is_critical=workstream.is_critical,
        branch=drive.workstream_ref(workstream.key).removeprefix("refs/heads/"),
        worktree=str(drive.worktree(workstream.key)),
        metadata={"key": workstream.key},
    )


def store_tasks(dao: UnitOfWork, drive: Drive, plan: Plan, workstreams: Mapping[str, str]) -> dict[str, TaskRow]:
    """Store the tasks of a plan as pending under their workstreams (by key), and what waits for what; key to row."""
    for workstream in plan.workstreams:
        prerequisites = _must_end_well(workstream.depends_on, workstream.order_only)
        dao.workstreams.depends(workstreams[workstream.key], on=[workstreams[key] for key in prerequisites])
        dao.workstreams.change(workstreams[workstream.key], metadata={"order_only": list(workstream.order_only)})
    rows = {planned.key: _store_task(dao, drive, planned, workstreams[planned.workstream]) for planned in plan.tasks}
    for planned in plan.tasks:
        upstream = _must_end_well(planned.depends_on, planned.order_only)
        if upstream:
            dao.tasks.depends(rows[planned.key].id, on=[rows[key].id for key in upstream])
    return rows


def _store_task(dao: UnitOfWork, drive: Drive, planned: PlannedTask, workstream_id: str) -> TaskRow:
    return dao.tasks.create(
        run_id=drive.run_id,
        workstream_id=workstream_id,
        kind=planned.kind.value,
        description=planned.description,
        pattern_id=planned.pattern_id,
        tool_id=planned.tool_id,
        file_scope=list(planned.file_scope),
        is_critical=planned.is_critical,
        required_capabilities=list(planned.required_capabilities),
        max_retries=planned.max_retries,
        timeout_sec=planned.timeout_sec,
        metadata={"key": planned.key, "gaps": list(planned.gaps), "order_only": list(planned.order_only)},
    )


def _must_end_well(depends_on: tuple[str, ...], order_only: tuple[str, ...]) -> list[str]:
    return [key for key in depends_on if key not in order_only]
