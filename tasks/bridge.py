"""Between Prefect's states and ours: final states derived from rows, and hooks that tell the service what Prefect saw.

A hook can't veto: it runs after the server accepted the state, and what it raises is swallowed. So every hook here is a
notification that may come never, once or more often, in a process that knows no more than the run's id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect import Flow, Task
from prefect.client.schemas.objects import FlowRun, State, TaskRun
from prefect.states import Cancelled, Completed, Crashed, Failed

from prefect_acms.canonical.events import Notice
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.run import RunState
from prefect_acms.canonical.task import TaskState
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.attempts import fail_task
from prefect_acms.tasks.cancelling import cancel_unless_ended
from prefect_acms.tasks.driving import drives, shared_store
from prefect_acms.tasks.recurring import NEWS
from prefect_acms.tasks.saved import database_of

SEEN = "prefect_attempt_seen"
"""Key of the metadata of a run: the highest number of an attempt that Prefect told of."""


def run_state(run: RunRow, data: Any = None) -> State[Any]:
    """The Prefect state that says what the row of the run says."""
    degraded = run.state == RunState.SUCCEEDED and bool(run.info.get("degraded"))
    match run.state:
        case RunState.SUCCEEDED if degraded:
            return Completed(name="Degraded", message="succeeded, though something not critical failed", data=data)
        case RunState.SUCCEEDED:
            return Completed(message=run.info.get(NEWS) or "succeeded", data=data)
        case RunState.QUARANTINED:
            return Failed(name="Quarantined", message=run.quarantine_reason, data=data)
        case RunState.CANCELED:
            return Cancelled(message="canceled", data=data)
        case RunState.FAILED:
            return Failed(message=run.error, data=data)
        case _:
            return Crashed(message=f"it lost its driver: `acms resume {run.id}` goes on with it", data=data)


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


def on_run_running(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - Prefect's form
    """Prefect started an attempt: the highest number that was told is kept; who drives the run is the body's word."""
    store = store_of(flow_run.parameters)
    with store.begin() as dao:
        run = dao.runs.by_flow_run(str(flow_run.id))
        if run is not None and flow_run.run_count > run.info.get(SEEN, 0):
            dao.runs.change(run.id, metadata={SEEN: flow_run.run_count})


def on_run_completed(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Prefect calls the run completed: if ours has not ended, that is a drift, and said so."""
    _note_drift(flow, flow_run, state)


def on_run_ended_badly(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Prefect saw the run fail or crash: a canonical run that has not ended stays as it is, and can be resumed.

    Its driver may live on, whatever Prefect says, and if it is dead, no work of it is given up for that.
    """
    _note_drift(flow, flow_run, state)


def on_run_cancelled(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Prefect was asked to cancel the run: so is the canonical one, children first; an older attempt says nothing."""
    store = store_of(flow_run.parameters)
    with store.begin(read_only=True) as dao:
        run = dao.runs.by_flow_run(str(flow_run.id))
    if run is not None and flow_run.run_count >= (run.prefect_run_count or 0):
        cancel_unless_ended(store, run, _reported(flow.name, state))


def _note_drift(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Tell once, however often it is delivered, that Prefect calls an attempt ended whose run has not ended."""
    store = store_of(flow_run.parameters)
    told = f"{flow_run.id}/{flow_run.run_count}/{state.name}"
    with store.begin() as dao:
        run = dao.runs.by_flow_run(str(flow_run.id))
        if run is None or run.state in MACHINES["run"].terminal or told in run.info.get("told", ()):
            return
        reason = f"{_reported(flow.name, state)}, but the run is {run.state}"
        dao.runs.note(run.id, Notice.DRIFT_DETECTED, reason=reason)
        dao.runs.change(run.id, metadata={"told": [*run.info.get("told", ()), told]})


def on_task_failed(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> None:
    """Prefect saw the task fail: a canonical task that is still running leaves by `worker_lost`."""
    for drive in drives():
        with drive.reading() as dao:
            row = dao.tasks.by_task_run(str(task_run.id))
        ours = row is not None and row.run_id == drive.run_id and not drive.stopping.is_set() and drive.fault is None
        if row is not None and ours and row.state == TaskState.RUNNING:
            with drive.begin() as dao:
                fail_task(dao, row.id, _reported(task.name, state))


def _reported(name: str, state: State[Any]) -> str:
    return f"Prefect reports {state.name} of {name}: {state.message or 'no message'}"


def store_of(parameters: Mapping[str, Any]) -> Store:
    """The store that a flow run with these parameters works with."""
    return shared_store(database_of(parameters))
