"""The capture of a worktree gives back exactly what a tool did."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from worktrees import on_disk

from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.worktrees import Worktree, open_worktree

Make = Callable[..., Path]
Git = Callable[..., str]
Write = Callable[..., None]


def test_nothing_done_is_an_empty_diff(worktree: Worktree) -> None:
    """No change, touched files and tools' leavings are no patch."""
    os.utime(worktree.path / "a.py", (1, 1))
    cache = worktree.path / "pkg" / "__pycache__"
    cache.mkdir()
    (cache / "b.cpython-311.pyc").write_bytes(b"\0")
    (worktree.path / "debug.log").write_text("ignored")
    assert worktree.changed_files() == ()
    assert worktree.capture() == b""


def test_a_patch_carries_everything_and_gives_the_same_tree(worktree: Worktree, write: Write) -> None:
    """Edits, new, deleted, binary, empty and odd names, modes, links, CRLF: captured, put back, applied, the same."""
    before = on_disk(worktree)
    write(
        worktree.path,
        {
            "a.py": "one\n2\nthree",
            "crlf.txt": b"x\r\nz\r\n",
            "pkg/ü ö.txt": "changed\n",
            'new folder/q"uote\ttab\\.py': "new\n",
            "empty": "",
            "blob.bin": bytes(reversed(range(256))),
        },
    )
    (worktree.path / "run.sh").chmod(0o755)
    (worktree.path / "pkg/b.py").unlink()
    (worktree.path / "link").symlink_to("a.py")
    after = on_disk(worktree)
    diff = worktree.capture()
    assert on_disk(worktree) == before
    assert not (worktree.path / "link").is_symlink()
    tree = worktree.apply(diff)
    assert on_disk(worktree) == after
    assert worktree.repository.diff(worktree.commit, tree) == diff
    assert len(worktree.repository.changed_files(worktree.commit, tree)) == 9


def test_what_a_tool_does_with_git_inside_changes_nothing(worktree: Worktree, run_in: Git) -> None:
    """A tool that stages, unstages, commits or rewrites the `.git` file is captured all the same, and undone."""
    path, head = worktree.path, worktree.commit
    (path / "a.py").write_text("committed\n")
    run_in(path, "commit", "-qam", "by the tool")
    run_in(path, "rm", "-q", "--cached", "pkg/b.py", "kept.log")
    (path / "new.py").write_text("new\n")
    run_in(path, "add", "new.py")
    (path / ".git").write_text("gitdir: /nowhere\n")
    diff = worktree.capture()
    assert diff.count(b"diff --git") == 2
    assert b"+committed" in diff
    assert run_in(path, "rev-parse", "HEAD") == head
    assert run_in(path, "status", "--porcelain") == ""


def test_users_excludes_do_not_hide_changes(top: Path, worktree: Worktree, run_in: Git, tmp_path: Path) -> None:
    """What a patch holds does not depend on whose machine it is."""
    (tmp_path / "global").write_text("*.py\n")
    run_in(top, "config", "core.excludesFile", str(tmp_path / "global"))
    (worktree.path / "new.py").write_text("x\n")
    assert worktree.changed_files() == ("new.py",)
    assert b"new.py" in worktree.capture()


def test_line_endings_are_those_of_the_commit(make_repository: Make, run_in: Git, tmp_path: Path) -> None:
    """Files that .gitattributes would normalise are no change until a tool makes one; autocrlf is not obeyed."""
    top = make_repository({"w.txt": b"a\r\nb\r\n", "l.txt": "a\n"})
    (top / ".gitattributes").write_text("w.txt text\n")
    run_in(top, "add", ".gitattributes")
    run_in(top, "commit", "-qm", "attributes")
    run_in(top, "config", "core.autocrlf", "true")
    repository = Repository.open(top)
    worktree = open_worktree(repository, tmp_path / "w", repository.head())
    assert (worktree.path / "w.txt").read_bytes() == b"a\r\nb\r\n"
    assert (worktree.path / "l.txt").read_bytes() == b"a\n"
    os.utime(worktree.path / "w.txt", (1, 1))
    assert worktree.capture() == b""
    (worktree.path / "l.txt").write_bytes(b"a\nb\n")
    assert worktree.capture().count(b"diff --git") == 1


def test_what_the_setup_made_is_no_part_of_a_change(worktree: Worktree, write: Write) -> None:
    """Ignored by the repository or not; what a tool makes beside it is."""
    write(worktree.path, {"generated/a.txt": "made by the setup\n", "stamp": "made\n"})
    worktree.keep_leavings()
    write(worktree.path, {"generated/b.txt": "changed later\n", "stamp": "changed\n", "new.py": "NEW = 1\n"})
    diff = worktree.capture()
    assert b"+++ b/new.py" in diff
    assert b"generated" not in diff
    assert b"stamp" not in diff
    assert (worktree.path / "generated" / "a.txt").exists()
