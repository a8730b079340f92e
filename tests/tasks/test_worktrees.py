"""A worktree gives exactly the files of a commit, and goes without a trace of its own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from worktrees import WHEN

from prefect_acms.canonical.outside_errors import GitFailed
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.worktrees import Worktree, adopt_worktree, open_worktree

Make = Callable[..., Path]
Git = Callable[..., str]
Write = Callable[..., None]


def user_state(top: Path) -> dict[str, str]:
    """Everything of a user's repository but the object store: files, index, config, hooks, refs, reflogs."""
    return {
        str(path.relative_to(top)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(top.rglob("*"))
        if path.is_file() and "/objects/" not in str(path)
    }


def test_a_worktree_comes_and_goes_without_a_trace(top: Path, tmp_path: Path, write: Write) -> None:
    """Files, index, branch, configuration and hooks of the user's repository are byte for byte as before."""
    hook = f"#!/bin/sh\ntouch {tmp_path}/fired\n"
    write(top, {".git/hooks/post-checkout": hook, "a.py": "dirty\n", "untracked": "mine"})
    (top / ".git/hooks/post-checkout").chmod(0o755)
    before = user_state(top)
    repository = Repository.open(top)
    worktree = open_worktree(repository, tmp_path / "home" / "run_1" / "ws", repository.head())
    assert (worktree.path / "a.py").read_text() == "one\ntwo\nthree\n"
    write(worktree.path, {"a.py": "tool\n", "new.py": "tool\n"})
    assert worktree.capture()
    worktree.remove()
    assert user_state(top) == before
    assert not (tmp_path / "fired").exists()
    assert not (tmp_path / "home" / "run_1").exists()
    assert not (top / ".git" / "worktrees").exists()


def test_removing_ours_prunes_nobody_elses(top: Path, run_in: Git, worktree: Worktree, tmp_path: Path) -> None:
    """A worktree of the user's whose disk is away for the moment keeps its entry; a lost one of ours does not."""
    run_in(top, "worktree", "add", "-q", "--detach", str(tmp_path / "theirs"))
    (tmp_path / "theirs").rename(tmp_path / "away")
    lost = open_worktree(worktree.repository, tmp_path / "lost", worktree.commit)
    lost.path.rename(tmp_path / "moved")
    worktree.repository.prune(lambda link: link.is_relative_to(worktree.path.parent))
    assert (top / ".git/worktrees/ws-01").exists()
    worktree.remove()
    assert [entry.name for entry in (top / ".git/worktrees").iterdir()] == ["theirs"]


def test_a_worktree_whose_folder_vanished_is_removed_all_the_same(top: Path, worktree: Worktree) -> None:
    """Removing is safe to do twice, and on ruins."""
    worktree.path.rename(worktree.path.parent / "elsewhere")
    worktree.remove()
    worktree.remove()
    assert not (top / ".git" / "worktrees").exists()


def test_an_existing_path_is_refused_and_left_alone(worktree: Worktree) -> None:
    """A new worktree is never made over something."""
    (worktree.path / "mine").write_text("x")
    with pytest.raises(GitFailed, match="exists already"):
        open_worktree(worktree.repository, worktree.path, worktree.commit)
    assert (worktree.path / "mine").exists()


def test_a_worktree_of_a_killed_run_can_be_taken_over(worktree: Worktree, top: Path) -> None:
    """What a run left behind is found again, with its commit; a place that is no worktree of ours is refused."""
    (worktree.path / "a.py").write_text("half done\n")
    again = adopt_worktree(worktree.repository, worktree.path)
    assert again.commit == worktree.commit
    assert again.changed_files() == ("a.py",)
    with pytest.raises(GitFailed, match="no linked worktree"):
        adopt_worktree(worktree.repository, top)


def test_a_sparse_checkout_of_the_users_does_not_count(top: Path, run_in: Git, tmp_path: Path) -> None:
    """Tools and gates see the whole commit; the user goes on seeing the part they chose."""
    run_in(top, "sparse-checkout", "set", "--cone", "elsewhere")
    before = user_state(top)
    repository = Repository.open(top)
    worktree = open_worktree(repository, tmp_path / "w", repository.head())
    assert (worktree.path / "pkg" / "b.py").exists()
    (worktree.path / "pkg" / "b.py").write_text("tool\n")
    assert worktree.changed_files() == ("pkg/b.py",)
    assert b"+tool" in worktree.capture()
    worktree.remove()
    assert user_state(top) == before


def test_submodules_and_lfs_files_are_left_alone(make_repository: Make, run_in: Git, tmp_path: Path) -> None:
    """An unpopulated submodule and a pointer file are neither fetched nor changed, with or without git-lfs."""
    library = make_repository({"lib.py": "x\n"}, "library")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    top = make_repository({"data.dat": pointer, ".gitattributes": "*.dat filter=lfs diff=lfs -text\n"}, "main")
    run_in(top, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib")
    run_in(top, "commit", "-qm", "submodule")
    run_in(top, "config", "filter.lfs.smudge", "no-such-program")
    run_in(top, "config", "filter.lfs.required", "true")
    repository = Repository.open(top)
    worktree = open_worktree(repository, tmp_path / "w", repository.head())
    assert (worktree.path / "data.dat").read_text() == pointer
    assert list((worktree.path / "lib").iterdir()) == []
    (worktree.path / "new.py").write_text("x\n")
    assert worktree.capture().count(b"diff --git") == 1
    assert (worktree.path / "lib").is_dir()


def test_a_linked_worktree_and_a_submodule_are_repositories_like_any_other(
    make_repository: Make, run_in: Git, tmp_path: Path
) -> None:
    """Wherever the user's `.git` really is, ours is beside it, and theirs stays as it was."""
    library = make_repository({"lib.py": "x\n"}, "library")
    top = make_repository({"a.py": "a\n"}, "main")
    run_in(top, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib")
    run_in(top, "commit", "-qm", "submodule")
    run_in(top, "worktree", "add", "-q", "-b", "linked", str(tmp_path / "linked"))
    for place, name in ((tmp_path / "linked", "a.py"), (top / "lib", "lib.py")):
        before = user_state(top)
        repository = Repository.open(place)
        worktree = open_worktree(repository, tmp_path / "w" / name, repository.head())
        (worktree.path / name).write_text("tool\n")
        tree = worktree.apply(worktree.capture())
        assert repository.changed_files("HEAD", tree) == (name,)
        assert repository.merge_tree("HEAD", "HEAD") == repository.tree_of("HEAD")
        worktree.remove()
        assert user_state(top) == before
        assert (place / name).read_text() != "tool\n"


def test_a_repository_that_the_user_trusts_is_worked_on_though_another_user_owns_it(
    top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container: git's question is answered by the user's configuration, once."""
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    for path in (top, top / ".git"):
        os.chown(path, 12345, 12345)
    (tmp_path / ".gitconfig").write_text(f"[safe]\n\tdirectory = {top}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    repository = Repository.open(top)
    worktree = open_worktree(repository, tmp_path / "w", repository.head())
    (worktree.path / "a.py").write_text("tool\n")
    assert worktree.apply(worktree.capture())
    worktree.remove()


def test_unsaved_work_is_kept_under_a_ref(worktree: Worktree, top: Path, run_in: Git) -> None:
    """Before a worktree goes, what is in no patch is saved, also by a tool's own commit; nothing unsaved, no ref."""
    ref = "refs/acms/kept/run_1/ws-01"
    assert worktree.keep_unsaved(ref, WHEN) is None
    (worktree.path / "a.py").write_text("unsaved\n")
    (worktree.path / "new.py").write_text("unsaved\n")
    first = worktree.keep_unsaved(ref, WHEN)
    assert first == worktree.repository.ref(ref)
    assert run_in(top, "show", f"{ref}:new.py") == "unsaved"
    worktree.reset()
    (worktree.path / "a.py").write_text("again\n")
    second = worktree.keep_unsaved(ref, WHEN)
    assert second == worktree.repository.ref(ref)
    assert run_in(top, "show", f"{ref}:a.py") == "again"
    assert worktree.repository.is_ancestor(str(first), str(second))
    worktree.remove()
    assert worktree.repository.ref(ref) == second
