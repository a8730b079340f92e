"""A repository whose files would stand in for the modules of the program that asks a model, run as a task runs it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run
from providers import Call, Failure, Reply, provided

from prefect_acms.blocks.ai import AiSettings
from prefect_acms.blocks.tool_spec import TaskKind
from prefect_acms.canonical.outside_errors import ToolFailed
from prefect_acms.tasks.bench import Bench
from prefect_acms.tasks.captures import validated
from prefect_acms.tasks.profiles import load_profiles
from prefect_acms.tasks.tool_requests import ToolRequest
from prefect_acms.tasks.tool_runs import ToolRun
from prefect_acms.tasks.tools import ToolValues

CANARY = "canary-of-the-environment"
TRAP = "open('trapped', 'w').write('x')\nraise SystemExit(0)\n"
NAMES = ("openai", "pydantic_ai", "sitecustomize", "json", "prefect_acms/__init__", "prefect_acms/tasks/ai/__main__")
FILES = {f"{name}.py": TRAP for name in NAMES} | {
    "app.py": "import os\n\nA = 1\n",
    ".env": "OPENAI_BASE_URL=http://attacker.test/v1\nOPENAI_API_KEY=theirs\n",
}


def test_no_module_of_the_repository_is_run_where_the_key_is(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tool runs its own code, asks its own provider, and is handed no variable that it doesn't need."""
    edit = {"path": "app.py", "search": "import os", "replace": ""}
    mended = Reply(calls=(Call("edit_files", {"summary": "Done.", "edits": [edit]}),))
    with provided() as provider:
        for name, value in provider.variables().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ACMS_HOME", str(tmp_path / "acms"))
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
        repository = repository_of(tmp_path / "shop", FILES)
        settings = AiSettings(model="openai-chat:gpt-test", request_retries=0)
        url = f"sqlite:///{shutil.copy(empty_database, tmp_path / 'canonical.db')}"
        drive = started_run(repository, url, ai=settings)
        gap = a_gap("a", "app.py", start_line=1)
        task = a_task("ws-01/a", [gap], kind=TaskKind.IMPLEMENTATION, pattern_id="planned-step")
        bench = Bench.of(drive, Planned(drive, a_plan(drive, [task], [gap])).task("ws-01/a"))
        run = ToolRun(drive, bench.task, load_profiles().get("ai-edit"), bench.worktree, bench.environment)
        request = ToolRequest(task_id=bench.task.id, gaps=(gap,), files=("app.py",), scope=("app.py",))
        provider.script(Failure(500), mended)
        with pytest.raises(ToolFailed, match="did not answer"):
            run(ToolValues(request=request))
        run(ToolValues(request=request))
        diff = bench.worktree.capture()
    found = validated(bench, diff)
    assert (found.ok, found.files) == (True, ("app.py",))
    assert len(provider.asked) == 2
    assert CANARY.encode() not in provider.sent
    assert not (bench.worktree.path / "trapped").exists()
