"""Tools and gates see the right Python, the worktree's code, and no secret."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from prefect_acms.blocks.config import EnvironmentSettings
from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.canonical.outside_errors import ToolFailed
from prefect_acms.tasks.environment import environment_for, run_setup
from prefect_acms.tasks.processes import run_process

Write = Callable[..., None]

PLAIN = EnvironmentSettings()


def fake_python(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return path


def test_the_repositorys_own_python_comes_first_then_the_configured_one_then_ours(tmp_path: Path) -> None:
    """In this order; a virtual environment that is broken does not count, and its links are not followed."""
    repository, worktree = tmp_path / "repository", tmp_path / "w"
    named = fake_python(tmp_path / "named" / "python")
    chosen = EnvironmentSettings(interpreter=named)
    assert environment_for(worktree, repository, PLAIN).interpreter == Path(sys.executable)
    assert environment_for(worktree, repository, chosen).interpreter == named
    (repository / "venv" / "bin").mkdir(parents=True)
    (repository / "venv" / "bin" / "python").symlink_to(tmp_path / "gone")
    assert environment_for(worktree, repository, chosen).interpreter == named
    own = repository / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.symlink_to(named)
    (repository / ".venv" / "pyvenv.cfg").write_text("")
    environment = environment_for(worktree, repository, chosen)
    assert environment.interpreter == own
    assert environment.python("-m", "x") == (str(own), "-m", "x")
    assert environment.variables["VIRTUAL_ENV"] == str(repository / ".venv")
    assert environment.variables["PATH"].startswith(f"{own.parent}:")


def test_a_configured_python_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    """The field and the value are named."""
    with pytest.raises(InvalidValue, match=r"environment\.interpreter is .*/gone"):
        environment_for(tmp_path, tmp_path, EnvironmentSettings(interpreter=tmp_path / "gone"))


def test_no_variable_is_passed_on_that_is_not_on_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credential, no Python setting of ours, no git redirection."""
    for name in ("AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "PYTHONSTARTUP", "GIT_DIR", "PREFECT_API_KEY"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("LC_TIME", "C")
    variables = environment_for(tmp_path, tmp_path, PLAIN).variables
    assert "secret" not in variables.values()
    assert variables["LC_TIME"] == "C"
    assert list(variables) == sorted(variables)


def test_the_worktrees_code_is_imported_before_an_installed_one(tmp_path: Path, write: Write) -> None:
    """From `src` or from the top; nothing of Python's own is hidden by a `src` that is a package."""
    write(tmp_path, {"src/click.py": "here = 'src'\n", "rich.py": "here = 'top'\n"})
    environment = environment_for(tmp_path, tmp_path, PLAIN)
    code = "import click, rich; print(click.here, rich.here)"
    done = run_process(environment.python("-c", code), cwd=Path("/"), env=environment.variables, timeout_sec=30)
    assert done.stdout == "src top\n"
    write(tmp_path, {"src/__init__.py": "", "src/types.py": "raise SystemExit(9)\n"})
    environment = environment_for(tmp_path, tmp_path, PLAIN)
    done = run_process(environment.python("-c", ""), cwd=Path("/"), env=environment.variables, timeout_sec=30)
    assert done.exit_code == 0


def test_what_lies_in_the_worktree_is_not_installed(tmp_path: Path, write: Write) -> None:
    """Whether pytest can be used is a question about the interpreter."""
    write(tmp_path, {"no_such_tool.py": "", "src/other_tool.py": ""})
    environment = environment_for(tmp_path, tmp_path, PLAIN)
    assert environment.imports("pytest", tmp_path)
    assert not environment.imports("no_such_tool", tmp_path)
    assert not environment.imports("other_tool", tmp_path)


def test_setup_commands_run_in_order_in_the_worktree(tmp_path: Path) -> None:
    """The first that fails, or takes too long, ends it with its command and what it said."""
    environment = environment_for(tmp_path, tmp_path, PLAIN)
    touch = ("python", "-c", "open('made', 'a').write('x')")
    run_setup(tmp_path, environment, EnvironmentSettings(setup=(touch, touch)))
    assert (tmp_path / "made").read_text() == "xx"
    wrong = ("python", "-c", "import sys; sys.exit('no network')")
    with pytest.raises(ToolFailed, match="setup ended with 1: no network"):
        run_setup(tmp_path, environment, EnvironmentSettings(setup=(wrong, touch)))
    assert (tmp_path / "made").read_text() == "xx"
    slow = ("python", "-c", "import time; time.sleep(60)")
    with pytest.raises(ToolFailed, match=r"more than 0\.3 s"):
        run_setup(tmp_path, environment, EnvironmentSettings(setup=(slow,), setup_timeout_sec=0.3))
