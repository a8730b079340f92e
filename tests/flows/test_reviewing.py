"""Patches that wait are answered from wherever a person is: the Prefect UI's form, or the command line."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from repositories import Committed, git

from prefect_acms.blocks.config import ClusteringSettings, DiscoverySettings, GateSettings, PipelineConfig
from prefect_acms.blocks.guardrails import GuardrailSettings, ReviewSettings
from prefect_acms.dao.store import open_store
from prefect_acms.flows.pipeline import run_pipeline
from prefect_acms.tasks.orders import By
from prefect_acms.tasks.retrials import reject_patch
from prefect_acms.tasks.reviews import review_of

Found = TypeVar("Found")
PATIENCE_SEC = 60.0


def soon(look: Callable[[], Found | None], *, unless: threading.Event) -> Found:
    """What is there at last; fails when it does not come in time."""
    end = time.monotonic() + PATIENCE_SEC
    while time.monotonic() < end and not unless.wait(0.3):
        found = look()
        if found is not None:
            return found
    pytest.fail("it did not come")


async def executions(run_id: str) -> list[FlowRun]:
    """The flow runs that execute the plan of a run."""
    async with get_client() as client:
        named = FlowRunFilter.model_validate({"name": {"any_": [f"execute {run_id}"]}})
        return await client.read_flow_runs(flow_run_filter=named)


async def answer(flow_run: FlowRun, **said: str) -> str:
    """Answer the form of a paused flow run as the UI does; what Prefect says to it."""
    async with get_client() as client:
        done = await client.resume_flow_run(flow_run.id, run_input=said)
    return done.status.value


@pytest.mark.usefixtures("prefect_server")
def test_either_side_answers_and_the_other_is_closed(committed: Committed, tmp_path: Path) -> None:
    """Two patches wait at once though one task may run at a time; one is approved in Prefect, one rejected here."""
    repository = committed({"a.py": "import os\n\nA = 1\n", "b.py": "import os\n\nB = 1\n"})
    url = f"sqlite:///{tmp_path / 'canonical.db'}"
    store = open_store(url)
    config = PipelineConfig(
        repository=repository,
        database_url=url,
        discovery=DiscoverySettings(sources=("ruff",), ruff_select=("F401",)),
        clustering=ClusteringSettings(max_files=1),
        gates=GateSettings(unit_enabled=False),
        guardrails=GuardrailSettings(review=ReviewSettings(always=True, expires_after_sec=90)),
        execution={"concurrency": 1},
    )
    ended = threading.Event()

    def both_wait() -> dict[str, str] | None:
        with store.begin(read_only=True) as dao:
            entries = {dao.patches.get(entry.patch_id).files[0]: entry.id for entry in dao.ledger.waiting()}
        return entries if len(entries) == 2 else None

    def person() -> None:
        waiting = soon(both_wait, unless=ended)
        with store.begin(read_only=True) as dao:
            run_id = dao.ledger.get(waiting["a.py"]).run_id
        first = min(waiting.values())
        second = max(waiting.values())

        def paused() -> FlowRun | None:
            found = [run for run in asyncio.run(executions(run_id)) if run.state and run.state.is_paused()]
            return found[0] if found else None

        form = soon(paused, unless=ended)
        refused = asyncio.run(answer(form, decision="approve", operator="", reason="good"))
        assert refused == "REJECT", "a form without a name is refused by Prefect itself"
        assert asyncio.run(answer(form, decision="approve", operator="bea", reason="good")) == "ACCEPT"

        def decided() -> bool | None:
            with store.begin(read_only=True) as dao:
                return dao.ledger.get(first).state != "awaiting_review" or None

        soon(decided, unless=ended)
        soon(paused, unless=ended)
        reject_patch(store, second, By(operator="ada", reason="not this one"))

    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(person)
        try:
            outcome = run_pipeline(config)
        finally:
            ended.set()
        answering.result(PATIENCE_SEC)
    with store.begin(read_only=True) as dao:
        entries = dao.ledger.of_run(outcome.run_id)
        reviews = [review_of(entry) for entry in entries]
        deferred = [gap.deferred_reason for gap in dao.gaps.of_run(outcome.run_id) if gap.state == "deferred"]
    answers = {(review.decision, review.operator, review.reason) for review in reviews if review}
    assert answers == {("approved", "bea", "good"), ("rejected", "ada", "not this one")}
    assert sorted(entry.state for entry in entries) == ["committed", "dropped"]
    assert deferred == ["its patch was dropped: rejected by ada: not this one"]
    assert (outcome.state, outcome.exit_code) == ("succeeded", 1)
    changed = git(repository, "diff", "--name-only", "main", outcome.branch or "").split()
    assert len(changed) == 1
    (execution,) = asyncio.run(executions(outcome.run_id))
    assert execution.state is not None
    assert execution.state.is_completed(), "no form is left open"
