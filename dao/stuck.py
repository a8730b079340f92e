"""What has not ended, and when it was last heard of: what a look for stuck entities goes through."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import ColumnElement, Select, func, select, union_all

from prefect_acms.canonical.task import TaskState
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.schema import StateRow, terminal
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.dao.transitions import TransitionRow
from prefect_acms.dao.uet_workers import UetWorkerRow
from prefect_acms.dao.workers import WorkerRow
from prefect_acms.dao.workstreams import WorkstreamRow

if TYPE_CHECKING:
    from prefect_acms.dao.unit import UnitOfWork

S = TypeVar("S", bound=StateRow)


def open_workers(unit: UnitOfWork) -> list[WorkerRow]:
    """The workers that are not shut down, of all runs and of none."""
    return _rows(unit, select(WorkerRow).where(_is_open(WorkerRow)).order_by(WorkerRow.id))


def open_processes(unit: UnitOfWork) -> list[UetWorkerRow]:
    """The processes of tools that are not known to have ended."""
    return _rows(unit, select(UetWorkerRow).where(_is_open(UetWorkerRow)).order_by(UetWorkerRow.id))


def running_tasks(unit: UnitOfWork) -> list[TaskRow]:
    """The tasks that some worker has claimed."""
    return _rows(unit, select(TaskRow).where(TaskRow.state == TaskState.RUNNING.value).order_by(TaskRow.id))


def open_workstreams(unit: UnitOfWork) -> list[tuple[WorkstreamRow, str]]:
    """The workstreams of unended runs that have not ended, each with the moment of its or its tasks' last change."""
    mine = select(WorkstreamRow).join(RunRow, RunRow.id == WorkstreamRow.run_id)
    mine = mine.where(_is_open(WorkstreamRow), _is_open(RunRow)).order_by(WorkstreamRow.id)
    ids = mine.with_only_columns(WorkstreamRow.id).order_by(None)
    entities = union_all(
        select(WorkstreamRow.id.label("workstream"), WorkstreamRow.id.label("entity")).where(WorkstreamRow.id.in_(ids)),
        select(TaskRow.workstream_id, TaskRow.id).where(TaskRow.workstream_id.in_(ids)),
    ).subquery()
    last = (
        select(entities.c.workstream, func.max(TransitionRow.transitioned_at))
        .join(TransitionRow, TransitionRow.entity_id == entities.c.entity)
        .where(TransitionRow.from_state.is_distinct_from(TransitionRow.to_state))
        .group_by(entities.c.workstream)
    )
    moments = {str(workstream): str(moment) for workstream, moment in unit.session.execute(last)}
    return [(row, moments.get(row.id, row.created_at)) for row in _rows(unit, mine)]


def _is_open(row: type[StateRow]) -> ColumnElement[bool]:
    return row.state.not_in(terminal(row.machine))


def _rows(unit: UnitOfWork, statement: Select[tuple[S]]) -> list[S]:
    session = unit.session
    rows = list(session.scalars(statement))
    session.expunge_all()
    return rows
