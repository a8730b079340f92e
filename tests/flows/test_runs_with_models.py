"""Whole runs that ask models: the stronger one mends it, a person lets it in, and the budget ends the rest."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterType
from prefect.client.schemas.sorting import ArtifactSort
from prometheus_client import CollectorRegistry, generate_latest
from provider_answers import Answer, Asked, structured
from providers import Provider
from repositories import Committed, git

from prefect_acms.blocks.ai import AiSettings
from prefect_acms.blocks.budget import BudgetLimits, BudgetSettings, ModelPrice
from prefect_acms.blocks.config import ClusteringSettings, DiscoverySettings, GateSettings, PipelineConfig
from prefect_acms.blocks.fix_loop import FixLoopSettings
from prefect_acms.dao.store import Store, open_store
from prefect_acms.flows.pipeline import run_pipeline
from prefect_acms.tasks.metrics_collector import StoreCollector
from prefect_acms.tasks.orders import By
from prefect_acms.tasks.retrials import approve_patch

PATIENCE_SEC = 120.0
BROKEN = "def first(rows):\n    return row[0]\n"


def answered(asked: Asked) -> Answer:
    """The small model would change what is not there, the large one mends it; both tell what they have used."""
    fits = asked.model == "gpt-strong"
    edit = {"path": "a.py", "search": "return row[0]" if fits else "return rows", "replace": "return rows[0]"}
    edits = {"summary": "done", "edits": [edit]}
    return structured(edits, tool="edit_files", input_tokens=900, output_tokens=100)(asked)


def approving(store: Store, ended: threading.Event) -> str | None:
    """Approve the first patch that waits, as `acms review approve` does; the tool that made it."""
    end = time.monotonic() + PATIENCE_SEC
    while time.monotonic() < end and not ended.wait(0.2):
        with store.begin(read_only=True) as dao:
            tools = {entry.id: dao.tasks.get(entry.task_id).tool_id for entry in dao.ledger.waiting()}
        for entry, tool in tools.items():
            approve_patch(store, entry, By(operator="ada", reason="that is the fault"))
            return tool
    return None


async def markdown() -> list[str]:
    """The texts of all summaries in Prefect."""
    async with get_client() as client:
        shown = await client.read_artifacts(
            artifact_filter=ArtifactFilter(type=ArtifactFilterType(any_=["markdown"])), sort=ArtifactSort.CREATED_DESC
        )
    return [str(one.data) for one in shown]


@pytest.mark.usefixtures("prefect_server")
def test_the_strong_model_mends_what_a_person_lets_in_and_the_budget_ends_the_rest(
    committed: Committed, canonical_url: str, provider: Provider
) -> None:
    """The first file is paid for, approved and committed; for the second one nothing is left, as all reports say."""
    provider.otherwise = answered
    repository = committed({"a.py": BROKEN, "b.py": BROKEN})
    price = ModelPrice(input_usd=100, output_usd=1000)
    config = PipelineConfig(
        repository=repository,
        database_url=canonical_url,
        discovery=DiscoverySettings(sources=("ruff",), ruff_select=("F821",)),
        clustering=ClusteringSettings(max_files=1),
        gates=GateSettings(unit_enabled=False, security_enabled=False),
        ai=AiSettings(
            model="openai-chat:gpt-test",
            strong_model="openai-chat:gpt-strong",
            context_tokens=1_000,
            max_output_tokens=256,
            edit_retries=0,
            request_retries=0,
        ),
        # room for a second call beside the first one's 1,000 tokens, and for no third
        budget=BudgetSettings(run=BudgetLimits(tokens=7_000), prices={"gpt-test": price, "gpt-strong": price}),
        fix_loop=FixLoopSettings(attempts=0),
        execution={"concurrency": 1},
    )
    store, ended = open_store(canonical_url), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        approved = pool.submit(approving, store, ended)
        try:
            outcome = run_pipeline(config)
        finally:
            ended.set()
        approved_tool = approved.result(PATIENCE_SEC)
    refused = "the run's budget of 7000 tokens has no room for ai-edit, which asks for 5256 tokens"
    assert [asked.model for asked in provider.asked] == ["gpt-test", "gpt-strong"]
    assert approved_tool == "ai-edit-strong"
    assert (outcome.state, outcome.degraded, outcome.exit_code) == ("succeeded", True, 1)
    assert git(repository, "show", f"{outcome.branch}:a.py") == BROKEN.replace("row[0]", "rows[0]")
    assert git(repository, "diff", "--name-only", "main", outcome.branch or "").split() == ["a.py"]

    told = json.loads(Path(outcome.folder, "summary.json").read_text())
    (patch,) = told["patches"]
    assert (patch["state"], patch["on_branch"], patch["files"]) == ("committed", True, ["a.py"])
    assert (told["counts"]["resolved"], told["counts"]["deferred"]) == (1, 1)
    assert told["reasons"] == [{"reason": refused, "gaps": 1}]
    assert told["over_budget"] == [refused]
    spent = {"calls": 2, "requests": 2, "input_tokens": 1800, "output_tokens": 200, "usd": 0.38, "accepted": 1}
    assert spent.items() <= told["cost"].items()
    assert [(tool["id"], tool["cost"]["usd"], tool["cost"]["accepted"]) for tool in told["tools"]] == [
        ("ai-edit", 0.19, 0), ("ai-edit-strong", 0.19, 1),
    ]  # fmt: skip

    page = Path(outcome.folder, "report.html").read_text()
    (shown,) = [text for text in asyncio.run(markdown()) if outcome.run_id in text and "2000 tokens" in text]
    for report in (unescape(page), unescape(shown)):
        assert "$0.38 for 2000 tokens in 2 requests, $0.38 an accepted patch (1)" in report
        assert refused in report
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StoreCollector(store.url))
    measured = generate_latest(registry).decode().splitlines()
    for tool in ("ai-edit", "ai-edit-strong"):
        assert f'acms_spent_tokens_total{{kind="input",tool="{tool}"}} 900.0' in measured
        assert f'acms_spent_tokens_total{{kind="output",tool="{tool}"}} 100.0' in measured
        assert f'acms_spent_usd_total{{tool="{tool}"}} 0.19' in measured
    assert 'acms_budget_exceeded_total{scope="run"} 1.0' in measured
