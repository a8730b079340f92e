"""Real repositories, worktrees and stores for the tests of tasks/."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from breakers import SETTINGS, SetClock, let_fail, state_of
from worktrees import FILES

from prefect_acms.blocks.config import DiscoverySettings, EnvironmentSettings
from prefect_acms.dao.store import Store, open_store
from prefect_acms.tasks.breakers import ToolBreakers
from prefect_acms.tasks.environment import environment_for
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.sources import Scan
from prefect_acms.tasks.worktrees import Worktree, open_worktree

MakeRepository = Callable[..., Path]


def git(top: Path, *arguments: str, data: bytes | None = None) -> str:
    """Run git as a user with no configuration of their own; its output without the end of line."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    variables |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    for role in ("AUTHOR", "COMMITTER"):
        variables |= {f"GIT_{role}_NAME": "User", f"GIT_{role}_EMAIL": "u@x", f"GIT_{role}_DATE": "@1700000000 +0000"}
    done = subprocess.run(["git", *arguments], cwd=top, env=variables, input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return os.fsdecode(done.stdout).rstrip("\n")


def write_files(top: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files, with their folders."""
    for name, content in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def new_repository(top: Path, files: Mapping[str, str | bytes], *init: str) -> Path:
    """A repository at a new path, with one commit of the given files on branch `main`."""
    top.mkdir()
    git(top, "init", "--quiet", "--initial-branch=main", *init)
    write_files(top, files)
    git(top, "add", "--all", "--force")
    git(top, "commit", "--quiet", "--allow-empty", "--message=first")
    return top


@pytest.fixture(scope="session")
def repository_at() -> MakeRepository:
    """Makes a repository at a path."""
    return new_repository


@pytest.fixture
def make_repository(tmp_path: Path) -> MakeRepository:
    """Makes a repository of the given files in the test's own folder."""

    def make(files: Mapping[str, str | bytes], name: str = "repository", *init: str) -> Path:
        return new_repository(tmp_path / name, files, *init)

    return make


@pytest.fixture(scope="session")
def run_in() -> Callable[..., str]:
    """Runs git in a repository, as its user would."""
    return git


@pytest.fixture(scope="session")
def write() -> Callable[[Path, Mapping[str, str | bytes]], None]:
    """Writes files below a folder."""
    return write_files


@pytest.fixture(scope="session")
def make_gap() -> Callable[..., Gap]:
    """Makes a gap of that name in those files; everything else has a default."""

    def make(name: str = "gap", *files: str, **facts: object) -> Gap:
        defaults = {"source": "ruff", "rule_id": "F401", "title": f"gap {name}", "category": "style"}
        return Gap.model_validate({**defaults, "fingerprint": name, "file_paths": files, **facts})

    return make


@pytest.fixture
def scan_of() -> Callable[..., Scan]:
    """Asks about a repository's working tree with our own Python; keywords are discovery settings."""

    def scan(root: Path, files: tuple[str, ...] | None = None, **settings: object) -> Scan:
        environment = environment_for(root, root, EnvironmentSettings())
        return Scan(root, environment, DiscoverySettings.model_validate(settings), timeout_sec=60, files=files)

    return scan


@pytest.fixture
def top(make_repository: MakeRepository) -> Path:
    """A repository of many kinds of files."""
    return make_repository(FILES)


@pytest.fixture
def worktree(top: Path, tmp_path: Path) -> Worktree:
    """A worktree of its commit."""
    repository = Repository.open(top)
    return open_worktree(repository, tmp_path / "home" / "worktrees" / "run_1" / "ws-01", repository.head())


@pytest.fixture
def clock() -> SetClock:
    """The store's clock."""
    return SetClock()


@pytest.fixture
def store(canonical_url: str, clock: SetClock) -> Iterator[Store]:
    """An open store."""
    opened = open_store(canonical_url, clock=clock, synchronous="NORMAL")
    yield opened
    opened.close()


@pytest.fixture
def opened(store: Store) -> ToolBreakers:
    """Breakers of which that of `tool` is open."""
    breakers = ToolBreakers(store, SETTINGS)
    let_fail(breakers, 3)
    assert state_of(store) == "OPEN"
    return breakers
