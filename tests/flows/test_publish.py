"""Publishing by policy: the last thing that a run does, and nothing that a run can fail by."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from forges import TOKEN, Answer, Forge, forge_server
from prefect_side import asked
from publishable import Shop, records
from repositories import git

from prefect_acms.blocks.config import DiscoverySettings, PipelineConfig
from prefect_acms.blocks.forge_credentials import ForgeCredentials
from prefect_acms.dao.store import open_store
from prefect_acms.flows.pipeline import run_pipeline
from prefect_acms.flows.publish import publish_by_policy

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def forge() -> Iterator[Forge]:
    """A GitLab, for which a block with the token is saved."""
    with forge_server("gitlab", "acme/tools/shop") as server:
        saved = ForgeCredentials.model_validate({"forge_url": server.url, "token": TOKEN})
        saved.save("forge-of-a-test", overwrite=True)
        yield server


@pytest.fixture
def shop(tmp_path: Path, canonical_url: str, forge: Forge) -> Shop:
    """A repository with a remote."""
    return Shop(tmp_path, canonical_url, forge)


def test_a_run_publishes_at_its_end(shop: Shop) -> None:
    """A whole run with a policy: when it is over its merge request is open, and recorded with it."""
    (shop.top / "d.py").write_text("import os\n\nD = 1\n")
    git(shop.top, "add", "-A")
    git(shop.top, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "second")
    git(shop.top, "push", "-q", "origin", "main")
    settings = shop.settings(enabled=True, credentials="forge-of-a-test")
    sources = DiscoverySettings(sources=("ruff",))
    config = PipelineConfig(repository=shop.top, database_url=shop.url, discovery=sources, publish=settings)
    outcome = run_pipeline(config)
    assert outcome.state == "succeeded"
    (request,) = shop.forge.pulls
    assert request["title"] == "Draft: Fix 1 gap: F401"
    assert request["branch"] == f"acms/{outcome.run_id}"
    assert shop.heads()[request["branch"]] == shop.tip(request["branch"])
    for told in ("LINT PASSED", "1 gap gone, none new", "F401"):
        assert told in request["body"]
    (record,) = records(open_store(shop.url), outcome.run_id)
    assert (record.state, record.repository) == ("open", "acme/tools/shop")


async def _by_policy(shop: Shop, caplog: pytest.LogCaptureFixture, **given: str) -> str:
    settings = shop.settings(enabled=True, credentials="forge-of-a-test", **given)
    drive = shop.run(("gap-a", {"a.py": "A = 2\n"}), publish=settings)
    with caplog.at_level("INFO"):
        await publish_by_policy(drive)
    with drive.reading() as dao:
        assert dao.runs.get(drive.run_id).state == "succeeded"
    return drive.run_id


def test_what_goes_wrong_with_the_forge_is_a_line_in_the_log(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """The run has succeeded, and the next call goes on from where it was."""
    shop.forge.trouble("POST", "/merge_requests", Answer(403, {"message": "403 Forbidden"}))
    run_id = asyncio.run(_by_policy(shop, caplog))
    assert f"`acms publish {run_id}` tries again: {shop.forge.url}: the token may not do that (403)" in caplog.text
    assert [record.state for record in records(open_store(shop.url), run_id)] == ["pushed"]
    assert TOKEN not in caplog.text


def test_where_the_store_is_does_not_become_a_parameter(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """The URL of a store may hold a password, and Prefect keeps and shows what a flow is called with."""
    run_id = asyncio.run(_by_policy(shop, caplog))
    runs = asked(lambda client: client.read_flow_runs())
    (published,) = [run for run in runs if run.parameters.get("run_id") == run_id]
    assert published.parameters["database_url"] is None
