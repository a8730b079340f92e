"""Rows of a real Prefect server: flow runs and task runs made and read by its client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID, uuid4

from prefect import flow, task
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import State

T = TypeVar("T")


@flow(name="acms-pipeline")
def pipeline() -> None:
    """Stands for an attempt."""


@flow(name="acms-execution")
def execution() -> None:
    """Stands for a phase below an attempt."""


@task
def work() -> None:
    """Stands for a task of a phase."""


def asked(ask: Callable[[PrefectClient], Awaitable[T]]) -> T:
    """What the server answers."""

    async def asking() -> T:
        async with get_client() as client:
            return await ask(client)

    return asyncio.run(asking())


def a_flow_run(state: State[Any]) -> UUID:
    """A flow run in that state."""
    return asked(lambda client: client.create_flow_run(pipeline, state=state)).id


def a_phase(parent: UUID, state: State[Any]) -> UUID:
    """A flow run below another, with the task run by which Prefect mirrors it there."""

    async def made(client: PrefectClient) -> UUID:
        mirror = await client.create_task_run(work, flow_run_id=parent, dynamic_key=str(uuid4()), state=state)
        child = await client.create_flow_run(execution, parent_task_run_id=mirror.id, state=state)
        return child.id

    return asked(made)


def a_task_run(flow_run: UUID, state: State[Any]) -> UUID:
    """A task run in that state."""
    made = asked(
        lambda client: client.create_task_run(work, flow_run_id=flow_run, dynamic_key=str(uuid4()), state=state)
    )
    return made.id


def set_state(flow_run: UUID, state: State[Any]) -> None:
    """Set the state of a flow run past all of Prefect's rules."""
    asked(lambda client: client.set_flow_run_state(flow_run, state, force=True))


def state_of_flow_run(flow_run: UUID | str) -> tuple[str, str]:
    """The name and the message of a flow run's state."""
    state = asked(lambda client: client.read_flow_run(UUID(str(flow_run)))).state
    assert state is not None
    return state.name or "", state.message or ""


def state_of_task_run(task_run: UUID) -> tuple[str, str]:
    """The name and the message of a task run's state."""
    state = asked(lambda client: client.read_task_run(task_run)).state
    assert state is not None
    return state.name or "", state.message or ""
