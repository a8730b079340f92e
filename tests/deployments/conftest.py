"""The command line, and what commands are called on: repositories, and a store with one run in it."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from commands import Acms, Called

from prefect_acms.canonical.gap import GapTrigger
from prefect_acms.canonical.patch import PatchTrigger
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.dao.store import open_store
from prefect_acms.deployments.catalog import CATALOG
from prefect_acms.deployments.cli import exit_code
from prefect_acms.deployments.demo import make_repository

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

DIFF = b"diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-import os\n+x = '\xff\x1b[31m'\n"


class Stored(NamedTuple):
    """The ids of what is in the store, and its URL."""

    url: str
    run: str
    patch: str
    entry: str
    gap: str


@pytest.fixture
def acms(monkeypatch: pytest.MonkeyPatch) -> Acms:
    """Calls the command line in this process; further keywords are environment variables."""

    def call(*arguments: str, **variables: str) -> Called:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        with monkeypatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name, value in variables.items():
                patch.setenv(name, value)
            code = exit_code(arguments)
        raw = [stream.buffer.getvalue() for stream in (out, err)]
        return Called(code, raw[0].decode(errors="replace"), raw[1].decode(errors="replace"), raw[0])

    return call


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """A run that was quarantined, with one deferred gap and one patch that did not validate."""
    url = f"sqlite:///{tmp_path_factory.mktemp('stored') / 'canonical.db'}"
    store = open_store(url)
    with store.begin() as dao:
        run = dao.runs.create(repo_root="/nowhere/shop", base_commit="a" * 40, mode="full", config={}).id
        dao.runs.advance(run, RunTrigger.RUN_STARTED)
        workstream = dao.workstreams.create(run_id=run, name="imports").id
        task = dao.tasks.create(run_id=run, workstream_id=workstream, kind="implementation", tool_id="ruff-fix").id
        gap = dao.gaps.create(
            run_id=run, source="ruff", rule_id="F401", fingerprint="f" * 16, title="`os` \x1b[31m unused",
            file_paths=["a.py"], start_line=1,
        ).id  # fmt: skip
        dao.gaps.advance(gap, GapTrigger.FILTERED, deferred_reason="not asked for")
        patch = dao.patches.create(task_id=task, content=DIFF, files=["a.py"], lines_added=1, lines_removed=1).id
        entry = dao.ledger.create(patch_id=patch).id
        dao.ledger.advance(entry, PatchTrigger.VALIDATION_FAILED, quarantine_reason="it does not parse")
        dao.runs.advance(run, RunTrigger.SAFETY_VIOLATION, quarantine_reason="a safety rule was broken")
    store.close()
    return Stored(url, run, patch, entry, gap)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that nothing may change."""
    return make_repository(tmp_path_factory.mktemp("bad") / "shop")


@pytest.fixture
def shop(sample: Path, tmp_path: Path) -> Path:
    """A repository of this test alone."""
    return shutil.copytree(sample, tmp_path / "shop", symlinks=True)


@pytest.fixture
def no_deployments(prefect_server: None) -> Iterator[None]:  # noqa: ARG001 - a fixture is asked for by its name
    """Nothing of the catalog is deployed on the session's server, before and after."""
    from prefect_side import asked  # noqa: PLC0415 - Prefect takes a second, which most tests don't need

    names = {row.name for row in CATALOG}

    async def remove(client: PrefectClient) -> None:
        for deployment in await client.read_deployments():
            if deployment.name in names:
                await client.delete_deployment(deployment.id)

    asked(remove)
    yield
    asked(remove)
