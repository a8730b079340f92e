"""The command line: quick to help, one sentence for what is wrong, an exit code for what came of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from prefect_acms.deployments.cli import COMMANDS, cli, exit_code

HEAVY = ("prefect", "sqlalchemy", "alembic", "pydantic", "rich", "jinja2", "pygments")
PROGRAM = "from prefect_acms.deployments.cli import main; main()"


def acms(*arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, as a user does."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def every_command() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands, those of groups included."""
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        yield (name,), command
        if isinstance(command, click.Group):
            yield from (((name, inner), command.commands[inner]) for inner in command.commands)


def assert_one_sentence(done: subprocess.CompletedProcess[str]) -> None:
    """Bad input: exit 2, nothing on stdout, one line on stderr."""
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert re.fullmatch(r"acms: .+\n", done.stderr), done.stderr


@pytest.mark.parametrize("arguments", [[], *([*name] for name, _ in every_command())], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    """`--help` of every command answers without Prefect, SQLAlchemy, pydantic or rich."""
    program = f"""
import sys
from prefect_acms.deployments.cli import cli
try:
    cli.main({[*arguments, "--help"]!r}, prog_name="acms")
finally:
    print("HEAVY", [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "Usage: acms" in done.stdout
    assert done.stdout.endswith("HEAVY []\n")


def test_help_answers_within_half_a_second() -> None:
    """The best of three, since the machine may be busy."""
    times = []
    for _ in range(3):
        begin = time.monotonic()
        assert acms("--help").returncode == 0
        times.append(time.monotonic() - begin)
    assert min(times) < 0.5


@pytest.mark.parametrize(("name", "command"), list(every_command()), ids=str)
def test_every_help_is_made_of_sentences(name: tuple[str, ...], command: click.Command) -> None:
    """Commands and options are told in whole sentences, and the list says what the command says."""
    assert command.help is not None
    first = command.help.splitlines()[0]
    assert first[0].isupper()
    assert first.endswith((".", ";"))
    if len(name) == 1:
        assert COMMANDS[name[0]].line == first
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name
            assert option.help[0].isupper()
            assert option.help.endswith(".")


def test_the_bare_command_is_its_help() -> None:
    """Who types only `acms` is told what there is."""
    assert acms().stdout == acms("--help").stdout
    assert acms("db").stdout == acms("db", "--help").stdout


def test_the_version_is_told() -> None:
    """`--version` answers at once."""
    assert acms("--version").stdout.startswith("acms ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["rnu"],
        ["run", "--no-such-option"],
        ["run", "--mode", "sideways"],
        ["run", "--by", "colour"],
        ["run", "--max-gaps", "many"],
        ["run", "--lint", "ruff 'check"],
        ["run", "--unit", ""],
        ["run", "--concurrency", "0"],
        ["run", "--max-gaps", "-1"],
        ["execute"],
        ["machines", "nobody"],
        ["machines", "--format", "poem"],
        ["runs", "--limit", "0"],
        ["run", "--config", "no-such.toml"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_one_sentence_and_exit_2(arguments: list[str], tmp_path: Path) -> None:
    """No traceback, no usage text to scroll through, nothing done."""
    assert_one_sentence(acms(*arguments, cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe_ends_quietly() -> None:
    """`acms machines | head -1` prints one line and no traceback."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "machines", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read().decode()
        assert process.wait(timeout=60) == 141
    assert said == ""


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An interrupted command says so in a line and exits as shells expect it."""

    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.get_command(click.Context(cli), "machines"), "callback", interrupted)
    assert exit_code(["machines"]) == 130
    assert capsys.readouterr().err == "acms: cancelled\n"


def test_prefect_is_told_to_be_quiet_before_it_is_imported() -> None:
    """What the caller left open is set; what the caller set stays."""
    program = """
import os, sys
os.environ["PREFECT_LOGGING_LEVEL"] = "DEBUG"
os.environ.pop("DO_NOT_TRACK", None)
from prefect_acms.deployments.surroundings import prepare_surroundings
prepare_surroundings()
print(os.environ["PREFECT_LOGGING_LEVEL"], os.environ["DO_NOT_TRACK"], "prefect" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["DEBUG", "1", "False"]
