"""Repositories with nasty names, contents and settings: a run works in them, and runs nothing of theirs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from driven import repository_of
from surroundings import Surroundings

from prefect_acms.blocks.guardrails import GuardrailSettings
from prefect_acms.canonical import errors, outside_errors
from prefect_acms.tasks.integrity import integrity_findings
from prefect_acms.tasks.patches import validate_patch
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.worktrees import open_worktree

PATH = Path(__file__).with_name("repositories.toml")
CASES: dict[str, dict[str, Any]] = tomllib.loads(PATH.read_text(encoding="utf-8"))
FILES = {"app.py": "def value():\n    return 1\n", "pkg/mod.py": "A = 1\n"}
WHEN = datetime(2026, 1, 2, tzinfo=UTC)


class User:
    """The user of a repository, who prepares it."""

    def __init__(self, top: Path, beside: Path) -> None:
        self.top, self.trace = top, beside.parent / "ran"
        self._trap = beside.parent / "trap"
        self._trap.write_text(f'#!/bin/sh\necho "$0 $*" >> {self.trace}\nexit 0\n')
        self._trap.chmod(0o755)
        self.names = {"write": self.write, "git": self.git, "trap": self.trap, "os": os, "shutil": shutil}
        self.names["beside"] = str(beside)

    def trap(self) -> str:
        """A program that leaves a trace when it runs."""
        return str(self._trap)

    def git(self, *arguments: str, cwd: str = ".", data: str = "") -> str:
        """What git says to the user, who runs nothing by accident."""
        quiet = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "commit.gpgSign=false")
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        command = ["git", *(quiet if arguments[0] != "-c" else ()), *who, *arguments]
        done = subprocess.run(command, cwd=self.top / cwd, input=data, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout.strip()

    def write(self, name: str | bytes, text: str) -> None:
        """A file, with its folders."""
        path = Path(os.fsdecode(os.path.join(os.fsencode(self.top), os.fsencode(name))))  # noqa: PTH118  # bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def user(tmp_path: Path) -> User:
    """The user of a plain repository."""
    return User(repository_of(tmp_path / "shop", FILES), tmp_path / "beside")


def _prepare(user: User, case: dict[str, Any]) -> None:
    for name, text in case.get("files", {}).items():
        user.write(name, text)
    before = (user.top / ".git" / "config").read_bytes()
    exec(case.get("script", ""), dict(user.names))  # noqa: S102  # the script of the case
    if not case.get("untracked"):
        # the user committed before the settings were there
        after = (user.top / ".git" / "config").read_bytes()
        (user.top / ".git" / "config").write_bytes(before)
        attributes = user.top / ".git" / "info" / "attributes"
        held = attributes.read_bytes() if attributes.exists() else None
        attributes.unlink(missing_ok=True)
        user.git("add", "-A", "--force")
        user.git("commit", "-q", "--allow-empty", "-m", "prepared")
        (user.top / ".git" / "config").write_bytes(after)
        if held is not None:
            attributes.write_bytes(held)
    user.trace.unlink(missing_ok=True)


def _work(top: Path, worktrees: Path) -> str | None:
    """All that a run does with git; the first rule that a patch of app.py breaks, if it breaks one."""
    repository = Repository.open(top)
    repository.require_fit(allow_dirty=True)
    base = repository.head()
    worktree = open_worktree(repository, worktrees / "ws-01", base)
    assert worktree.capture() == b"", "nothing was done, and something is captured"
    app = worktree.path / "app.py"
    is_link = app.is_symlink()
    app.write_bytes(app.read_bytes().replace(b"return 1", b"return 2") + (b"x" if is_link else b""))
    if is_link:
        app.unlink()
        app.symlink_to("/etc/passwd")
    diff = worktree.capture()
    rails = GuardrailSettings()
    validation = validate_patch(
        diff,
        limits=rails.limits,
        protected=rails.protected_paths,
        scope=("app.py",),
        repository=repository,
        base=base,
    )
    if not validation.ok:
        worktree.remove()
        return str(validation.violations[0].rule)
    assert validation.files == ("app.py",)
    tree = worktree.apply(diff)
    assert b"return 2" in app.read_bytes()
    assert repository.changed_files(base, tree) == ("app.py",)
    assert integrity_findings(repository, base, tree, validation.files) == ()
    commit = repository.commit_tree(tree, [base], "fix", WHEN)
    repository.move_ref("refs/heads/acms/run/ws-01", commit, None)
    other = repository.commit_tree(repository.tree_of(base), [base], "other", WHEN)
    assert repository.merge_tree(commit, other) == tree
    assert repository.message(commit) == "fix"
    assert repository.log(base, commit) == (commit,)
    worktree.reset(base)
    assert worktree.changed_files() == ()
    worktree.remove()
    return None


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_repository_is_harmless(
    name: str, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run does its work there, or refuses to; nothing that the repository names is run, and it stays as it was."""
    case = CASES[name]
    around = Surroundings(tmp_path, user.top)
    with monkeypatch.context() as patch:
        patch.chdir(user.top)
        _prepare(user, case)
    before = around.hashed()
    monkeypatch.setenv("HOME", str(around.home))
    for variable, value in case.get("variables", {}).items():
        monkeypatch.setenv(variable, value.replace("TRAP", user.trap()))
    work: Callable[[], str | None] = lambda: _work(user.top, tmp_path / "worktrees")  # noqa: E731  # one of two ways
    if "refused" in case:
        with pytest.raises((vars(errors) | vars(outside_errors))[case["refused"]]):
            work()
    else:
        assert work() == (case["rule"] if case.get("stopped") else None)
    assert not user.trace.exists(), user.trace.read_text()
    for variable in case.get("variables", {}):
        monkeypatch.delenv(variable)
    assert around.hashed() == before
