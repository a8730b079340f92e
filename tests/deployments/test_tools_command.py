"""`acms tools`: what is installed, in which version, and what it can do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import Acms, Called

KEY = "key-of-the-agent-that-nobody-knows"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Two agents and a broken one, which say who they are and which keys they see."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name, line in (
        ("claude", 'echo "2.1.197 (Claude Code) $ANTHROPIC_API_KEY"'),
        ("gemini", "echo 0.61.0"),
        ("codex", "echo broken; exit 3"),
    ):
        program = folder / name
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o755)
    return folder


def facts(called: Called) -> dict[str, dict[str, Any]]:
    return {one["tool_id"]: one for one in json.loads(called.stdout)}


def test_tools_are_listed_with_what_they_can_do(acms: Acms, programs: Path) -> None:
    """Whether a program is there, whether a model decides, how it tells what it has used; nothing is started."""
    found = facts(acms("tools", "list", "--json", PATH=f"{programs}:/usr/bin:/bin"))
    assert {name: found[name]["state"] for name in ("claude", "codex", "aider", "ruff-fix")} == {
        "claude": "good",
        "codex": "good",
        "aider": "bad",
        "ruff-fix": "good",
    }
    assert (found["claude"]["kind"], found["claude"]["usage"], found["claude"]["network"]) == ("model", "printed", True)
    assert (found["ruff-fix"]["kind"], found["ruff-fix"]["usage"], found["ruff-fix"]["network"]) == (
        "same",
        None,
        False,
    )
    assert all(one["version"] is None for one in found.values())
    assert "Lets Claude Code edit files" in acms("tools", "list").stdout


def test_a_check_asks_for_versions_and_hands_out_no_key(acms: Acms, programs: Path) -> None:
    """An agent without a key is a warning, one that is broken is bad; the program that was asked saw no key."""
    called = acms("tools", "check", "--json", PATH=f"{programs}:/usr/bin:/bin", ANTHROPIC_API_KEY=KEY)
    assert called.returncode == 0
    found = facts(called)
    assert KEY not in called.stdout
    assert (found["claude"]["state"], found["claude"]["version"]) == ("good", "2.1.197")
    assert found["claude"]["keys"] == ["ANTHROPIC_API_KEY"]
    assert (found["gemini"]["state"], found["gemini"]["version"]) == ("warning", "0.61.0")
    assert "no key is set: GEMINI_API_KEY" in found["gemini"]["found"]
    assert found["codex"]["state"] == "bad"
    assert "it ended with 3: broken" in found["codex"]["found"]
    assert found["ruff-fix"]["version"]
    assert found["ai-edit"]["found"].endswith(" of prefect-acms")


def test_a_tool_of_ours_is_there_with_the_program_that_it_starts(acms: Acms, programs: Path) -> None:
    """Its version is that program's; without it, the tool is told as missing, and is not started."""
    without = facts(acms("tools", "list", "--json", PATH=str(programs)))
    assert (without["rustfmt"]["state"], without["rustfmt"]["found"]) == ("bad", "no program rustfmt on PATH")
    (programs / "rustfmt").write_text("#!/bin/sh\necho rustfmt 1.9.0-stable\n")
    (programs / "rustfmt").chmod(0o755)
    found = facts(acms("tools", "check", "rustfmt", "--json", PATH=f"{programs}:/usr/bin:/bin"))["rustfmt"]
    assert (found["state"], found["version"]) == ("good", "1.9.0-stable")


def test_a_tool_that_is_needed_and_missing_is_a_failure(acms: Acms, tmp_path: Path) -> None:
    """Named on the command line, or by the configuration; an unknown name is a slip of the pen."""
    assert acms("tools", "check", "ruff-fix").returncode == 0
    assert acms("tools", "check", "aider", PATH="/usr/bin:/bin").returncode == 1
    config = tmp_path / "acms.toml"
    config.write_text('[ai]\ntools = ["aider"]\n')
    assert acms("tools", "check", "--config", str(config), PATH="/usr/bin:/bin").returncode == 1
    unknown = acms("tools", "check", "cloud")
    assert unknown.returncode == 2
    assert "unknown tool 'cloud'" in unknown.stderr
