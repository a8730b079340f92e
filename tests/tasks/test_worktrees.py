"""A worktree gives exactly the files of a commit, gives back exactly what a tool did, and goes without a trace."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from prefect_acms.canonical.errors import GitFailed, PatchDoesNotApply
from prefect_acms.tasks.git import Repository
from prefect_acms.tasks.worktrees import Worktree, adopt_worktree, open_worktree

Make = Callable[..., Path]
Git = Callable[..., str]
Write = Callable[..., None]

WHEN = datetime(2026, 1, 2, tzinfo=UTC)
FILES: dict[str, str | bytes] = {
    "a.py": "one\ntwo\nthree\n",
    "pkg/b.py": "b\n",
    "pkg/ü ö.txt": "u\n",
    "run.sh": "#!/bin/sh\n",
    "crlf.txt": b"x\r\ny\r\n",
    "blob.bin": bytes(range(256)),
    ".gitignore": "build/\n*.log\n",
    "kept.log": "tracked, though ignored\n",
}


def user_state(top: Path) -> dict[str, str]:
    """Everything of a user's repository but the object store: files, index, config, hooks, refs, reflogs."""
    return {
        str(path.relative_to(top)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(top.rglob("*"))
        if path.is_file() and "/objects/" not in str(path)
    }


def on_disk(worktree: Worktree) -> dict[str, tuple[bytes, int]]:
    """Every file below the worktree: content and whether it is executable."""
    return {
        str(path.relative_to(worktree.path)): (path.read_bytes(), path.stat().st_mode & 0o100)
        for path in worktree.path.rglob("*")
        if path.is_file() and path.name != ".git"
    }


@pytest.fixture
def top(make_repository: Make) -> Path:
    return make_repository(FILES)


@pytest.fixture
def worktree(top: Path, tmp_path: Path) -> Worktree:
    repository = Repository.open(top)
    return open_worktree(repository, tmp_path / "home" / "worktrees" / "run_1" / "ws-01", repository.head())


# -- coming and going --------------------------------------------------------------------------------------------------


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
    worktree.repository.prune()
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


# -- capture -----------------------------------------------------------------------------------------------------------


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


# -- apply -------------------------------------------------------------------------------------------------------------

GOOD = b"diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n"
BAD = b"diff --git a/pkg/b.py b/pkg/b.py\n--- a/pkg/b.py\n+++ b/pkg/b.py\n@@ -1 +1 @@\n-not there\n+x\n"


def test_a_patch_applies_whole_or_not_at_all(worktree: Worktree) -> None:
    """One hunk that doesn't fit, and nothing of the patch is in the tree."""
    before = on_disk(worktree)
    with pytest.raises(PatchDoesNotApply, match=r"pkg/b\.py"):
        worktree.apply(GOOD + BAD)
    assert on_disk(worktree) == before
    assert worktree.changed_files() == ()
    worktree.apply(GOOD)
    assert worktree.changed_files() == ("a.py",)


def test_a_patch_that_can_not_be_written_leaves_nothing_half_done(worktree: Worktree, write: Write) -> None:
    """A new file in the place of a folder that the setup made: git finds out while it writes."""
    write(worktree.path, {"build/lib.so": "x"})
    worktree.keep_leavings()
    before = on_disk(worktree)
    new = b"diff --git a/build b/build\nnew file mode 100644\n--- /dev/null\n+++ b/build\n@@ -0,0 +1 @@\n+x\n"
    with pytest.raises(PatchDoesNotApply):
        worktree.apply(GOOD + new)
    assert on_disk(worktree) == before


@pytest.mark.parametrize("patch", [b"", b"no diff at all\n", b"diff --git a/a.py b/a.py\n", GOOD[:-8]])
def test_what_is_no_patch_does_not_apply(worktree: Worktree, patch: bytes) -> None:
    """Empty, prose, a header alone, a torn hunk."""
    with pytest.raises(PatchDoesNotApply):
        worktree.apply(patch)
    assert worktree.changed_files() == ()


def test_a_patch_applies_on_files_that_were_only_touched(worktree: Worktree) -> None:
    """Times are no content."""
    os.utime(worktree.path / "a.py", (1, 1))
    worktree.apply(GOOD)


def test_whitespace_settings_change_no_byte(top: Path, worktree: Worktree, run_in: Git) -> None:
    """What was validated is what is applied: trailing blanks stay."""
    run_in(top, "config", "apply.whitespace", "fix")
    worktree.apply(GOOD.replace(b"+2\n", b"+2   \t\n"))
    assert (worktree.path / "a.py").read_bytes() == b"one\n2   \t\nthree\n"


# -- reset -------------------------------------------------------------------------------------------------------------


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


# -- keeping -----------------------------------------------------------------------------------------------------------


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
