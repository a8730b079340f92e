"""What the program that asks a model is handed: its session and its key, and nothing of it is kept anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run
from provider_answers import Failure, structured
from providers import KEY, provided

from prefect_acms.blocks.ai import AiSettings
from prefect_acms.blocks.config import EnvironmentSettings, IsolationMode, ResilienceSettings
from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.canonical.outside_errors import BreakerOpen, ToolFailed, ToolUnavailable
from prefect_acms.dao.redaction import KNOWN, redact
from prefect_acms.tasks.ai.handover import provider_variables, session_variables, variables_for
from prefect_acms.tasks.ai.session import SESSION, Session
from prefect_acms.tasks.preparation import prepared_worktree
from prefect_acms.tasks.profiles import load_profiles
from prefect_acms.tasks.tool_requests import ToolRequest
from prefect_acms.tasks.tool_runs import ToolRun
from prefect_acms.tasks.tools import ToolValues


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("openai-responses:gpt-5", "OPENAI_API_KEY"),
        ("anthropic:claude-haiku-4-5", "ANTHROPIC_API_KEY"),
        ("google-cloud:gemini", "GEMINI_API_KEY"),
        ("gateway/openai:gpt-5", "PYDANTIC_AI_GATEWAY_API_KEY"),
        ("mistral:large", "MISTRAL_API_KEY"),
    ],
)
def test_each_provider_has_its_own_variables(model: str, names: str) -> None:
    """Whatever protocol of it is spoken, and whichever gateway is in between."""
    assert names in provider_variables(model)


def test_only_the_keys_of_the_provider_are_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And they are known to the redactor from then on; nothing but a session with that model is in the rest."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GITHUB_TOKEN"):
        monkeypatch.setenv(name, f"value-of-{name}")
    settings = AiSettings(model="anthropic:claude-haiku-4-5", context_tokens=5_000)
    handed = session_variables(settings, repository_of(tmp_path, {"a.py": "1\n"}))
    assert handed.pop("ANTHROPIC_API_KEY") == "value-of-ANTHROPIC_API_KEY"
    session = Session.given({SESSION: handed.pop(SESSION)})
    assert (session.model, session.context_tokens, session.strong) == ("anthropic:claude-haiku-4-5", 5_000, False)
    assert {name for name in handed if not name.lower().endswith("_proxy")} == set()
    assert redact("value-of-ANTHROPIC_API_KEY") == "[redacted]"


def test_files_with_what_only_we_know_to_be_secret_are_withheld(tmp_path: Path) -> None:
    """The program that reads them can't know the values, and is not told them either."""
    KNOWN.learn("our-database-password", "postgres")
    files = {"a.py": "url = 'our-database-password'\n", "b.py": "import postgres\n", "c.py": "1\n"}
    handed = session_variables(AiSettings(model="openai:gpt-5"), repository_of(tmp_path, files))
    assert Session.given(handed).withheld == ("a.py",)
    assert "our-database-password" not in json.dumps(handed)


def test_only_our_own_program_is_handed_a_session(tmp_path: Path) -> None:
    """A profile that names it; the stronger model only where the profile asks for it, and only if there is one."""
    tools = load_profiles()
    top = repository_of(tmp_path, {"a.py": "1\n"})
    both = AiSettings(model="openai:small", strong_model="openai:large")
    assert variables_for(tools.get("ruff-fix"), both, top) == {}
    names = [Session.given(variables_for(tools.get(name), both, top)).model for name in ("ai-edit", "ai-edit-strong")]
    assert names == ["openai:small", "openai:large"]
    with pytest.raises(ToolUnavailable, match=r"ai\.strong_model"):
        variables_for(tools.get("ai-edit-strong"), AiSettings(model="openai:small"), top)


def test_a_program_that_was_handed_nothing_says_so() -> None:
    """It is started by acms, not by hand."""
    with pytest.raises(InvalidValue, match="ACMS_AI"):
        Session.given({})


def test_the_tool_mends_in_the_worktree_and_its_key_stands_nowhere(
    tmp_path: Path, canonical_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Isolated like any tool; neither the database nor the files of the run nor the transcript have the key in it."""
    fix = {"summary": "mended", "edits": [{"path": "a.py", "search": "retrun 1", "replace": "return 1"}]}
    with provided() as provider:
        for name, value in provider.variables().items():
            monkeypatch.setenv(name, value)
        provider.script(structured(fix, tool="edit_files"))
        top = repository_of(tmp_path / "repository", {"a.py": "def f():\n    retrun 1\n"})
        drive = started_run(top, canonical_url, ai={"model": "openai-chat:gpt-test"})
        gap = a_gap("g", "a.py", title="no Python", start_line=2)
        planned = Planned(drive, a_plan(drive, [a_task("ws-01/one", [gap])], [gap]))
        task = planned.running("ws-01/one")
        worktree, environment = prepared_worktree(drive, "ws-01", drive.base_commit)
        request = ToolRequest(task_id=task.id, title="Mend it", gaps=(gap,), files=("a.py",), scope=("a.py",))
        run = ToolRun(drive, task, drive.toolbox.get("ai-edit"), worktree, environment)
        result = run(ToolValues(task=task.id, request=request))
    assert result.stdout.strip() == "edited a.py: mended"
    assert b"+    return 1" in worktree.capture()
    assert provider.asked[0].key == KEY
    written = [path for folder in (tmp_path, drive.folder) for path in folder.rglob("*") if path.is_file()]
    assert [path for path in written if KEY.encode() in path.read_bytes()] == []


def test_a_provider_that_is_not_to_be_had_opens_the_breaker(
    tmp_path: Path, canonical_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next task is not even begun: each one would wait for the same provider, as often as it repeats a request."""
    with provided() as provider:
        for name, value in provider.variables().items():
            monkeypatch.setenv(name, value)
        provider.script(Failure(401))
        drive = started_run(
            repository_of(tmp_path / "repository", {"a.py": "x = 1\n"}),
            canonical_url,
            ai={"model": "openai-chat:gpt-test"},
            resilience=ResilienceSettings(failure_threshold=1),
            environment=EnvironmentSettings(isolation=IsolationMode.OFF),
        )
        gap = a_gap("g", "a.py")
        task = Planned(drive, a_plan(drive, [a_task("ws-01/one", [gap])], [gap])).running("ws-01/one")
        worktree, environment = prepared_worktree(drive, "ws-01", drive.base_commit)
        run = ToolRun(drive, task, drive.toolbox.get("ai-edit"), worktree, environment)
        values = ToolValues(task=task.id, request=ToolRequest(task_id=task.id, gaps=(gap,), files=("a.py",)))
        with pytest.raises(ToolFailed, match="turned the request away"):
            run(values)
        with pytest.raises(BreakerOpen):
            run(values)
    assert len(provider.asked) == 1
