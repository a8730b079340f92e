"""What a tool doesn't find in a worktree, and what it needs to be found itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from prefect_acms.blocks.tool_spec import ToolSpec
from prefect_acms.canonical.outside_errors import ToolUnavailable
from prefect_acms.dao.redaction import redact
from prefect_acms.tasks.environment import Environment
from prefect_acms.tasks.installations import installation_of
from prefect_acms.tasks.profiles import load_profiles, variables_of
from prefect_acms.tasks.tools import ToolValues, run_tool
from prefect_acms.tasks.withholding import withheld

WRITE = (
    "import os, pathlib; print(sorted(os.listdir()), os.environ['TOOL_QUIET']);"
    "pathlib.Path('.env').write_text('A=evil'); pathlib.Path('.tool').mkdir(); pathlib.Path('.tool/x').touch()"
)


def test_what_would_configure_a_tool_is_away_while_it_runs_and_back_afterwards(tmp_path: Path) -> None:
    """Files, folders and links; what the tool makes in their place doesn't stay for the next one."""
    (tmp_path / ".tool").mkdir()
    (tmp_path / ".tool/settings").write_text("hooks")
    (tmp_path / ".env").symlink_to("nowhere")
    (tmp_path / "a.py").write_text("x = 1\n")
    profile = ToolSpec(
        tool_id="x",
        command=("{python}", "-c", WRITE),
        withheld=(".env", ".tool", ".mcp.json"),
        settings={"TOOL_QUIET": "1"},
    )
    environment = Environment(Path(sys.executable), {"PATH": "/usr/bin:/bin"})
    result = run_tool(profile, worktree=tmp_path, environment=environment, values=ToolValues())
    assert result.stdout.strip() == "['a.py'] 1"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".env", ".tool", "a.py"]
    assert (tmp_path / ".env").readlink() == Path("nowhere")
    assert [path.name for path in (tmp_path / ".tool").iterdir()] == ["settings"]


def test_it_is_back_after_an_exception_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1")

    def fail() -> None:
        with withheld(tmp_path, (".env",)):
            assert not (tmp_path / ".env").exists()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (tmp_path / ".env").read_text() == "A=1"


def test_no_link_leads_what_is_withheld_out_of_the_worktree(tmp_path: Path) -> None:
    """Neither one of the repository nor one that the tool has put in the way: the link itself goes, and comes back."""
    top, beside = tmp_path / "worktree", tmp_path / "beside"
    for folder in (top / "private", beside / "hooks"):
        folder.mkdir(parents=True)
        (folder / "mine").write_text("mine")
    (top / ".github").symlink_to(beside)
    with withheld(top, (".github/hooks", "private/mine", "private")):
        assert [path.name for path in top.iterdir()] == []
        assert (beside / "hooks/mine").read_text() == "mine"
        (top / "private").symlink_to(beside / "hooks")
    assert (top / ".github").readlink() == beside
    assert (top / "private/mine").read_text() == (beside / "hooks/mine").read_text() == "mine"
    assert not (top / "private").is_symlink()


@pytest.mark.parametrize("made", ["file", "link", "nothing"])
def test_what_the_tool_made_of_a_folder_on_the_way_does_not_keep_a_file_away(tmp_path: Path, made: str) -> None:
    top, beside = tmp_path / "worktree", tmp_path / "beside"
    for folder in (top / "private", beside):
        folder.mkdir(parents=True)
    (top / "private/mine").write_text("mine")
    with withheld(top, ("private/mine",)):
        (top / "private").rmdir()
        if made == "file":
            (top / "private").touch()
        elif made == "link":
            (top / "private").symlink_to(beside)
    assert (top / "private/mine").read_text() == "mine"
    assert list(beside.iterdir()) == []


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", ".git/config", ""])
def test_only_what_is_in_the_worktree_can_be_withheld(path: str) -> None:
    """Nothing else is ever moved."""
    with pytest.raises(ValueError, match="expected a path inside the worktree"):
        ToolSpec(tool_id="x", command=("x",), withheld=(path,))


def test_a_tool_that_needs_isolation_is_not_started_without(tmp_path: Path) -> None:
    profile = ToolSpec(tool_id="x", command=("touch", "ran"), isolated=True)
    environment = Environment(Path(sys.executable), {"PATH": "/usr/bin:/bin"})
    with pytest.raises(ToolUnavailable, match="x is not available: it is run in isolation only"):
        run_tool(profile, worktree=tmp_path, environment=environment, values=ToolValues())
    assert list(tmp_path.iterdir()) == []


def test_every_agent_is_kept_from_what_would_configure_it() -> None:
    """Each knows files by which a repository could hand it hooks, servers or another address."""
    assert all(one.withheld for one in load_profiles() if one.ai and one.network and one.usage)


def test_an_address_and_a_choice_are_no_secrets_and_a_key_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a patch that names the provider's address would hold a secret, and a prompt the model's name."""
    monkeypatch.setenv("MODEL_URL", "https://api.provider.example/v1")
    monkeypatch.setenv("MODEL_PROXY", "https://user:hidden-password@proxy.example")
    monkeypatch.setenv("MODEL_KEY", "a-key-that-nobody-knows")
    monkeypatch.setenv("AGENT_MODEL", "a-model-of-the-provider")
    variables = ("MODEL_URL", "MODEL_PROXY", "MODEL_KEY", "AGENT_MODEL")
    variables_of(ToolSpec(tool_id="x", command=("x",), environment=variables))
    assert redact("by a-model-of-the-provider") == "by a-model-of-the-provider"
    assert redact("at https://api.provider.example/v1 with") == "at https://api.provider.example/v1 with"
    assert "hidden-password" not in redact("at https://user:hidden-password@proxy.example")
    assert redact("a-key-that-nobody-knows") == "[redacted]"


def test_a_program_of_npm_is_found_with_its_packages(tmp_path: Path) -> None:
    """The link on PATH leads into node_modules: that folder has to be seen, and no more."""
    script = tmp_path / "lib/node_modules/@x/agent/cli.js"
    script.parent.mkdir(parents=True)
    script.write_text("#!/usr/bin/env node\n")
    script.chmod(0o755)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "agent").symlink_to(script)
    variables = {"PATH": str(programs)}
    assert installation_of("agent", variables) == (tmp_path / "lib/node_modules",)
    assert installation_of("nobody", variables) == ()
