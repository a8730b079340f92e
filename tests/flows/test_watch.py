"""Watching and rollback as flows: the Prefect state says what was done, and an artifact shows the way back."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from repositories import git
from shops import ADA, Shop

from prefect_acms.blocks.watch import WatchSettings
from prefect_acms.flows import roll_back_patches, watch_branches


@pytest.mark.usefixtures("prefect_server")
def test_what_a_watch_finds_is_shown_and_a_flow_takes_it_back(tmp_path: Path, canonical_url: str) -> None:
    """The command in the artifact is the rollback that the other flow then does."""
    shop = Shop(tmp_path, canonical_url)
    patch = shop.fix("ws-01", ("A0 = 1", "A0 = 2"))
    shop.ends()
    git(shop.repository.top, "merge", "-q", "--ff-only", f"acms/{shop.drive.run_id}")
    test = (sys.executable, "-c", "import sys; sys.exit('A0 = 2' in open('a.py').read())")
    settings = WatchSettings(branch="main", test=test)
    watching: Any = watch_branches
    state = asyncio.run(watching(shop.repository.top, canonical_url, settings, return_state=True))
    assert (state.name, state.message) == ("Broken", "1 merge looked at; 1 broke something")
    assert f"acms rollback {patch} --onto main" in asyncio.run(_artifact("acms-shop-broken"))
    rolling_back: Any = roll_back_patches
    planned = asyncio.run(
        rolling_back(patch, **ADA, onto="main", database_url=canonical_url, dry_run=True, return_state=True)
    )
    branch = f"acms/rollback/{patch}"
    assert (planned.name, planned.message) == ("Planned", f"would be rolled back on {branch}: {patch}")
    done = asyncio.run(rolling_back(patch, **ADA, onto="main", database_url=canonical_url, return_state=True))
    command = f"git switch main && git merge {branch}"
    assert done.message == f"1 patch rolled back on the new branch {branch}: {command}"
    assert shop.state("ws-01") == "rolled_back"
    refused = asyncio.run(rolling_back(patch, **ADA, database_url=canonical_url, return_state=True))
    assert refused.is_failed()
    assert "it can't take rollback_approved" in str(refused.message)


async def _artifact(key: str) -> str:
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey  # noqa: PLC0415 - as the client is

    async with get_client() as client:
        found = await client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    return str(found[0].data)
