"""Repositories, and machines, on which no run can begin: one clear sentence, exit 2, and nothing changed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Acms
from refusals import COMMANDS, number_of_runs, refused
from repositories import git

from prefect_acms.deployments.demo import make_repository
from prefect_acms.tasks.locks import repository_lock


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_is_no_repository(acms: Acms, tmp_path: Path, acms_home: Path, command: str) -> None:
    """Whatever the command."""
    (tmp_path / "folder").mkdir()
    assert "is not a git repository" in refused(acms, tmp_path, acms_home, command, str(tmp_path / "folder"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_does_not_exist(acms: Acms, tmp_path: Path, acms_home: Path, command: str) -> None:
    """It is not made either."""
    assert "is not a git repository" in refused(acms, tmp_path, acms_home, command, str(tmp_path / "none"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_instead_of_a_folder(acms: Acms, sample: Path, acms_home: Path, command: str) -> None:
    """Even one that lies in a repository."""
    assert "there is no such folder" in refused(acms, sample, acms_home, command, str(sample / "README.md"))


def _bare(folder: Path) -> Path:
    git(folder, "init", "-q", "--bare", "bare.git")
    return folder / "bare.git"


def _without_a_commit(folder: Path) -> Path:
    git(folder, "init", "-q", "empty")
    return folder / "empty"


def _inside_of_git(folder: Path) -> Path:
    return make_repository(folder / "other") / ".git"


def _detached(folder: Path) -> Path:
    other = make_repository(folder / "other")
    git(other, "checkout", "-q", "--detach")
    return other


def _with_a_branch_in_our_way(folder: Path) -> Path:
    other = make_repository(folder / "other")
    git(other, "branch", "acms")
    return other


def _changed(folder: Path) -> Path:
    other = make_repository(folder / "other")
    (other / "README.md").write_text("changed")
    return other


def _staged(folder: Path) -> Path:
    other = make_repository(folder / "other")
    (other / "new.py").write_text("")
    git(other, "add", "new.py")
    return other


def _deleted(folder: Path) -> Path:
    other = make_repository(folder / "other")
    (other / "README.md").unlink()
    return other


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("make", "told"),
    [
        (_bare, "it is a bare repository"),
        (_without_a_commit, "it has no commit yet"),
        (_inside_of_git, "it is the inside of a .git folder"),
        (_detached, "HEAD is detached"),
        (_with_a_branch_in_our_way, "a branch named acms"),
        (_changed, "1 uncommitted change(s), first 'README.md'"),
        (_staged, "1 uncommitted change(s), first 'new.py'"),
        (_deleted, "1 uncommitted change(s), first 'README.md'"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_a_repository_that_can_not_be_worked_on(
    acms: Acms, tmp_path: Path, *, acms_home: Path, command: str, make: Callable[[Path], Path], told: str
) -> None:
    """The sentence says what is in the way, and for changed files how many and the first."""
    assert told in refused(acms, tmp_path, acms_home, command, str(make(tmp_path)))


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_folder_of_runs_that_is_none(acms: Acms, shop: Path, acms_home: Path, kind: str) -> None:
    """Where .acms_runs is a file or leads elsewhere, no run begins."""
    if kind == "file":
        (shop / ".acms_runs").write_text("mine")
    else:
        (shop / ".acms_runs").symlink_to(shop.parent)
    with (shop / ".git/info/exclude").open("a") as excluded:
        excluded.write(".acms_runs\n")
    assert ".acms_runs is not a folder" in refused(acms, shop, acms_home, "run", str(shop))


def test_where_we_stand_is_the_default(
    acms: Acms, tmp_path: Path, acms_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without PATH the current folder is meant."""
    monkeypatch.chdir(tmp_path)
    assert "is not a git repository" in refused(acms, tmp_path, acms_home, "run")


@pytest.mark.usefixtures("prefect_server")
def test_a_repository_that_another_run_holds(acms: Acms, shop: Path, acms_home: Path, canonical_url: str) -> None:
    """Two runs at once would move the same refs; the sentence says who holds it."""
    with repository_lock(acms_home, shop, "process 1"):
        sentence = refused(acms, shop, None, "run", str(shop), "--database-url", canonical_url)
    assert "another run (process 1)" in sentence
    assert number_of_runs(canonical_url) == 0


# git


@pytest.mark.parametrize("command", COMMANDS)
def test_a_machine_without_git(acms: Acms, sample: Path, acms_home: Path, tmp_path: Path, command: str) -> None:
    """It is said that git is missing, not that the folder is no repository."""
    sentence = refused(acms, sample, acms_home, command, str(sample), PATH=str(tmp_path))
    assert re.search(r"git 2\.\d+ or newer is needed on PATH, found none", sentence)


@pytest.mark.parametrize("says", ["git version 2.17.1", "no version at all", ""])
def test_a_git_that_is_too_old(acms: Acms, sample: Path, acms_home: Path, tmp_path: Path, says: str) -> None:
    """Or that is no git; what it answered is told."""
    program = tmp_path / "git"
    program.write_text(f"#!/bin/sh\necho {says}\n")
    program.chmod(0o755)
    sentence = refused(acms, sample, acms_home, "run", str(sample), PATH=str(tmp_path))
    assert f"or newer is needed on PATH, found {says or 'no answer'}" in sentence
