"""Options and arguments that can't work: one clear sentence, exit 2, and nothing changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Acms
from refusals import refused


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--mode", "sideways"], "'sideways' is not one of"),
        (["--by", "colour"], "'colour' is not one of"),
        (["--such"], "No such option"),
        (["--max-gaps", "many"], "'many' is not a valid integer"),
        (["--max-gaps", "0"], "discovery.max_gaps is 0"),
        (["--concurrency", "65"], "execution.concurrency is 65: expected less than or equal to 64"),
        (["--lint", "ruff 'check"], "can't be split into words"),
        (["--source", "oracle"], "unknown gap source 'oracle'"),
        (["--source", "report"], "discovery.reports"),
        (["--no-lint", "--no-unit"], "at least one gate"),
        (["--python", "/no/such/python"], "/no/such/python"),
        (["--tool-file", "no-such.toml"], "no-such.toml"),
        (["--report", "no-such.json"], "no-such.json"),
        (["--report", "/"], "/: file: "),
        (["--baseline", "no-such.json"], "no-such.json"),
        (["--config", "no-such.toml"], "no-such.toml"),
        (["--config", "/"], "/: the file: "),
        (["--mode", "execute_only"], "acms execute"),
        (["more"], "unexpected extra argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_option_that_can_not_work(
    acms: Acms, sample: Path, acms_home: Path, arguments: list[str], told: str
) -> None:
    """The sentence names the option, the field or the file."""
    assert told in refused(acms, sample, acms_home, "run", str(sample), *arguments)


def test_a_command_that_there_is_not(acms: Acms, acms_home: Path, tmp_path: Path) -> None:
    """With a hint where to read on."""
    assert "No such command 'rnu'" in refused(acms, tmp_path, acms_home, "rnu")


@pytest.mark.parametrize(
    "arguments",
    [
        ["machines", "nobody"],
        ["machines", "--format", "poem"],
        ["runs", "--limit", "0"],
        ["runs", "--repository", "."],
        ["db", "upgrade", "999"],
        ["db", "downgrade", "999"],
        ["audit", "export", "--output", "none/x"],
        ["execute"],
        ["diff"],
    ],
    ids=" ".join,
)
def test_an_argument_that_reading_commands_can_not_use(
    acms: Acms, tmp_path: Path, acms_home: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """Looking never makes a store."""
    monkeypatch.chdir(tmp_path)
    refused(acms, tmp_path, acms_home, *arguments)


@pytest.mark.parametrize("into", [".", "mine.txt", "mine.txt/shop"])
def test_the_demonstration_does_not_mix_with_files(
    acms: Acms, tmp_path: Path, acms_home: Path, monkeypatch: pytest.MonkeyPatch, into: str
) -> None:
    """`--into` a folder that holds something, or that is none, is refused."""
    (tmp_path / "mine.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert "--into" in refused(acms, tmp_path, acms_home, "demo", "--into", into)


def test_the_demonstration_needs_git(acms: Acms, tmp_path: Path, acms_home: Path) -> None:
    """Nothing is made without it."""
    sentence = refused(acms, tmp_path, acms_home, "demo", "--into", str(tmp_path / "shop"), PATH=str(tmp_path))
    assert "found none" in sentence
