"""What we ask of a user's repository is answered right, and what we write to it is only ours."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from prefect_acms.canonical.errors import DirtyTree, GitMissing, InvalidValue, NotARepository, RepositoryUnfit
from prefect_acms.canonical.outside_errors import GitFailed, MergeConflict, RefMoved
from prefect_acms.tasks.git import git_program, run_git
from prefect_acms.tasks.repository import Repository

Make = Callable[..., Path]
Git = Callable[..., str]
Write = Callable[..., None]

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OURS = "refs/heads/acms/run_1"


def everything(top: Path) -> dict[str, str]:
    """A hash of every file below a folder, `.git` included."""
    return {
        str(path.relative_to(top)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(top.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


@pytest.fixture
def top(make_repository: Make) -> Path:
    return make_repository({"a.py": "one\n", "sub/b.py": "two\n"})


def commit_of(repository: Repository, run_in: Git, files: dict[str, str]) -> str:
    """A commit on top of HEAD with these files of the top folder, made aside."""
    entries = run_in(repository.top, "ls-tree", "HEAD").splitlines()
    kept = [line for line in entries if line.split("\t")[1] not in files]
    for name, content in files.items():
        blob = run_in(repository.top, "hash-object", "-w", "--stdin", data=content.encode())
        kept.append(f"100644 blob {blob}\t{name}")
    tree = run_in(repository.top, "mktree", data=("\n".join(kept) + "\n").encode())
    return repository.commit_tree(tree, [repository.head()], "side", WHEN)


# -- opening -----------------------------------------------------------------------------------------------------------


def test_a_subfolder_opens_its_repository(top: Path) -> None:
    """Any folder of a repository stands for the whole of it."""
    repository = Repository.open(top / "sub")
    assert repository.top == top
    assert repository.common_dir == top / ".git"
    assert (repository.branch(), repository.object_format) == ("main", "sha1")


def test_a_linked_worktree_opens_at_its_own_top(top: Path, run_in: Git, tmp_path: Path) -> None:
    """The user's place may itself be a linked worktree: its branch and files count, its objects are shared."""
    run_in(top, "worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"))
    repository = Repository.open(tmp_path / "linked")
    assert repository.top == tmp_path / "linked"
    assert repository.common_dir == top / ".git"
    assert repository.branch() == "other"


def test_a_sha256_repository_works(make_repository: Make) -> None:
    """Object names may be longer."""
    repository = Repository.open(make_repository({"a": "1"}, "long", "--object-format=sha256"))
    assert repository.object_format == "sha256"
    assert len(repository.head()) == 64
    repository.move_ref(OURS, repository.head(), None)
    assert repository.ref(OURS) == repository.head()


@pytest.mark.parametrize("name", ["with space", "ünï¢ode", "quote'\"d", "-dash", "new\nline"])
def test_a_repository_may_have_any_name(make_repository: Make, name: str) -> None:
    """The path of a repository is never parsed."""
    top = make_repository({"a": "1"}, name)
    assert Repository.open(top).top == top


def test_no_repository_is_told_apart_from_an_unfit_one(tmp_path: Path, run_in: Git) -> None:
    """Each kind of wrong place has its own sentence."""
    with pytest.raises(NotARepository, match="no such folder"):
        Repository.open(tmp_path / "gone")
    with pytest.raises(NotARepository, match="neither it nor a folder above"):
        Repository.open(tmp_path)
    run_in(tmp_path, "init", "-q", "--bare", "bare.git")
    with pytest.raises(RepositoryUnfit, match="bare"):
        Repository.open(tmp_path / "bare.git")
    run_in(tmp_path, "init", "-q", "empty")
    with pytest.raises(RepositoryUnfit, match="no commit"):
        Repository.open(tmp_path / "empty")
    with pytest.raises(RepositoryUnfit, match="inside of a"):
        Repository.open(tmp_path / "empty" / ".git")


def test_a_repository_of_another_user_is_refused_with_the_remedy(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git's own ownership check holds, and says what to do."""
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    for path in (top, top / ".git"):
        os.chown(path, 12345, 12345)
    monkeypatch.setenv("HOME", str(top.parent))
    monkeypatch.delenv("SUDO_UID", raising=False)
    with pytest.raises(RepositoryUnfit, match=r"safe\.directory"):
        Repository.open(top)


def test_an_old_or_missing_git_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No git, and a git that can't merge without a working tree, are refused with what is needed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitMissing, match=r"git 2\.38 or newer .* found none"):
        git_program()
    (tmp_path / "old").mkdir()
    old = tmp_path / "old" / "git"
    old.write_text("#!/bin/sh\necho git version 2.30.2\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(old.parent))
    with pytest.raises(GitMissing, match=r"2\.30\.2"):
        git_program()


def test_git_variables_of_the_caller_are_not_obeyed(
    top: Path, make_repository: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is started from a hook of another repository works on the one that it was given."""
    other = make_repository({"x": "y"}, "other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert Repository.open(top).files("HEAD") == ("a.py", "sub/b.py")


# -- fitness -----------------------------------------------------------------------------------------------------------


def test_changed_files_make_a_tree_dirty_and_untracked_ones_do_not(top: Path, run_in: Git, write: Write) -> None:
    """Staged, unstaged, deleted: uncommitted. A file that git never knew is nothing to commit or stash."""
    repository = Repository.open(top)
    write(top, {"notes.txt": "mine"})
    repository.require_fit()
    assert repository.dirty_files(untracked=True) == ("notes.txt",)
    write(top, {"a.py": "changed\n", "staged é.py": "x"})
    run_in(top, "add", "staged é.py")
    (top / "sub/b.py").unlink()
    assert repository.dirty_files() == ("a.py", "staged é.py", "sub/b.py")
    with pytest.raises(DirtyTree, match=r"3 uncommitted .* 'a\.py'"):
        repository.require_fit()
    repository.require_fit(allow_dirty=True)


def test_asking_never_refreshes_the_index(top: Path) -> None:
    """The user's index stays byte for byte, though its times are stale."""
    repository = Repository.open(top)
    os.utime(top / "a.py", (1, 1))
    before = everything(top)
    assert repository.dirty_files() == ()
    repository.require_fit()
    assert everything(top) == before


def test_a_detached_head_is_unfit(top: Path, run_in: Git) -> None:
    """There must be a branch to come back to."""
    run_in(top, "checkout", "-q", "--detach")
    with pytest.raises(RepositoryUnfit, match="detached"):
        Repository.open(top).require_fit()


def test_a_branch_that_stands_in_the_way_is_named(top: Path, run_in: Git) -> None:
    """Git can't hold a branch acms and a branch acms/run."""
    run_in(top, "branch", "acms")
    with pytest.raises(RepositoryUnfit, match="branch named acms"):
        Repository.open(top).require_fit()


# -- questions ---------------------------------------------------------------------------------------------------------


def test_names_come_back_as_they_are(make_repository: Make) -> None:
    """Spaces, quotes, tabs, backslashes and unicode in names are only characters."""
    names = ("a b.py", 'q"uote.py', "tab\there", "back\\slash", "ünï.py", "-dash", " lead", "new\nline")
    repository = Repository.open(make_repository(dict.fromkeys(names, "x\n")))
    assert repository.files("HEAD") == tuple(sorted(names))
    assert all(repository.content("HEAD", name) == b"x\n" for name in names)
    assert repository.content("HEAD", "absent") is None


def test_revisions_are_resolved_or_refused(top: Path) -> None:
    """A revision is a commit or an error, and never an option."""
    repository = Repository.open(top)
    assert repository.find("main") == repository.head()
    assert repository.find("nonsense") is None
    assert repository.find("--help") is None
    with pytest.raises(GitFailed, match="nonsense"):
        repository.resolve("nonsense")


def test_a_diff_has_one_form_whatever_is_configured(top: Path, run_in: Git, tmp_path: Path) -> None:
    """No setting of the user, of the repository, and no attribute in the working tree changes a byte of a diff."""
    repository = Repository.open(top)
    new = commit_of(repository, run_in, {"a.py": "one\nmore\n", "ü n.py": "new\n"})
    plain = repository.diff("HEAD", new)
    assert plain.startswith(b"diff --git a/a.py b/a.py\nindex ")
    for setting in (
        *("diff.noprefix=true", "diff.mnemonicPrefix=true", "color.diff=always", "color.ui=always", "diff.context=0"),
        *("diff.external=/bin/false", "diff.renames=copies", "core.abbrev=5", "diff.algorithm=histogram"),
        *("core.quotePath=false", "diff.suppressBlankEmpty=true", "diff.x.textconv=rev", "diff.x.binary=true"),
        *("core.attributesFile=" + str(tmp_path / "attributes"), "diff.orderFile=" + str(tmp_path / "order")),
    ):
        run_in(top, "config", *setting.split("=", 1))
    (tmp_path / "attributes").write_text("*.py diff=x\n")
    (tmp_path / "order").write_text("z*\n")
    (top / ".gitattributes").write_text("*.py -diff\n")
    assert repository.diff("HEAD", new) == plain


# -- writing -----------------------------------------------------------------------------------------------------------


def test_a_commit_is_by_acms_and_the_same_every_time(top: Path, run_in: Git) -> None:
    """Author, committer and time are given, so the same commit has the same id, whoever the user is."""
    repository = Repository.open(top)
    make = (repository.tree_of("HEAD"), [repository.head()], "fix: é\n\nACMS-Run: run_1\n", WHEN)
    commit = repository.commit_tree(*make)
    run_in(top, "config", "user.name", "Somebody Else")
    run_in(top, "config", "commit.gpgSign", "true")
    assert repository.commit_tree(*make) == commit
    shown = run_in(top, "log", "-1", "--format=%an %ae %cn %ce %aI%n%B", commit)
    assert shown.startswith("ACMS acms@localhost ACMS acms@localhost 2026-01-02T03:04:05")
    assert repository.message(commit) == "fix: é\n\nACMS-Run: run_1"
    assert repository.is_ancestor("HEAD", commit)
    assert not repository.is_ancestor(commit, "HEAD")
    assert repository.log("HEAD", commit) == (commit,)


def test_a_ref_moves_only_from_where_it_was_seen(top: Path) -> None:
    """Of two movers that saw the same ref, one wins and the other is told where it is now."""
    repository = Repository.open(top)
    first = repository.head()
    second = repository.commit_tree(repository.tree_of(first), [first], "second", WHEN)
    repository.move_ref(OURS, first, None)
    with pytest.raises(RefMoved, match=f"expected nothing, found {first}"):
        repository.move_ref(OURS, second, None)
    repository.move_ref(OURS, second, first)
    with pytest.raises(RefMoved, match=f"found {second}"):
        repository.move_ref(OURS, second, first)
    with pytest.raises(RefMoved):
        repository.delete_ref(OURS, first)
    repository.delete_ref(OURS, second)
    assert repository.ref(OURS) is None


@pytest.mark.parametrize("ref", ["refs/heads/main", "HEAD", "refs/heads/acmsx/a", "refs/tags/acms/a", "main"])
def test_a_ref_that_is_not_ours_is_never_written(top: Path, ref: str) -> None:
    """Not even by mistake."""
    repository = Repository.open(top)
    with pytest.raises(InvalidValue, match="refs/heads/acms/"):
        repository.move_ref(ref, repository.head(), None)
    with pytest.raises(InvalidValue):
        repository.delete_ref(ref, repository.head())


def test_a_race_for_a_ref_has_one_winner(top: Path) -> None:
    """Eight threads, one ref: exactly one moves it."""
    repository = Repository.open(top)
    base = repository.head()
    commits = [repository.commit_tree(repository.tree_of(base), [base], f"c{n}", WHEN) for n in range(8)]
    won: list[str] = []

    def move(commit: str) -> None:
        try:
            repository.move_ref(OURS, commit, None)
        except RefMoved:
            return
        won.append(commit)

    threads = [threading.Thread(target=move, args=(commit,)) for commit in commits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [repository.ref(OURS)]


def test_a_merge_is_a_tree_or_a_conflict_and_touches_nothing(top: Path, run_in: Git) -> None:
    """Two changes of different files merge; two of the same lines name the files. The user's place is as before."""
    repository = Repository.open(top)
    ours = commit_of(repository, run_in, {"c.py": "c\n"})
    theirs = commit_of(repository, run_in, {"d é.py": "d\n"})
    other = commit_of(repository, run_in, {"c.py": "other\n"})
    before = {name: value for name, value in everything(top).items() if "objects" not in name}
    tree = repository.merge_tree(ours, theirs)
    assert set(repository.files(tree)) >= {"c.py", "d é.py"}
    with pytest.raises(MergeConflict, match=r"conflicts in c\.py"):
        repository.merge_tree(ours, other)
    assert {name: value for name, value in everything(top).items() if "objects" not in name} == before


def test_writing_fires_no_hook(top: Path, write: Write) -> None:
    """The user's hooks are theirs."""
    for hook in ("reference-transaction", "post-checkout", "pre-commit", "post-index-change"):
        write(top, {f".git/hooks/{hook}": f"#!/bin/sh\ntouch {top}/fired-{hook}\n"})
        (top / ".git/hooks" / hook).chmod(0o755)
    repository = Repository.open(top)
    repository.move_ref(OURS, repository.head(), None)
    assert not list(top.glob("fired-*"))


def test_a_shallow_clone_is_a_repository_like_any_other(top: Path, run_in: Git, tmp_path: Path, write: Write) -> None:
    """History that isn't there isn't needed."""
    write(top, {"a.py": "two\n"})
    run_in(top, "commit", "-qam", "second")
    run_in(tmp_path, "clone", "-q", "--depth=1", f"file://{top}", "shallow")
    repository = Repository.open(tmp_path / "shallow")
    base = repository.head()
    ours = repository.commit_tree(repository.tree_of(base), [base], "ours", WHEN)
    assert repository.merge_tree(ours, base) == repository.tree_of(base)


def test_an_interruption_waits_for_the_git_command_that_is_going_on(
    top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A git that is killed leaves its locks behind; and a Ctrl-C of the terminal doesn't reach it either."""
    done, real = tmp_path / "done", shutil.which("git")
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\ncase "$*" in *write-tree*) sleep 1; touch {done};; esac\nexec {real} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}{os.pathsep}{os.environ['PATH']}")
    git_program()
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        run_git(["write-tree"], cwd=top)
    assert done.exists()
