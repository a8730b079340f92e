"""What is wrong with a model's edits goes back to the model: within its request, and from the gates of the run."""

from __future__ import annotations

from pathlib import Path

from looping import Looped, Robots
from provider_answers import Scripted, structured
from providers import Provider

from prefect_acms.blocks.ai import AiSettings
from prefect_acms.blocks.config import ExecutionSettings

PATTERN = """
[patterns.robots]
title = "Let a model try"
sources = ["elsewhere"]
kinds = ["implementation"]
allowed_tools = ["ai-edit"]
"""


def edits(search: str, replace: str) -> Scripted:
    """The answer that proposes this edit of a.py."""
    changes = [{"path": "a.py", "search": search, "replace": replace}]
    return structured({"summary": "done", "edits": changes}, tool="edit_files")


def test_edits_that_do_not_apply_and_edits_that_gates_refuse_go_back(
    provider: Provider, tmp_path: Path, canonical_url: str
) -> None:
    """The same attempt goes on with the error of the edits, the next one with the gate's; the third answer goes in."""
    patterns = tmp_path / "ai.toml"
    patterns.write_text(PATTERN)
    provider.script(edits("nowhere", "A = 2"), edits("A = 1", "A = 2  # BAD"), edits("A = 2  # BAD", "A = 2"))
    shop = Looped(
        tmp_path,
        canonical_url,
        Robots(tmp_path),
        ai=AiSettings(model="openai-chat:gpt-test", patience_sec=0, request_retries=0),
        execution=ExecutionSettings(tool_files=(patterns,)),
    )
    task = shop.done()
    assert (task.state, task.last_error, task.tool_id) == ("completed", None, "ai-edit")
    first, second, third = (one.prompt for one in provider.asked)
    assert "`search` is not in the file" not in first
    assert "edit 1 (a.py): `search` is not in the file" in second
    assert "a.py:1:A = 2  # BAD" in third
    assert [len(shop.loop.attempts), [entry.state for entry in shop.entries]] == [2, ["dropped", "verified"]]
    assert shop.drive.repository.content(shop.drive.workstream_ref("ws-01"), "a.py") == b"A = 2\n"
