"""A reset of a worktree gives the exact tree of a commit or a patch, and leaves what the setup made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from worktrees import GOOD, WHEN, on_disk

from prefect_acms.tasks.worktrees import Worktree, adopt_worktree

Write = Callable[..., None]


def test_a_reset_gives_the_exact_tree_whatever_happened(worktree: Worktree, tmp_path: Path, write: Write) -> None:
    """Edits, leavings, folders in the place of files, links in the place of folders: gone, and nothing outside."""
    tree = worktree.apply(GOOD)
    expected = on_disk(worktree)
    outside = tmp_path / "outside"
    write(outside, {"b.py": "outside\n", "keep": "outside\n"})
    (worktree.path / "a.py").unlink()
    write(worktree.path, {"a.py/inner": "x", "build/out.o": "x", "x.log": "x", "nested/.git/HEAD": "x"})
    for path in (worktree.path / "pkg").iterdir():
        path.unlink()
    (worktree.path / "pkg").rmdir()
    (worktree.path / "pkg").symlink_to(outside)
    (worktree.path / "empty folder").mkdir()
    worktree.reset(tree)
    assert on_disk(worktree) == expected
    assert sorted(path.name for path in worktree.path.iterdir()) == sorted(
        [".git", "pkg", *expected.keys() - {"pkg/b.py", "pkg/ü ö.txt"}]
    )
    assert (outside / "b.py").read_text() == "outside\n"
    assert worktree.tree() == tree


def test_what_the_setup_made_is_known_to_who_takes_over(worktree: Worktree, write: Write) -> None:
    """It is written down beside the worktree's index, where no tool cleans up."""
    write(worktree.path, {".venv/bin/python": "x"})
    worktree.keep_leavings()
    again = adopt_worktree(worktree.repository, worktree.path)
    again.reset()
    assert (worktree.path / ".venv/bin/python").exists()


def test_files_of_another_commit_are_shown_until_the_reset(worktree: Worktree, write: Write) -> None:
    """Changed ones as they were, deleted ones back, new ones gone; index and tree stay those of the patch."""
    base = worktree.commit
    write(worktree.path, {"a.py": "patched\n", "new dir/new.py": "new\n", "pkg/ü ö.txt": "patched\n"})
    (worktree.path / "pkg/b.py").unlink()
    tree = worktree.apply(worktree.capture())
    patched = on_disk(worktree)
    worktree.show(["a.py", "pkg/b.py", "new dir/new.py", "pkg/ü ö.txt"], base)
    assert (worktree.path / "a.py").read_text() == "one\ntwo\nthree\n"
    assert (worktree.path / "pkg/b.py").exists()
    assert (worktree.path / "pkg/ü ö.txt").read_text() == "u\n"
    assert not (worktree.path / "new dir/new.py").exists()
    assert worktree.tree() == tree
    worktree.reset(tree)
    assert on_disk(worktree) == patched


def test_what_the_setup_made_survives_a_reset(worktree: Worktree, write: Write) -> None:
    """An installed environment stays; what came later goes, beside it and in other ignored folders."""
    write(worktree.path, {".venv/bin/python": "x", "build/lib/made.so": "x", "pkg.egg-info/PKG-INFO": "x"})
    worktree.keep_leavings()
    write(worktree.path, {"later.log": "x", "build/lib/made.so": "x", "dist/x": "x", "a.py": "tool\n"})
    assert worktree.capture().count(b"diff --git") == 2
    assert (worktree.path / ".venv/bin/python").exists()
    assert (worktree.path / "build/lib/made.so").exists()
    assert not (worktree.path / "later.log").exists()
    assert not (worktree.path / "dist").exists()


def test_a_reset_to_a_commit_moves_on(worktree: Worktree) -> None:
    """After a commit, the next diff is against it."""
    repository = worktree.repository
    commit = repository.commit_tree(worktree.apply(GOOD), [worktree.commit], "first patch", WHEN)
    worktree.reset(commit)
    assert worktree.commit == commit
    assert worktree.capture() == b""
    (worktree.path / "pkg/b.py").write_text("next\n")
    assert worktree.capture().count(b"diff --git") == 1
