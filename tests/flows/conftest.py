"""Repositories for the flows, and what a run must leave as it found it."""

from __future__ import annotations

from pathlib import Path

import pytest
from repositories import Committed, Ran, fingerprint_of, git

from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.dao.store import open_store
from prefect_acms.deployments.demo import make_repository
from prefect_acms.flows.pipeline import run_pipeline


@pytest.fixture(scope="session")
def demo_run(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Ran:  # noqa: ARG001 - a fixture is asked for by its name
    """The pipeline on the demo repository, in a repository with a stash, a hook and a file that is not tracked."""
    home = tmp_path_factory.mktemp("demo-home")
    patched = pytest.MonkeyPatch()
    patched.setenv("ACMS_HOME", str(home))
    repository = make_repository(home / "corner-shop")
    (repository / "README.md").write_text("changed\n")
    git(repository, "-c", "user.name=a", "-c", "user.email=a@b", "stash")
    hook = repository / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\necho fired >> {home}/fired\n")
    hook.chmod(0o755)
    (repository / ".git/hooks/reference-transaction").write_bytes(hook.read_bytes())
    (repository / ".git/hooks/reference-transaction").chmod(0o755)
    before = fingerprint_of(repository)
    store = open_store(f"sqlite:///{home}/canonical.db")
    config = PipelineConfig(repository=repository, database_url=store.url)
    outcome = run_pipeline(config)
    assert not (home / "fired").exists(), "a hook of the user's has fired"
    patched.undo()
    return Ran(repository, store, outcome, before)


@pytest.fixture
def committed(tmp_path: Path) -> Committed:
    """Makes a repository with these files in one commit."""

    def make(files: dict[str, str]) -> Path:
        folder = tmp_path / "repository"
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        git(folder, "init", "-q", "-b", "main")
        git(folder, "add", "-A")
        git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "first")
        return folder

    return make
