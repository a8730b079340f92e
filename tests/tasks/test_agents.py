"""Agents as they are installed, in a worktree, against a provider on this machine.

They come from npm and PyPI and are found on PATH; which one is missing is not tried.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pytest
from agents import AGENTS, MODELS, need, profile_of, reaching
from driven import repository_of
from providers import KEY, Asked, Call, Failure, Provider, Reply, Scripted, Silence, provided
from repositories import git

from prefect_acms.blocks.config import EnvironmentSettings, IsolationMode
from prefect_acms.tasks.environment import environment_for
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.isolation import isolation_problem
from prefect_acms.tasks.preparation import isolated
from prefect_acms.tasks.processes import ProcessResult
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.tool_requests import ToolRequest
from prefect_acms.tasks.tools import ToolValues, run_tool
from prefect_acms.tasks.usage import Usage, usage_of
from prefect_acms.tasks.worktrees import Worktree, open_worktree

SOURCE = "import os\nx = 1\n"
GAP = Gap(source="ruff", rule_id="F401", fingerprint="f1", title="`os` imported but unused", file_paths=("a.py",))
WHOLE = "a.py\n```\nx = 1\n```\n"
COMMANDS = "sed -i 1d a.py; git commit -qam mine; git branch mine; git stash; touch ../outside; echo key=$CODEX_API_KEY"


@dataclass
class Site:
    """Where an agent works, and whom it asks."""

    provider: Provider
    worktree: Worktree
    told: Path
    shown: Path

    def run(self, name: str, *, isolation: IsolationMode = IsolationMode.OFF, timeout_sec: float = 60) -> ProcessResult:
        """Let an agent work on the gap."""
        top = self.worktree.repository.top
        settings = EnvironmentSettings(isolation=isolation, readable=(self.shown,))
        environment = isolated(environment_for(self.worktree.path, top, settings), self.worktree, settings)
        request = ToolRequest(task_id="t", title="Remove it", gaps=(GAP,), files=("a.py",), model=MODELS[name])
        return run_tool(
            profile_of(name, self.provider).model_copy(update={"isolated": False}),
            worktree=self.worktree.path,
            environment=environment,
            values=ToolValues(files=("a.py",), request=request),
            usage_file=self.told / "usage.json",
            timeout_sec=timeout_sec,
        )

    def usage(self, name: str, result: ProcessResult) -> Usage | None:
        """What it says that it has used."""
        return usage_of(profile_of(name, self.provider), result, self.told / "usage.json")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    files = {"a.py": SOURCE, "CLAUDE.md": "Say that you are told.\n"}
    repository = Repository.open(repository_of(tmp_path / "repository", files))
    worktree = open_worktree(repository, tmp_path / "worktree", git(repository.top, "rev-parse", "HEAD").strip())
    told = tmp_path / "told"
    told.mkdir()
    with provided() as provider, reaching(provider, monkeypatch) as shown:
        yield Site(provider, worktree, told, shown)


def editing(name: str, worktree: Path) -> list[Scripted]:
    """What a model says to an agent so that it removes the first line, each in the agent's own tools."""
    path = str(worktree / "a.py")
    gone = {"old_string": "import os\n", "new_string": ""}
    said = partial(Reply, input_tokens=500, cached_tokens=100, output_tokens=20)
    calls = {
        "claude": [Call("Read", {"file_path": path}), Call("Edit", {"file_path": path, **gone})],
        "codex": [Call("exec_command", {"cmd": COMMANDS})],
        "copilot": [
            Call("view", {"path": path}),
            Call("edit", {"path": path, "old_str": "import os\n", "new_str": ""}),
        ],
        "gemini": [Call("replace", {"file_path": path, "instruction": "remove", **gone})],
    }
    if name == "aider":
        return [said(WHOLE)]
    return [*(said(calls=(call,)) for call in calls[name]), said("done")]


@pytest.mark.parametrize("isolation", [IsolationMode.OFF, IsolationMode.REQUIRED])
@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_edits_files_and_says_what_it_used(site: Site, name: str, isolation: IsolationMode) -> None:
    """Its edit is the diff, its figures are the provider's, and neither a commit nor a file of its own is left."""
    need(name)
    if isolation is IsolationMode.REQUIRED and (problem := isolation_problem()):
        pytest.skip(problem)
    if isolation is IsolationMode.REQUIRED and name == "codex":
        pytest.skip("its own sandbox can't be started within ours, and without it, it would edit nothing")
    repository = site.worktree.repository
    before = git(repository.top, "for-each-ref")
    answers = editing(name, site.worktree.path)
    site.provider.script(*answers)
    result = site.run(name, isolation=isolation)
    assert result.exit_code == 0, (result.stdout, result.stderr)
    diff = site.worktree.capture().decode()
    assert [line for line in diff.splitlines() if line.startswith(("+++", "---"))] == ["--- a/a.py", "+++ b/a.py"]
    assert "\n-import os\n" in diff
    assert git(repository.top, "for-each-ref") == before
    assert "`os` imported but unused" in site.provider.asked[0].prompt
    assert "key=" + KEY not in "".join(asked.prompt for asked in site.provider.asked)
    usage = site.usage(name, result)
    assert usage is not None
    assert (usage.model, usage.input_tokens, usage.output_tokens) == (
        MODELS[name].rpartition("/")[2],
        500 * len(answers),
        20 * len(answers),
    )
    assert usage.cached_tokens == (0 if name == "aider" else 100 * len(answers))
    assert not (site.worktree.path.parent / "outside").exists()


@pytest.mark.parametrize("name", AGENTS)
def test_a_stopped_agent_leaves_no_process(site: Site, name: str) -> None:
    """The provider keeps silent; after the timeout nobody works in the worktree, and nothing was changed."""
    need(name)
    site.provider.otherwise = Silence(60)
    seen: set[int] = set()
    watching = threading.Event()

    def watch() -> None:
        while not watching.wait(0.2):
            seen.update(working_in(site.worktree.path))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = site.run(name, timeout_sec=25)  # until it has asked, on a busy machine
    finally:
        watching.set()
        watcher.join()
    assert result.timed_out
    assert site.provider.asked
    assert seen
    time.sleep(0.2)
    assert working_in(site.worktree.path) == set()
    assert site.worktree.capture() == b""


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_whose_provider_refuses_the_key_fails_or_changes_nothing(site: Site, name: str) -> None:
    """Nothing is edited; what ends with 0 all the same is found out by the empty diff."""
    need(name)
    site.provider.otherwise = Failure(401, "Incorrect API key provided")
    result = site.run(name, timeout_sec=30)
    assert (result.exit_code != 0) is (name != "aider")
    assert site.worktree.capture() == b""
    used = site.usage(name, result)
    assert used is None or used.output_tokens == 0


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("claude", Call("Bash", {"command": "touch ran; curl {url}/v1/models"})),
        ("claude", Call("WebFetch", {"url": "{url}/v1/models", "prompt": "x"})),
        ("copilot", Call("bash", {"command": "touch ran; curl {url}/v1/models", "description": "x"})),
        ("copilot", Call("web_fetch", {"url": "{url}/v1/models"})),
        ("gemini", Call("run_shell_command", {"command": "touch ran; curl {url}/v1/models"})),
        ("gemini", Call("web_fetch", {"prompt": "read {url}/v1/models"})),
        ("codex", Call("exec_command", {"cmd": "curl -sS -m 3 {url}/v1/models"})),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_an_agent_that_is_talked_into_it_reaches_nothing(site: Site, name: str, call: Call) -> None:
    """What a model that believed the repository calls for, the agent has not, or may not: no shell, no address."""
    need(name)
    url = site.provider.url
    asked_before: list[Asked] = []
    arguments = {key: str(value).replace("{url}", url) for key, value in dict(call.arguments).items()}  # type: ignore[arg-type]

    def tempted(_asked: Asked) -> Reply:
        asked_before.extend(site.provider.others)
        return Reply(calls=(Call(call.name, arguments),))

    site.provider.script(tempted)
    site.provider.otherwise = Reply("done")
    site.run(name)
    assert len(site.provider.asked) >= 2
    fetched = [one for one in site.provider.others[len(asked_before) :] if one.path.endswith("/models")]
    assert fetched == []
    assert site.worktree.capture() == b""


def working_in(folder: Path) -> set[int]:
    """The processes whose working directory is this folder."""
    found: set[int] = set()
    for process in psutil.process_iter():
        try:
            inside = process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == folder
        except (psutil.Error, OSError):
            continue  # gone, or not ours
        if inside:
            found.add(process.pid)
    return found
