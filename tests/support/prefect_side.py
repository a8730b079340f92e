"""Prefect's side of a test: deployments, flow runs and their states, and real workers in processes of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from faults import PATIENCE_SEC, alive, until
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import FlowRun, State
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelling, Scheduled
from prefect.types.entrypoint import EntrypointType

from prefect_acms.deployments.worker import AcmsWorker

T = TypeVar("T")


def asked(question: Callable[[PrefectClient], Awaitable[T]]) -> T:
    """What the server answers."""

    async def ask() -> T:
        async with get_client() as client:
            return await question(client)

    return asyncio.run(ask())


def deploy(pool: str) -> UUID:
    """A deployment of the pipeline by its module's path, in a new pool of our worker type."""
    from prefect_acms.flows.pipeline import acms_pipeline  # noqa: PLC0415 - half a second that most tests don't need

    template = AcmsWorker.get_default_base_job_template()
    asked(lambda client: client.create_work_pool(WorkPoolCreate(name=pool, type="acms", base_job_template=template)))

    async def apply() -> UUID:
        deployment = await acms_pipeline.ato_deployment(
            name=pool, work_pool_name=pool, entrypoint_type=EntrypointType.MODULE_PATH
        )
        return UUID(str(await deployment.aapply()))

    return asyncio.run(apply())


def trigger(deployment: UUID, config: Mapping[str, Any], env: Mapping[str, str]) -> UUID:
    """A flow run of the deployment, now; its process has these variables too."""
    made = asked(
        lambda client: client.create_flow_run_from_deployment(
            deployment, parameters={"config": dict(config)}, job_variables={"env": dict(env)}
        )
    )
    return made.id


def schedule_later(deployment: UUID, config: Mapping[str, Any], env: Mapping[str, str]) -> UUID:
    """A flow run that no worker starts within the test."""
    from prefect.types._datetime import now  # noqa: PLC0415 - as the client does

    made = asked(
        lambda client: client.create_flow_run_from_deployment(
            deployment,
            parameters={"config": dict(config)},
            job_variables={"env": dict(env)},
            state=Scheduled(scheduled_time=now("UTC") + timedelta(hours=1)),
        )
    )
    return made.id


def flow_run(flow_run_id: UUID | str) -> FlowRun:
    """The flow run as the server has it."""
    return asked(lambda client: client.read_flow_run(UUID(str(flow_run_id))))


def state_of(flow_run_id: UUID | str) -> State[Any]:
    """Its state."""
    state = flow_run(flow_run_id).state
    assert state is not None
    return state


def cancel(flow_run_id: UUID) -> None:
    """Ask for its cancellation, as the button of the UI does."""
    asked(lambda client: client.set_flow_run_state(flow_run_id, Cancelling(message="asked for by the test")))


def retry(flow_run_id: UUID) -> None:
    """Ask for another attempt, with the very request of the UI's button: the same flow run, not by force."""
    state: State[Any] = Scheduled(name="AwaitingRetry", message="Retry from the UI")
    asked(lambda client: client.set_flow_run_state(flow_run_id, state))


def until_final(flow_run_id: UUID, within: float = PATIENCE_SEC) -> State[Any]:
    """Wait for its end, and give the state that it has then."""

    def final() -> State[Any] | None:
        state = state_of(flow_run_id)
        return state if state.is_final() else None

    found: State[Any] = until(final, f"flow run {flow_run_id} ends", within)
    return found


async def edges(flow_run_id: str) -> set[tuple[str, str]]:
    """What is drawn on the page of the execution below a flow run: which box leads to which, by their labels."""
    async with get_client() as client:
        below = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[UUID(flow_run_id)]))
        phases = await client.read_flow_runs(flow_run_filter=below)
        (execution,) = (phase.id for phase in phases if phase.name.startswith("execute "))
        answer = await client.request("GET", "/flow_runs/{id}/graph-v2", path_params={"id": execution})
    nodes = {node["id"]: node for _, node in answer.json()["nodes"]}
    return {(nodes[up["id"]]["label"], node["label"]) for node in nodes.values() for up in node["parents"]}


class Pool(NamedTuple):
    """A deployment of the pipeline, and the pool that it runs in."""

    name: str
    deployment: UUID


class Worker:
    """A real `prefect worker start --type acms`, in a process group of its own."""

    def __init__(self, pool: str, log: Path, home: Path) -> None:
        self.pool, self.log, self.home = pool, log, home
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "prefect", "worker", "start",
                    "--pool", pool, "--name", f"of {pool}", "--type", "acms", "--install-policy", "never",
                ],
                env=os.environ
                | {
                    "ACMS_HOME": str(home),
                    "PREFECT_API_URL": str(PREFECT_API_URL.value()),
                    "PREFECT_WORKER_QUERY_SECONDS": "1",
                    "PREFECT_WORKER_HEARTBEAT_SECONDS": "2",
                    "PREFECT_WORKER_CANCELLATION_POLL_SECONDS": "2",
                    "PREFECT_LOGGING_LEVEL": "INFO",
                    "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                },
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    @property
    def store_url(self) -> str:
        """The store that the worker itself is registered in; its runs name their own."""
        return f"sqlite:///{self.home}/canonical.db"

    def told(self) -> str:
        """What it has printed so far, its runs too."""
        return self.log.read_text(errors="replace")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Tell it to stop, and wait until it has."""
        self.process.send_signal(number)
        self.process.wait(PATIENCE_SEC)

    def kill(self) -> None:
        """End it by force, if it lives."""
        if alive(self.process.pid):
            self.process.kill()
        self.process.wait(PATIENCE_SEC)
