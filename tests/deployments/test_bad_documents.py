"""Broken reports, tool files and configurations: one clear sentence, exit 2, and nothing changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Acms
from refusals import refused

GAP = {"id": "1", "title": "odd", "file_paths": ["a.py"]}


def report(*entries: object, **facts: object) -> str:
    """The text of a gap report."""
    return json.dumps({"version": "1", "generated_at": "2026-01-01T00:00:00Z", "gaps": entries, **facts})


@pytest.mark.parametrize("option", ["--report", "--baseline"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "line 1 column 2: not JSON"),
        ("", "not JSON"),
        ("\xff", "not UTF-8"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "broken.json: document: "),
        ('{"version": "1"}', "generated_at"),
        (report(version="2"), "version: "),
        (report(generated_at="yesterday"), "generated_at: "),
        (report(generated_at="2026-01-01T00:00:00"), "generated_at: "),
        (report(GAP, "gap"), "gaps[1]: "),
        (report({**GAP, "title": 3}), "gaps[0] (1).title: "),
        (report({**GAP, "severity": "dire"}), "gaps[0] (1).severity: "),
        (report({**GAP, "start_line": "3"}), "gaps[0] (1).start_line: "),
        (report({**GAP, "file_paths": ["../a.py"]}), "gaps[0] (1).file_paths"),
        (report({**GAP, "colour": "red"}), "gaps[0] (1).colour: "),
        (report({"title": "odd"}), "gaps[0].id: "),
        (report(GAP, {**GAP, "title": "even"}), "gaps[1].id: '1' is taken already by gaps[0]"),
        (report({**GAP, "dependencies": ["9"]}), "'9'"),
        (report({**GAP, "dependencies": ["1"]}), "1"),
    ],
)
def test_a_broken_report(
    acms: Acms, sample: Path, *, tmp_path: Path, acms_home: Path, option: str, content: str, told: str
) -> None:
    """With the entry and the place that is wrong."""
    path = tmp_path / "broken.json"
    path.write_bytes(content.encode("latin-1"))
    sentence = refused(acms, sample, acms_home, "run", str(sample), option, str(path))
    assert sentence.startswith(f"acms: {path}: ")
    assert told in sentence


TOOL = '[tools.mine]\ncommand = ["mend", "{files}"]\ntask_kinds = ["implementation"]\n'


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[[tool]\n", "not TOML"),
        ("\xff", "not UTF-8"),
        ("tool = 1\n", "tool: unknown key"),
        ("tools = 1\n", "tools"),
        ("[tools.mine]\n", "tools.mine.command: Field required"),
        ("[tools.mine]\ncommand = 3\n", "tools.mine.command"),
        (TOOL.replace("{files}", "{filez}"), "tools.mine.command: argument 2: unknown placeholder"),
        (TOOL.replace("{files}", "{files"), "tools.mine.command"),
        (TOOL + "timeout_sec = -1\n", "tools.mine.timeout_sec"),
        (TOOL + "shell = true\n", "tools.mine.shell"),
        (TOOL.replace("tools.mine", "tools.ruff-fix"), "there is another 'ruff-fix' already"),
        (TOOL + '[[rules]]\nrule_id = "r"\nstrategy = "fixed"\ntools = ["none"]\n', "unknown tool 'none'"),
        ("[patterns.p]\n", "patterns.p"),
    ],
)
def test_a_broken_tool_file(
    acms: Acms, sample: Path, *, tmp_path: Path, acms_home: Path, content: str, told: str
) -> None:
    """With the place in it; a tool with an unknown placeholder would be run with a hole in its command."""
    path = tmp_path / "tools.toml"
    path.write_bytes(content.encode("latin-1"))
    sentence = refused(acms, sample, acms_home, "run", str(sample), "--tool-file", str(path))
    assert sentence.startswith(f"acms: {path}: ")
    assert told in sentence


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("mode = full\n", "TOML: "),
        ("\xff", "not UTF-8"),
        ('mode = "sideways"\n', "mode is 'sideways'"),
        ("colour = 1\n", "there is no setting colour"),
        ("[execution]\nspeed = 9\n", "there is no setting execution.speed"),
        ("execution = 3\n", "execution is 3"),
        ("discovery = 3\n", "discovery is 3"),
        ('[discovery]\nsources = "ruff"\n', "discovery.sources"),
    ],
)
def test_a_broken_configuration(
    acms: Acms, sample: Path, *, tmp_path: Path, acms_home: Path, content: str, told: str
) -> None:
    """With the file and the setting."""
    path = tmp_path / "acms.toml"
    path.write_bytes(content.encode("latin-1"))
    sentence = refused(acms, sample, acms_home, "run", str(sample), "--config", str(path))
    assert sentence.startswith(f"acms: {path}: ")
    assert told in sentence
