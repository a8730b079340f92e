"""The phases in a flow of the user's own, and refusals as Prefect shows them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from driven import Planned, a_gap, a_plan, a_task, started_run
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.runtime import flow_run
from repositories import Committed, fingerprint_of, git

from prefect_acms.blocks.config import DiscoverySettings, ExecutionSettings, Mode, PipelineConfig
from prefect_acms.canonical.errors import RepositoryBusy
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.task import TaskTrigger
from prefect_acms.dao.store import open_store
from prefect_acms.flows import (
    acms_pipeline,
    cluster_gaps,
    compile_run_plan,
    configure_run,
    discover_gaps,
    execute_plan,
    summarize_run,
)
from prefect_acms.flows.pipeline import run_pipeline
from prefect_acms.flows.resume import resume_pipeline
from prefect_acms.tasks.execution import run_task
from prefect_acms.tasks.locks import repository_lock

pytestmark = pytest.mark.usefixtures("prefect_server")

APP = {"app.py": "import os\nimport sys\n\n\ndef go():\n    return sys.argv\n"}
RUFF = DiscoverySettings(sources=("ruff",))


def test_the_phases_make_a_run_inside_a_users_own_flow(committed: Committed, canonical_url: str) -> None:
    """Called one by one without an epoch, each takes the run over; it ends as the pipeline would end it."""
    repository = committed(APP)
    before = fingerprint_of(repository)
    config = PipelineConfig(repository=repository, database_url=canonical_url, discovery=RUFF)

    @flow(name="mine", persist_result=False)
    async def mine() -> tuple[str, str | None]:
        handle = await configure_run(config)
        await discover_gaps(handle.run_id, database_url=canonical_url)
        await cluster_gaps(handle.run_id, database_url=canonical_url)
        await compile_run_plan(handle.run_id, database_url=canonical_url)
        await execute_plan(handle.run_id, database_url=canonical_url)
        await summarize_run(handle.run_id, database_url=canonical_url)
        return handle.run_id, flow_run.id

    run_id, flow_run_id = asyncio.run(mine())
    with open_store(canonical_url).begin(read_only=True) as dao:
        run, phases = dao.runs.get(run_id), dao.phases.of_run(run_id)
        rows = [*dao.tasks.of_run(run_id), *dao.workers.of_run(run_id), *dao.gaps.of_run(run_id)]
    assert (run.state, run.prefect_flow_run_id, run.epoch) == ("succeeded", flow_run_id, 6)
    assert [(phase.name, phase.outcome) for phase in phases] == [
        (name, "completed") for name in ("configure", "discovery", "clustering", "planning", "execution", "summary")
    ]
    assert [row.id for row in rows if row.state not in MACHINES[row.machine.entity].terminal] == []
    assert git(repository, "show", f"acms/{run_id}:app.py").startswith("import sys")
    assert fingerprint_of(repository) == before
    assert git(repository, "worktree", "list", "--porcelain").count("worktree ") == 1


def test_a_pipeline_inside_another_flow_is_known_by_its_own_prefect_run(
    committed: Committed, canonical_url: str
) -> None:
    """Its hooks look for the run by the pipeline's id, not by that of the flow around it."""
    config = PipelineConfig(
        repository=committed({"app.py": "A = 1\n"}), database_url=canonical_url, discovery=RUFF, mode=Mode.ANALYZE_ONLY
    )

    @flow(name="around", persist_result=False)
    async def around() -> StateType:
        state: State[Any] = await acms_pipeline(config, return_state=True)
        return state.type

    ended = asyncio.run(around())
    with open_store(canonical_url).begin(read_only=True) as dao:
        (run,) = dao.runs.latest(10)
    assert ended is StateType.COMPLETED
    assert asyncio.run(_flow_name(str(run.prefect_flow_run_id))) == "acms-pipeline"


async def _flow_name(flow_run_id: str) -> str:
    async with get_client() as client:
        found = await client.read_flow_run(UUID(flow_run_id))
        return (await client.read_flow(found.flow_id)).name


def test_a_refused_start_ends_its_prefect_task_with_the_refusal(committed: Committed, canonical_url: str) -> None:
    """Cancelled for a task that was cancelled, Failed for one without a worker; neither does any work."""
    drive = started_run(committed(APP), canonical_url, execution=ExecutionSettings(concurrency=1))
    gaps = [a_gap(name, f"{name}.py") for name in "abc"]
    tasks = [a_task(f"ws-0{n}/one", [gap]) for n, gap in enumerate(gaps, start=1)]
    planned = Planned(drive, a_plan(drive, tasks, gaps))
    cancelled, busy, waiting = [planned.queued(task.key) for task in tasks]
    with drive.begin() as dao:
        dao.tasks.advance(cancelled.id, TaskTrigger.USER_CANCELLED)
        dao.tasks.claim(busy.id, run_id=drive.run_id)

    states: list[State[Any]] = []

    @flow(name="submits", persist_result=False)
    def submits() -> None:
        for task in (cancelled, waiting):
            future = run_task.submit(drive.run_id, drive.epoch, task.id, "label")
            future.wait()
            states.append(future.state)

    submits(return_state=True)
    first, second = states
    assert first.type is StateType.CANCELLED
    assert "it can't take worker_started" in str(first.message)
    assert (second.type, second.name) == (StateType.FAILED, "Refused")
    assert "the worker is idle" in str(second.message)
    assert planned.task("ws-03/one").state == "queued"
    assert not drive.worktree("ws-01").exists()
    assert not drive.worktree("ws-03").exists()


def test_a_second_run_in_the_same_repository_is_refused(
    committed: Committed, canonical_url: str, acms_home: Path
) -> None:
    """Bad input, with the owner named; no row is made, and once the first is over the second may go."""
    config = PipelineConfig(
        repository=committed({"app.py": "A = 1\n"}), database_url=canonical_url, discovery=RUFF, mode=Mode.ANALYZE_ONLY
    )
    with (
        repository_lock(acms_home, config.path, "somebody else"),
        pytest.raises(RepositoryBusy, match="somebody else"),
    ):
        run_pipeline(config)
    with open_store(canonical_url).begin(read_only=True) as dao:
        assert dao.runs.latest(10) == []
    assert run_pipeline(config).state == "succeeded"


def test_a_run_is_resumed_in_the_store_that_is_named(committed: Committed, canonical_url: str) -> None:
    """Not in the one that is used without a name."""
    repository = committed({"a.py": "import os\n\nA = 1\n"})
    sources = DiscoverySettings(sources=("ruff",))
    outcome = run_pipeline(
        PipelineConfig(repository=repository, database_url=canonical_url, mode=Mode.ANALYZE_ONLY, discovery=sources)
    )
    assert resume_pipeline(outcome.run_id, canonical_url) == outcome
