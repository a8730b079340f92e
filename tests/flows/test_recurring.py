"""A run that comes again remembers: what is known is held back until that lapses, and fixes by others are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any

import pytest
from driven import started_run
from prefect.client.schemas.objects import State
from repositories import Committed, fingerprint_of, git

from prefect_acms.blocks.config import DiscoverySettings, EnvironmentSettings, Mode, PipelineConfig
from prefect_acms.canonical.errors import RepositoryBusy
from prefect_acms.dao.home import acms_home
from prefect_acms.dao.store import Store, open_store
from prefect_acms.flows.nightly import improve_repositories, nightly_config
from prefect_acms.flows.pipeline import acms_pipeline, run_pipeline
from prefect_acms.tasks.environment import environment_for
from prefect_acms.tasks.gap_rows import gap_of
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.known_gaps import known_gaps
from prefect_acms.tasks.locks import repository_lock
from prefect_acms.tasks.recurring import meanwhile_of
from prefect_acms.tasks.sources import Scan
from prefect_acms.tasks.sources.ruff import RuffSource

WHO = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
TOOL = """
[tools.further]
command = ["true"]
expected_exit_codes = [0]
task_kinds = ["implementation"]
domains = ["python"]
changes_files = true
deterministic = true
"""


def ended(flow: Awaitable[State[Any]]) -> State[Any]:
    """The state that a flow ends in."""

    async def wait() -> State[Any]:
        return await flow

    return asyncio.run(wait())


def commit_by_ada(repository: Path, name: str, text: str) -> str:
    """A person's commit that gives a file this text."""
    (repository / name).write_text(text)
    git(repository, *WHO, "commit", "-q", "-a", "-m", f"Mend {name}")
    return git(repository, "rev-parse", "HEAD").strip()


def known(repository: Path, store: Store, run_id: str, **settings: Any) -> dict[str, str]:
    """What a new run would hold back of the gaps of that one, by their file."""
    with store.begin(read_only=True) as dao:
        gaps = [gap_of(row) for row in dao.gaps.of_run(run_id)]
    return held_back(repository, store, gaps, **settings)


def held_back(repository: Path, store: Store, gaps: Sequence[Gap], **settings: Any) -> dict[str, str]:
    """What a new run would hold back of these gaps, by their file."""
    drive = started_run(repository, store.url, gates={"unit_enabled": False}, **settings)
    paths = {gap.fingerprint: gap.file_paths[0] for gap in gaps}
    return {paths[name]: reason for name, reason in known_gaps(drive, gaps).items()}


@pytest.mark.usefixtures("prefect_server")
def test_a_recurring_run_that_finds_nothing_new_says_so_and_changes_nothing(
    committed: Committed, canonical_url: str, tmp_path: Path
) -> None:
    """One gap is fixed on a branch, one can't be fixed, a person has fixed the third: nothing is left to do."""
    repository = committed(
        {"fixed.py": "import os\n\nA = 1\n", "unknown.py": "B = nothing\n", "mended.py": "C = nowhere\n"}
    )
    store = open_store(canonical_url)
    config = PipelineConfig(
        repository=repository,
        database_url=canonical_url,
        discovery={"sources": ["ruff"], "ruff_select": ["F401", "F821"], "remember": True},
        gates={"unit_enabled": False},
    )
    first = run_pipeline(config)
    assert (first.found, first.resolved, first.deferred) == (3, 1, 2)
    commit = commit_by_ada(repository, "mended.py", "C = 3\n")
    before, branches = fingerprint_of(repository), git(repository, "for-each-ref")

    state: State[Any] = ended(acms_pipeline(config, return_state=True))
    said = "nothing new: 2 gaps known from earlier runs; 1 gap fixed by others meanwhile"
    assert (state.is_completed(), state.message) == (True, said)
    assert (fingerprint_of(repository), git(repository, "for-each-ref")) == (before, branches)
    with store.begin(read_only=True) as dao:
        second = dao.runs.latest(1)[0]
        reasons = {gap.file_paths[0]: gap.deferred_reason for gap in dao.gaps.of_run(second.id)}
        assert dao.workstreams.of_run(second.id) == []
    assert reasons.keys() == {"fixed.py", "unknown.py"}
    assert f"on branch {first.branch}, which is not merged yet" in str(reasons["fixed.py"])
    assert str(reasons["unknown.py"]).startswith(f"known: run {first.run_id} could not fix it, and nothing has changed")
    report = (repository / ".acms_runs" / second.id / "summary.md").read_text()
    assert f"fixed by Ada in commit {commit[:10]}" in report

    # the third run knows what the first has found out, whatever the second has said of it
    assert known(repository, store, first.run_id).keys() == {"fixed.py", "unknown.py"}
    tools = tmp_path / "further.toml"
    tools.write_text(TOOL)
    assert known(repository, store, first.run_id, execution={"tool_files": [tools]}).keys() == {"fixed.py"}
    strict = {"limits": {"max_files": 1}}
    assert known(repository, store, first.run_id, guardrails=strict).keys() == {"fixed.py"}
    git(repository, "mv", "unknown.py", "named.py")
    git(repository, *WHO, "commit", "-q", "-m", "Find a name")
    environment = environment_for(repository, repository, EnvironmentSettings())
    now = Scan(repository, environment, DiscoverySettings(ruff_select=("F821",)), timeout_sec=60)
    (renamed,) = RuffSource().discover(now).gaps
    said = f"run {first.run_id} could not fix it, and nothing has changed"
    assert held_back(repository, store, [renamed])["named.py"].startswith(said)
    commit_by_ada(repository, "named.py", "B = nothing\nD = 4\n")
    assert held_back(repository, store, [renamed]) == {}
    assert known(repository, store, first.run_id).keys() == {"fixed.py"}
    git(repository, "branch", "-D", str(first.branch))
    assert known(repository, store, first.run_id).keys() == set()
    closed = {
        "forge": "gitea",
        "forge_url": "http://127.0.0.1",
        "repository": "a/b",
        "base": "main",
        "branch": "acms/1",
    }
    where = {**closed, "head": commit, "url": "http://127.0.0.1/a/b/pulls/1", "state": "closed"}
    with store.begin() as dao:
        dao.runs.change(first.run_id, metadata={"published": [where]})
    said = f"run {first.run_id} has fixed it, and its pull request http://127.0.0.1/a/b/pulls/1 is closed"
    assert known(repository, store, first.run_id) == {"fixed.py": said}


@pytest.mark.usefixtures("prefect_server")
def test_what_was_baselined_before_stays_so_until_there_is_another_baseline(
    committed: Committed, canonical_url: str
) -> None:
    """The report of the first run is the baseline of the second; the third has none, and still holds the gap back."""
    repository = committed({"a.py": "import os\n\nA = 1\n"})
    config = PipelineConfig(
        repository=repository,
        database_url=canonical_url,
        discovery={"sources": ["ruff"], "ruff_select": ["F401"]},
        gates={"unit_enabled": False},
    )
    found = run_pipeline(config.model_copy(update={"mode": Mode.ANALYZE_ONLY}))
    baseline = repository / ".acms_runs" / found.run_id / "gaps.json"
    with_baseline = config.discovery.model_copy(update={"baseline": baseline})
    second = run_pipeline(config.model_copy(update={"discovery": with_baseline}))
    assert (second.found, second.deferred) == (1, 1)
    store = open_store(canonical_url)
    said = {"a.py": f"the baseline of run {second.run_id} knows it"}
    assert known(repository, store, second.run_id) == said
    assert known(repository, store, second.run_id, discovery={"baseline": baseline}) == {}


@pytest.mark.usefixtures("prefect_server")
def test_a_run_that_meets_another_is_skipped_and_says_so(committed: Committed, canonical_url: str) -> None:
    """The Prefect state is Completed, by the name Skipped; by hand it is refused as ever, and nothing is stored."""
    repository = committed({"a.py": "A = 1\n"})
    config = PipelineConfig(repository=repository, database_url=canonical_url, skip_if_busy=True)
    with repository_lock(acms_home(), repository, "process 4711"):
        state: State[Any] = ended(acms_pipeline(config, return_state=True))
        with pytest.raises(RepositoryBusy):
            run_pipeline(config)
    assert (state.is_completed(), state.name) == (True, "Skipped")
    assert "is being worked on by another run (process 4711)" in str(state.message)
    with open_store(canonical_url).begin(read_only=True) as dao:
        assert dao.runs.latest(1) == []


@pytest.mark.usefixtures("prefect_server")
def test_a_bad_repository_stops_none_of_the_others(committed: Committed, canonical_url: str, tmp_path: Path) -> None:
    """One is no repository, one is busy, one is analysed; the night is Partial, and says which went wrong."""
    repository = committed({"a.py": "import os\n\nA = 1\n"})
    busy = tmp_path / "busy"
    git(tmp_path, "clone", "-q", str(repository), str(busy))
    settings = {"database_url": canonical_url, "mode": "analyze_only", "discovery": {"sources": ["ruff"]}}
    with repository_lock(acms_home(), busy, "process 4711"):
        state: State[Any] = ended(
            improve_repositories([tmp_path / "none", busy, repository], settings, return_state=True)
        )
    assert (state.is_completed(), state.name) == (True, "Partial")
    assert state.message == "3 repositories: 0 gaps fixed; 1 went wrong: none"
    visited = state.result()
    assert [one.state for one in visited] == ["Failed", "Skipped", "Completed"]
    assert "there is no such folder" in visited[0].said
    assert (visited[2].found, visited[2].branch) == (1, None)
    # what was only looked for is no reason to say that no gap is left
    assert visited[2].said == "succeeded"
    config = nightly_config(repository, settings)
    assert (config.discovery.remember, config.guardrails.review.wait, config.skip_if_busy) == (True, False, True)


@pytest.mark.usefixtures("prefect_server")
def test_a_run_on_another_branch_does_not_hide_the_one_before(committed: Committed, canonical_url: str) -> None:
    """What was fixed since the last run that this one builds on is told, whatever was looked at in between."""
    repository = committed({"a.py": "A = nowhere\n", "b.py": "B = 1\n"})
    sources = {"sources": ["ruff"], "ruff_select": ["F821"], "remember": True}
    config = PipelineConfig(repository=repository, database_url=canonical_url, mode="analyze_only", discovery=sources)
    assert run_pipeline(config).found == 1
    git(repository, "switch", "-q", "-c", "aside")
    commit_by_ada(repository, "b.py", "B = 2\n")
    assert run_pipeline(config).found == 1
    git(repository, "switch", "-q", "-")
    commit = commit_by_ada(repository, "a.py", "A = 1\n")
    last = run_pipeline(config)
    with open_store(canonical_url).begin(read_only=True) as dao:
        (fixed,) = meanwhile_of(dao.runs.get(last.run_id))
    assert (fixed.path, fixed.commit, fixed.author) == ("a.py", commit, "Ada")
