"""A user's repository: what we ask of it, by git's own program, and the few refs that we write to it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from prefect_acms.canonical.errors import DirtyTree, InvalidValue, NotARepository, RepositoryUnfit
from prefect_acms.canonical.outside_errors import GitFailed, MergeConflict, RefMoved
from prefect_acms.dao.redaction import redact
from prefect_acms.tasks.git import names_of, run_git, said, text_of

OUR_REFS = ("refs/heads/acms/", "refs/acms/")
"""The only refs that are ever written or deleted."""

OUR_MARK = "acms-exclude"
"""A file in the entry of each worktree of ours (its patterns of what is never captured): how we know our own."""

AUTHOR_NAME = "ACMS"
AUTHOR_EMAIL = "acms@localhost"

DIFF_FORM = (
    *("-p", "-r", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--full-index", "--binary"),
    *("--src-prefix=a/", "--dst-prefix=b/", "-U3", "--inter-hunk-context=0", "--diff-algorithm=myers"),
    *("--indent-heuristic", "--ignore-submodules=none", "--submodule=short"),
)
"""The arguments that fix every byte of a diff."""

_LOCKS: dict[str, threading.RLock] = {}


@dataclass(frozen=True)
class Repository:
    """A user's repository, by the top of its working tree, which may itself be a linked worktree."""

    top: Path
    common_dir: Path
    object_format: str = "sha1"

    @classmethod
    def open(cls, path: Path) -> Repository:
        """The repository that a folder is in; raises NotARepository, or RepositoryUnfit for a bare or an empty one."""
        place = path.expanduser().absolute()
        if not place.is_dir():
            raise NotARepository(path=path, problem="there is no such folder")
        asked = run_git(
            ["rev-parse", "--is-bare-repository", "--is-inside-work-tree", "--show-object-format", "--git-common-dir"],
            cwd=place,
            plain=False,
            accept=(0, 128),
        )
        if asked.returncode != 0:
            raise _not_opened(path, said(asked))
        bare, inside, object_format, common = text_of(asked).split("\n", 3)
        if bare == "true" or inside != "true":
            problem = "it is a bare repository" if bare == "true" else "it is the inside of a .git folder"
            raise RepositoryUnfit(path=path, problem=problem)
        top = text_of(run_git(["rev-parse", "--show-toplevel"], cwd=place, plain=False))
        repository = cls(Path(top), (place / common).resolve(), object_format)
        if repository.find("HEAD") is None:
            raise RepositoryUnfit(path=path, problem="it has no commit yet")
        return repository

    # -- questions ---------------------------------------------------------------------------------------------------

    def head(self) -> str:
        """The commit that is checked out."""
        return self.resolve("HEAD")

    def branch(self) -> str | None:
        """The branch that is checked out; none when HEAD is detached."""
        done = self._run("symbolic-ref", "--quiet", "--short", "HEAD", accept=(0, 1))
        return text_of(done) or None

    def dirty_files(self, *, untracked: bool = False) -> tuple[str, ...]:
        """The files that differ from HEAD, as `git status` would tell the user, sorted."""
        mode = "normal" if untracked else "no"
        arguments = ["status", "--porcelain=v1", "-z", "--no-renames", f"--untracked-files={mode}"]
        done = run_git([*arguments, "--ignore-submodules=dirty"], cwd=self.top, plain=False)
        return tuple(sorted(entry[3:] for entry in names_of(done.stdout)))

    def require_fit(self, *, allow_dirty: bool = False) -> None:
        """Raise RepositoryUnfit or DirtyTree when a run can't start from here."""
        if self.branch() is None:
            raise RepositoryUnfit(path=self.top, problem="HEAD is detached: check out a branch")
        if self.ref("refs/heads/acms") is not None:
            problem = "it has a branch named acms, beside which no branch acms/… can exist: rename it"
            raise RepositoryUnfit(path=self.top, problem=problem)
        if not allow_dirty and (dirty := self.dirty_files()):
            raise DirtyTree(path=self.top, files=len(dirty), first=dirty[0])

    def resolve(self, revision: str) -> str:
        """The commit that a revision names; raises GitFailed when there is none."""
        found = self.find(revision)
        if found is None:
            raise GitFailed(command="rev-parse", exit_code=1, problem=f"{revision!r} names no commit")
        return found

    def find(self, revision: str) -> str | None:
        """The commit that a revision names, if there is one."""
        return self._object(f"{revision}^{{commit}}")

    def tree_of(self, revision: str) -> str:
        """The tree of a commit, or the tree itself."""
        found = self._object(f"{revision}^{{tree}}")
        if found is None:
            raise GitFailed(command="rev-parse", exit_code=1, problem=f"{revision!r} has no tree")
        return found

    def ref(self, name: str) -> str | None:
        """What a ref (by its full name) points at, if it exists."""
        return text_of(self._run("rev-parse", "--verify", "--quiet", name, accept=(0, 1))) or None

    def refs(self, prefix: str) -> dict[str, str]:
        """The refs under a prefix and what they point at, sorted by name."""
        lines = text_of(self._run("for-each-ref", "--format=%(refname) %(objectname)", prefix)).splitlines()
        return dict(line.split(" ", 1) for line in sorted(lines))

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether one commit can be reached from another; one that is gone can be reached from nowhere."""
        found = self._run("merge-base", "--is-ancestor", older, newer, accept=(0, 1, 128))
        if found.returncode > 1 and self.find(older) is not None:
            raise GitFailed(command="merge-base --is-ancestor", exit_code=found.returncode, problem=said(found))
        return found.returncode == 0

    def files(self, revision: str) -> tuple[str, ...]:
        """Every file of a commit or tree, sorted; links and submodules too."""
        return tuple(sorted(names_of(self._run("ls-tree", "-r", "-z", "--name-only", "--full-tree", revision).stdout)))

    def modes(self, revision: str) -> dict[str, str]:
        """The mode of every file of a commit or tree, by name: 100644, 100755, 120000 (link), 160000 (submodule)."""
        entries = names_of(self._run("ls-tree", "-r", "-z", "--full-tree", revision).stdout)
        return {name: fields.split()[0] for fields, _, name in (entry.partition("\t") for entry in entries)}

    def mode(self, revision: str, path: str) -> str | None:
        """The mode of one entry of a commit or tree, as in `modes`, 040000 for a folder; None where there is none."""
        entries = names_of(self._run("ls-tree", "-z", "--full-tree", revision, "--", path).stdout)
        return entries[0].split()[0] if entries else None

    def changed_files(self, old: str, new: str) -> tuple[str, ...]:
        """The files in which two commits or trees differ, sorted."""
        done = self._run("diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new)
        return tuple(sorted(names_of(done.stdout)))

    def diff(self, old: str, new: str) -> bytes:
        """The difference of two commits or trees, in the one form that all our patches have."""
        return self._objects_only("diff-tree", *DIFF_FORM, old, new).stdout

    def content(self, revision: str, path: str) -> bytes | None:
        """The content of a file in a commit or tree, if it is there."""
        found = self._object(f"{revision}:{path}")
        return None if found is None else self._run("cat-file", "blob", found).stdout

    def contents(self, revision: str, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """The contents of these files of a commit or tree, those that are there, read in one go."""
        entries = names_of(self._run("ls-tree", "-r", "-z", "--full-tree", revision).stdout)
        ids = {name: fields.split()[2] for fields, _, name in (entry.partition("\t") for entry in entries)}
        wanted = [(path, ids[path]) for path in paths if path in ids]
        asked = "".join(f"{blob}\n" for _, blob in wanted).encode()
        answer = io.BytesIO(run_git(["cat-file", "--batch"], cwd=self.top, input=asked).stdout)
        for path, _ in wanted:
            size = int(answer.readline().split()[2])
            yield path, answer.read(size)
            answer.read(1)

    def log(self, base: str, tip: str) -> tuple[str, ...]:
        """The commits that `tip` has and `base` has not, oldest first."""
        return tuple(text_of(self._run("rev-list", "--reverse", "--topo-order", tip, f"^{base}")).split())

    def trailers(self, base: str, tip: str, key: str) -> dict[str, str]:
        """The commits that `tip` has and `base` has not, by the value of a trailer in their messages."""
        form = f"--format=%H%x09%(trailers:key={key},valueonly,separator=%x20)"
        lines = text_of(self._run("log", "--reverse", "--topo-order", form, tip, f"^{base}")).splitlines()
        pairs = [line.partition("\t") for line in lines]
        return {value: commit for commit, _, values in pairs for value in values.split()}

    def authors(self, base: str, tip: str, paths: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """The commits that `tip` has and `base` has not and that changed one of these files, newest first, by whom."""
        form = "--format=%H%x09%an"
        lines = text_of(self._run("log", "--topo-order", form, tip, f"^{base}", "--", *paths)).splitlines()
        return tuple((commit, author) for commit, _, author in (line.partition("\t") for line in lines))

    def message(self, commit: str) -> str:
        """The message of a commit."""
        return text_of(self._run("log", "-1", "--format=%B", commit))

    # -- writing -----------------------------------------------------------------------------------------------------

    def commit_tree(self, tree: str, parents: Sequence[str], message: str, when: datetime) -> str:
        """Make a commit by ACMS, no secret in its message; same tree, parents, message and time give the same id."""
        stamp = f"@{int(when.timestamp())} +0000"
        variables = {
            f"GIT_{role}_{part}": value
            for role in ("AUTHOR", "COMMITTER")
            for part, value in (("NAME", AUTHOR_NAME), ("EMAIL", AUTHOR_EMAIL), ("DATE", stamp))
        }
        arguments = ["commit-tree", tree, *(part for parent in parents for part in ("-p", parent))]
        words = redact(message).rstrip("\n").encode() + b"\n"
        with self.writing:
            done = run_git(arguments, cwd=self.top, variables=variables, input=words)
        return text_of(done)

    def merge_tree(self, ours: str, theirs: str) -> str:
        """The tree of a merge, with no working tree and no commit; raises MergeConflict with the files."""
        with self.writing:
            arguments = ["merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", ours, theirs]
            done = self._objects_only(*arguments, accept=(0, 1))
        tree, *files = names_of(done.stdout)
        if done.returncode == 1:
            raise MergeConflict(branch=theirs, into=ours, files=", ".join(sorted(set(files))))
        return tree

    def move_ref(self, ref: str, new: str, old: str | None) -> None:
        """Point one of our refs at `new`, if it is still at `old` (none: does not exist); raises RefMoved."""
        _check_ours(ref)
        self._swap(ref, old, ["update-ref", "--no-deref", "-m", "acms", ref, new, old or ""])

    def delete_ref(self, ref: str, old: str) -> None:
        """Delete one of our refs, if it is still at `old`; raises RefMoved."""
        _check_ours(ref)
        self._swap(ref, old, ["update-ref", "--no-deref", "-d", ref, old])

    def prune(self, is_ours: Callable[[Path], bool], *, marked: bool = True) -> None:
        """Remove the entries of worktrees of ours whose folder is gone; those of the user's stay, stale or not.

        An entry is ours when its folder says so, since a crash may leave no mark, or when it carries our mark.
        """
        with self.writing:
            for entry in sorted((self.common_dir / "worktrees").glob("*/")):
                with suppress(FileNotFoundError):
                    link = Path(os.fsdecode((entry / "gitdir").read_bytes().rstrip(b"\n")))
                    if (is_ours(link) or (marked and (entry / OUR_MARK).exists())) and not link.exists():
                        shutil.rmtree(entry)
            with suppress(OSError):
                (self.common_dir / "worktrees").rmdir()

    def clear_locks(self, refs: Iterable[str]) -> list[str]:
        """Remove the lock files that a killed git has left beside refs of ours; call it only while nobody uses them.

        A ref that ends in a slash stands for all below it. The refs that were locked are given.
        """
        cleared: list[str] = []
        for ref in refs:
            _check_ours(ref)
            folder = ref.endswith("/")
            place = self.common_dir / ref
            found = place.rglob("*.lock") if folder else [place.with_name(f"{place.name}.lock")]
            for lock in sorted(found):
                if lock.is_file():
                    lock.unlink(missing_ok=True)
                    cleared.append(str(lock.relative_to(self.common_dir)).removesuffix(".lock"))
        return cleared

    @cached_property
    def writing(self) -> threading.RLock:
        """Held by whatever writes to this repository: one at a time in this process."""
        return _LOCKS.setdefault(str(self.common_dir), threading.RLock())

    def _swap(self, ref: str, old: str | None, arguments: list[str]) -> None:
        with self.writing:
            try:
                self._run(*arguments)
            except GitFailed:
                found = self.ref(ref)
                if found == old:
                    raise
                raise RefMoved(ref=ref, expected=old or "nothing", found=found or "nothing") from None

    def _object(self, expression: str) -> str | None:
        done = self._run("rev-parse", "--verify", "--quiet", "--end-of-options", expression, accept=(0, 1, 128))
        lines = text_of(done).split() if done.returncode == 0 else []
        return lines[-1] if lines else None

    def _run(self, *arguments: str, accept: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[bytes]:
        return run_git(arguments, cwd=self.top, accept=accept)

    def _objects_only(self, *arguments: str, accept: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[bytes]:
        """Run without the user's working tree and index, whose .gitattributes would change what git does."""
        variables = {"GIT_DIR": str(self.common_dir), "GIT_INDEX_FILE": str(self.common_dir / "acms-no-index")}
        return run_git(arguments, cwd=self.common_dir, variables=variables, accept=accept)


def _not_opened(path: Path, problem: str) -> NotARepository | RepositoryUnfit:
    if "dubious ownership" in problem:
        return RepositoryUnfit(
            path=path,
            problem="it belongs to another user, so git refuses it: "
            f"git config --global --add safe.directory {path.expanduser().absolute()}",
        )
    if "not a git repository" in problem:
        return NotARepository(path=path, problem="neither it nor a folder above it holds a .git")
    return NotARepository(path=path, problem=problem)


def _check_ours(ref: str) -> None:
    if not ref.startswith(OUR_REFS):
        raise InvalidValue(field="ref", value=ref, expected=f"a ref under {' or '.join(OUR_REFS)}")
