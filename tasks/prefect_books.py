"""What Prefect has in its books about some runs, read in pages whatever their number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterId,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
    TaskRunFilterId,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, StateType, TaskRun
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort

PAGE = 200
"""Rows that are asked for at once: the most that a server gives by default."""

OPEN = sorted(set(StateType) - TERMINAL_STATES)

T = TypeVar("T")


@dataclass
class Books:
    """Flow runs by id, the phases and the open task runs below them, and the task runs that exist."""

    flow_runs: dict[UUID, FlowRun] = field(default_factory=dict)
    phases: dict[UUID, list[FlowRun]] = field(default_factory=lambda: defaultdict(list))
    """The flow runs below each attempt."""
    flow_names: dict[UUID, str] = field(default_factory=dict)
    open_tasks: dict[UUID, list[TaskRun]] = field(default_factory=lambda: defaultdict(list))
    """The task runs of each flow run that are not in a terminal state."""
    task_runs: set[UUID] = field(default_factory=set)
    """Which of the task runs that were asked for exist."""


async def read_books(client: PrefectClient, attempts: Collection[UUID], task_runs: Collection[UUID] = ()) -> Books:
    """Read about these flow runs, what is below them, and whether these task runs exist."""
    books = Books()
    for ids in _chunks(attempts):
        found = await client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=ids)), limit=PAGE)
        books.flow_runs |= {run.id: run for run in found}
    phases = [phase for ids in _chunks(books.flow_runs) async for phase in _pages(_phases_below(client, ids))]
    # a flow run knows the one above it by the task run that stands for it there
    places = {phase.parent_task_run_id: phase for phase in phases if phase.parent_task_run_id is not None}
    for ids in _chunks(places):
        for mirror in await client.read_task_runs(task_run_filter=_of_ids(ids), limit=PAGE):
            if mirror.flow_run_id is not None:
                books.phases[mirror.flow_run_id].append(places[mirror.id])
    for ids in _chunks({phase.flow_id for phase in phases}):
        flows = await client.read_flows(flow_filter=FlowFilter(id=FlowFilterId(any_=ids)), limit=PAGE)
        books.flow_names |= {flow.id: flow.name for flow in flows}
    for ids in _chunks([*books.flow_runs, *(phase.id for phase in phases)]):
        async for task in _pages(_open_tasks_of(client, ids)):
            if task.flow_run_id is not None:
                books.open_tasks[task.flow_run_id].append(task)
    for ids in _chunks(task_runs):
        known = await client.read_task_runs(task_run_filter=_of_ids(ids), limit=PAGE)
        books.task_runs |= {task.id for task in known}
    return books


def _of_ids(ids: list[UUID]) -> TaskRunFilter:
    return TaskRunFilter(id=TaskRunFilterId(any_=ids))


def _phases_below(client: PrefectClient, ids: list[UUID]) -> Callable[[int], Awaitable[Sequence[FlowRun]]]:
    below = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=ids))
    return lambda offset: client.read_flow_runs(
        flow_run_filter=below, sort=FlowRunSort.ID_DESC, limit=PAGE, offset=offset
    )


def _open_tasks_of(client: PrefectClient, ids: list[UUID]) -> Callable[[int], Awaitable[Sequence[TaskRun]]]:
    wanted = TaskRunFilter(
        flow_run_id=TaskRunFilterFlowRunId(any_=ids),
        state=TaskRunFilterState(type=TaskRunFilterStateType(any_=OPEN)),
    )
    return lambda offset: client.read_task_runs(
        task_run_filter=wanted, sort=TaskRunSort.ID_DESC, limit=PAGE, offset=offset
    )


async def _pages(read: Callable[[int], Awaitable[Sequence[T]]]) -> AsyncIterator[T]:
    offset = 0
    while page := await read(offset):
        for row in page:
            yield row
        if len(page) < PAGE:
            return
        offset += PAGE


def _chunks(ids: Collection[UUID]) -> list[list[UUID]]:
    known = list(dict.fromkeys(ids))
    return [known[start : start + PAGE] for start in range(0, len(known), PAGE)]
