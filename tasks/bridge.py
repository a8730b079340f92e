"""Between Prefect's states and ours: final states derived from rows, and hooks that tell the service what Prefect saw.

A hook can't veto: it runs after the server accepted the state, and what it raises is swallowed. So every hook here is a
notification that may come never, once or more often, in a process that knows no more than the run's id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect import Flow, Task
from prefect.client.schemas.objects import FlowRun, State, TaskRun
from prefect.states import Cancelled, Completed, Failed

from prefect_acms.canonical.events import Notice
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.run import RunState, RunTrigger
from prefect_acms.canonical.task import TaskState
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.attempts import fail_task
from prefect_acms.tasks.driving import drive_run, drives, release_run, shared_store
from prefect_acms.tasks.ending import end_run


def run_state(run: RunRow, data: Any = None) -> State[Any]:
    """The Prefect state that says what the row of the run says."""
    degraded = run.state == RunState.SUCCEEDED and bool(run.info.get("degraded"))
    match run.state:
        case RunState.SUCCEEDED if degraded:
            return Completed(name="Degraded", message="succeeded, though something not critical failed", data=data)
        case RunState.SUCCEEDED:
            return Completed(message="succeeded", data=data)
        case RunState.QUARANTINED:
            return Failed(name="Quarantined", message=run.quarantine_reason, data=data)
        case RunState.CANCELED:
            return Cancelled(message="canceled", data=data)
        case RunState.FAILED:
            return Failed(message=run.error, data=data)
        case _:
            return Failed(name="Unfinished", message=f"the run is still {run.state}", data=data)


def task_state(task: TaskRow) -> State[Any]:
    """The Prefect state that says what the row of the task says."""
    match task.state:
        case TaskState.COMPLETED if task.info.get("partial"):
            return Completed(name="Partial", message=str(task.info["partial"]), data=task.id)
        case TaskState.COMPLETED:
            return Completed(message=task.description, data=task.id)
        case TaskState.CANCELLED:
            return Cancelled(message=f"{task.description}: cancelled")
        case TaskState.FAILED:
            return Failed(message=task.last_error)
        case _:
            return Failed(name="Unfinished", message=f"the task is still {task.state}")


def on_run_ended_badly(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Prefect saw the run fail or crash: a canonical run that is still going on ends by `run_crashed`."""
    _end(flow_run, RunTrigger.RUN_CRASHED, _reported(flow.name, state))


def on_run_cancelled(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Prefect was asked to cancel the run: so is the canonical one, children first."""
    _end(flow_run, RunTrigger.USER_CANCELLED, _reported(flow.name, state))


def on_run_running(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - Prefect's form
    """Prefect started another attempt of a run that we know: its number is kept."""
    store = _store_of(flow_run.parameters)
    with store.begin() as dao:
        run = dao.runs.by_flow_run(str(flow_run.id))
        if run is not None and run.state == RunState.RUNNING and run.prefect_run_count != flow_run.run_count:
            dao.runs.change(run.id, prefect_run_count=flow_run.run_count)


def on_run_completed(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Prefect calls the run completed: if ours has not ended, that is a drift, and said so."""
    store = _store_of(flow_run.parameters)
    with store.begin() as dao:
        run = dao.runs.by_flow_run(str(flow_run.id))
        if run is not None and run.state not in MACHINES["run"].terminal:
            reason = f"{_reported(flow.name, state)}, but the run is {run.state}"
            dao.runs.note(run.id, Notice.DRIFT_DETECTED, reason=reason)


def on_task_failed(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> None:
    """Prefect saw the task fail: a canonical task that is still running leaves by `worker_lost`."""
    for drive in drives():
        with drive.reading() as dao:
            row = dao.tasks.by_task_run(str(task_run.id))
        ours = row is not None and row.run_id == drive.run_id and not drive.stopping.is_set()
        if row is not None and ours and row.state == TaskState.RUNNING:
            with drive.begin() as dao:
                fail_task(dao, row.id, _reported(task.name, state))


def _reported(name: str, state: State[Any]) -> str:
    return f"Prefect reports {state.name} of {name}: {state.message or 'no message'}"


def _end(flow_run: FlowRun, trigger: RunTrigger, reason: str) -> None:
    end_run_of(str(flow_run.id), _store_of(flow_run.parameters), trigger, reason)


def end_run_of(flow_run_id: str, store: Store, trigger: RunTrigger, reason: str) -> None:
    """End the run that a Prefect flow run stands for, if there is one that still goes on, by taking it over."""
    with store.begin(read_only=True) as dao:
        run = dao.runs.by_flow_run(flow_run_id)
    if run is None or run.state in MACHINES["run"].terminal:
        return
    try:
        end_run(drive_run(run.id, database=store.url), trigger, reason)
    finally:
        release_run(run.id)


def _store_of(parameters: Mapping[str, Any]) -> Store:
    config = parameters.get("config")
    given = config.get("database_url") if isinstance(config, Mapping) else getattr(config, "database_url", None)
    return shared_store(given or parameters.get("database_url"))
