"""A whole run in which all tools but one are hostile: only what is honest goes in, and all else is told."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from driven import repository_of
from repositories import git
from surroundings import Surroundings

from prefect_acms.blocks.config import (
    DiscoverySettings,
    EnvironmentSettings,
    ExecutionSettings,
    IsolationMode,
    PipelineConfig,
    ResilienceSettings,
)
from prefect_acms.blocks.guardrails import GuardrailSettings, Integrity
from prefect_acms.dao.audit import verify
from prefect_acms.dao.store import open_store
from prefect_acms.flows.pipeline import run_pipeline
from prefect_acms.tasks.isolation import isolation_problem

pytestmark = pytest.mark.usefixtures("prefect_server")

TOOLS = {
    "liar": "print('fixed everything')",
    "crasher": "import os; open(sys.argv[1], 'a').write('A = 2\\n'); os.abort()",
    "silencer": "open(sys.argv[1], 'a').write('import os  # noqa: F401\\n')",
    "planter": "open(sys.argv[1], 'a').write('A = 2\\n'); open('conftest.py', 'w').write('collect_ignore = []\\n')",
    "outsider": "import pathlib; [pathlib.Path(p).write_text('owned') for p in PLACES]",
}
"""Each works on a file of its own name, in the way of its name."""

WANTED = {
    "liar": "ended well and changed nothing",
    "crasher": "SIGABRT",
    "silencer": "SUPPRESSION",
    "planter": "OUT_OF_SCOPE",
    "outsider": "No such file or directory",
}
"""What is told of each."""


def _profiles(places: list[str]) -> str:
    parts = []
    for name, body in TOOLS.items():
        script = f"import sys; PLACES = {places!r}; {body}".replace("{", "{{").replace("}", "}}")
        command = json.dumps([sys.executable, "-c", script, "{files}"])
        parts.append(f'[tools.{name}]\ncommand = {command}\ntask_kinds = ["implementation"]\ndeterministic = true\n')
        parts.append(
            f'[patterns.{name}]\ntitle = "{name}"\ncategories = ["{name}"]\nkinds = ["implementation"]\n'
            f'allowed_tools = ["{name}"]\n'
        )
    return "\n".join(parts)


@pytest.mark.skipif(isolation_problem() is not None, reason=str(isolation_problem()))
def test_only_what_is_honest_goes_in(tmp_path: Path, canonical_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends, degraded; the branch holds what passed, the chain verifies, the surroundings are as they were."""
    files = {f"{name}.py": "A = 1\n" for name in TOOLS}
    repository = repository_of(tmp_path / "shop", {**files, "honest.py": "import os\n", ".gitignore": ".acms_runs/\n"})
    around = Surroundings(tmp_path, repository)
    monkeypatch.setenv("HOME", str(around.home))
    gaps = [
        {"id": name, "title": name, "source": name, "category": name, "file_paths": [f"{name}.py"]} for name in TOOLS
    ]
    (tmp_path / "gaps.json").write_text(
        json.dumps({"version": "1", "generated_at": "2026-01-01T00:00:00Z", "gaps": gaps})
    )
    places = [around.home / ".bashrc", around.beside / "notes.txt", repository / "honest.py"]
    (tmp_path / "tools.toml").write_text(_profiles(list(map(str, places))))
    before = around.hashed()
    outcome = run_pipeline(
        PipelineConfig(
            repository=repository,
            database_url=canonical_url,
            discovery=DiscoverySettings(sources=("ruff", "report"), reports=(tmp_path / "gaps.json",)),
            execution=ExecutionSettings(tool_files=(tmp_path / "tools.toml",)),
            environment=EnvironmentSettings(isolation=IsolationMode.REQUIRED),
            guardrails=GuardrailSettings(integrity=Integrity.REFUSE),
            resilience=ResilienceSettings(max_retries=0),
        )
    )
    assert (outcome.state, outcome.degraded, outcome.resolved) == ("succeeded", True, 1)
    assert git(repository, "diff", "--name-only", "main", str(outcome.branch)).split() == ["honest.py", "planter.py"]
    assert git(repository, "show", f"{outcome.branch}:planter.py") == "A = 1\nA = 2\n"  # its part that is in scope
    after = {name: what for name, what in around.hashed().items() if not name.startswith("shop/.acms_runs")}
    assert after == before
    store = open_store(canonical_url)
    with store.begin(read_only=True) as dao:
        tasks = dao.tasks.of_run(outcome.run_id)
    told = {str(task.tool_id): f"{task.last_error} {task.info.get('rejected')}" for task in tasks}
    assert verify(store).ok
    assert {name: told[name] for name, words in WANTED.items() if words not in told[name]} == {}
