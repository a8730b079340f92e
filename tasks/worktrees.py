"""Worktrees of our own, in which tools and gates work; the user's own working tree is never touched."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from prefect_acms.canonical.outside_errors import GitFailed, PatchDoesNotApply
from prefect_acms.tasks.git import names_of, run_git, said, text_of
from prefect_acms.tasks.repository import OUR_MARK, Repository

NEVER_CAPTURED = (
    *("__pycache__/", "*.py[cod]", ".pytest_cache/", ".ruff_cache/", ".mypy_cache/", ".hypothesis/", ".coverage"),
    *(".coverage.*", ".tox/", ".nox/", ".venv/", "venv/", "*.egg-info/", ".eggs/", ".DS_Store"),
    ".aider*",
)
"""Untracked leavings of tools that are no part of a change, whether the repository ignores them or not."""

_KEPT = "acms-kept"
_CONFIGURATION = "acms-config"
_STORAGE = r"^(core\.(repositoryformatversion|filemode|symlinks|ignorecase|autocrlf|eol)|extensions\..*)$"
"""The settings without which git could not read the repository, or would see changes where there are none."""


@dataclass
class Worktree:
    """A detached worktree at `commit`; every method leaves the user's own tree, index and branch alone.

    The index and HEAD are reached by their own path, not through the `.git` file that a tool could rewrite.
    """

    repository: Repository
    path: Path
    admin: Path
    commit: str
    kept: frozenset[str] = field(default=frozenset())
    without_filters: Mapping[str, str] = field(default_factory=dict)

    def keep_leavings(self) -> None:
        """Keep every ignored or untracked file that is here now (what the setup made) through later resets."""
        self.kept = frozenset(self._untracked())
        (self.admin / _KEPT).write_bytes(b"\0".join(os.fsencode(name) for name in sorted(self.kept)))

    def changed_files(self) -> tuple[str, ...]:
        """The files that differ from the checked out commit, new ones too and ignored ones not, sorted."""
        self._git("update-index", "-q", "--refresh", accept=(0, 1))
        tracked = self._git("diff-index", "--name-only", "-z", "--no-renames", self.commit)
        new = self._git("ls-files", "--others", "--exclude-standard", "-z")
        return tuple(sorted({*names_of(tracked.stdout), *names_of(new.stdout)}))

    def capture(self) -> bytes:
        """The diff of everything a tool did since the checked out commit; the tree is clean again afterwards.

        Ignored files are no part of it. Empty when nothing was done. Call it only when nobody works there any more.
        """
        self.break_locks()
        try:
            return self.repository.diff(self.commit, self._tree_on_disk())
        finally:
            self.reset(self.commit)

    def apply(self, diff: bytes) -> str:
        """Apply a patch to index and files, whole or not at all; the new tree. Raises PatchDoesNotApply."""
        before = self.tree()
        self._git("update-index", "-q", "--refresh", accept=(0, 1))
        done = self._git("apply", "--index", "--whitespace=nowarn", "-p1", "-", data=diff, accept=(0, 1, 128))
        if done.returncode != 0:
            self.reset(before)
            raise PatchDoesNotApply(problem=said(done))
        return self.tree()

    def tree(self) -> str:
        """The tree of what is in the index: the checked out commit and the patches applied to it."""
        return text_of(self._git("write-tree"))

    def reset(self, target: str | None = None) -> None:
        """Make files and index exactly those of a tree; a commit (none: the checked out one) becomes HEAD as well."""
        target = target or self.commit
        if text_of(self._git("cat-file", "-t", target)) == "commit":
            self.commit = target
        self._make_plain()
        self._restore_link()
        self._git("update-ref", "--no-deref", "HEAD", self.commit)
        self._remove_untracked()
        self._git("read-tree", "--reset", "-u", target)

    def show(self, paths: Iterable[str], commit: str) -> None:
        """Put these files on disk as they are in another commit, absent if they are absent there; `reset` undoes it."""
        wanted = set(paths)
        present = sorted(wanted.intersection(self.repository.files(commit)))
        for path in sorted(wanted.difference(present)):
            _erase(self.path / path)
        if present:
            names = b"\0".join(os.fsencode(path) for path in present)
            source = f"--source={commit}"
            self._git("restore", source, "--worktree", "--pathspec-from-file=-", "--pathspec-file-nul", data=names)

    def bare_configuration(self) -> Path:
        """A git configuration that says how the repository is stored and nothing else: no remote, no credential."""
        path = self.admin / _CONFIGURATION
        if path.is_file():
            return path
        listed = self._git("config", "--local", "--null", "--get-regexp", _STORAGE, accept=(0, 1)).stdout
        for entry in filter(None, listed.decode(errors="replace").split("\0")):
            key, _, value = entry.partition("\n")
            self._git("config", "--file", str(path), key, value)
        path.touch()
        return path

    def break_locks(self) -> None:
        """Remove the locks that a killed git has left in this worktree; call it only while nobody works in it."""
        for lock in self.admin.glob("*.lock"):
            lock.unlink(missing_ok=True)

    def keep_unsaved(self, ref: str, when: datetime) -> str | None:
        """Save what differs from the checked out commit under a ref of ours; the commit made, if there was anything."""
        head = text_of(self._git("rev-parse", "--verify", "HEAD"))
        tree = self._tree_on_disk()
        if head == self.commit and tree == self.repository.tree_of(head):
            return None
        older = self.repository.ref(ref)
        parents = [head, older] if older and older != head else [head]
        saved = self.repository.commit_tree(tree, parents, f"Kept from worktree {self.path.name}", when)
        self.repository.move_ref(ref, saved, older)
        return saved

    def remove(self) -> None:
        """Remove the worktree and its entry in the repository; nobody else's entry is pruned."""
        with self.repository.writing:
            run_git(
                ["worktree", "remove", "--force", "--force", str(self.path)],
                cwd=self.repository.top,
                accept=(0, 1, 128, 255),
            )
            _erase(self.path)
            _erase(self.admin)
            with suppress(OSError):
                self.admin.parent.rmdir()
        with suppress(OSError):
            self.path.parent.rmdir()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _git(
        self, *arguments: str, data: bytes | None = None, accept: tuple[int, ...] = (0,)
    ) -> subprocess.CompletedProcess[bytes]:
        return run_git(
            arguments,
            cwd=self.path,
            config=(f"core.excludesFile={self.admin / OUR_MARK}",),
            variables={
                "GIT_DIR": str(self.admin),
                "GIT_WORK_TREE": str(self.path),
                "GIT_LITERAL_PATHSPECS": "1",
                **self.without_filters,
            },
            input=data,
            accept=accept,
        )

    def _tree_on_disk(self) -> str:
        """The tree of the files as they are now, whatever a tool did to the index."""
        self._make_plain()
        if self._git("diff-index", "--cached", "--quiet", self.commit, accept=(0, 1)).returncode != 0:
            self._git("read-tree", self.commit)
        self._git("add", "--all", "--", ".")
        if self.kept:
            # what the setup made is no part of a change, ignored by the repository or not
            names = b"\0".join(os.fsencode(name) for name in sorted(self.kept))
            quiet = ("-r", "-f", "-q", "--cached", "--ignore-unmatch", "--pathspec-from-file=-", "--pathspec-file-nul")
            self._git("rm", *quiet, data=names)
        self._undo_normalisation()
        return self.tree()

    def _make_plain(self) -> None:
        """Make of what is there a folder of files, folders and links, with an index that looks at each of them.

        git overlooks pipes, sockets and devices, at which a gate would hang, and files that the index marks as
        unchanged, so that something could be in the tree that is in no diff.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        for folder, folders, files in os.walk(self.path):
            kept = {name for name in folders if f"{Path(folder, name).relative_to(self.path).as_posix()}/" in self.kept}
            folders[:] = [name for name in folders if name not in kept]
            for path in (Path(folder, name) for name in files):
                mode = path.lstat().st_mode
                if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                    path.unlink()
        tags = self._git("ls-files", "-v", "-z").stdout.split(b"\0")
        if any(tag[:1].islower() or tag.startswith(b"S") for tag in tags):
            self._git("read-tree", self.commit)

    def _undo_normalisation(self) -> None:
        """Take back changes that only .gitattributes made: bytes that are still those of the commit."""
        listed = names_of(self._git("diff-index", "--cached", "--raw", "-z", "--no-renames", self.commit).stdout)
        changed = [(fields.split(), path) for fields, path in zip(listed[::2], listed[1::2], strict=True)]
        files = [(mode, old, path) for (_, mode, old, new, status), path in changed if status == "M" and old != new]
        regular = [(mode, old, path) for mode, old, path in files if mode.startswith("100")]
        raw = self._raw_blobs([path for _, _, path in regular])
        for mode, old, path in regular:
            if raw[path] == old:
                self._git("update-index", "--cacheinfo", f"{mode},{old},{path}")

    def _raw_blobs(self, paths: list[str]) -> dict[str, str]:
        """The blob names that these files would have if nothing were converted."""
        # git reads one name a line, and one that begins with a quote as quoted
        plain = [path for path in paths if "\n" not in path and not path.startswith('"')]
        lines = b"".join(os.fsencode(path) + b"\n" for path in plain)
        blobs = text_of(self._git("hash-object", "--no-filters", "--stdin-paths", data=lines)).split()
        odd = [path for path in paths if path not in plain]
        return dict(zip(plain, blobs, strict=True)) | {
            path: text_of(self._git("hash-object", "--no-filters", "--", path)) for path in odd
        }

    def _untracked(self) -> tuple[str, ...]:
        """Everything that git does not track, ignored or not; a folder of nothing else is one entry."""
        return names_of(self._git("ls-files", "--others", "--directory", "-z").stdout)

    def _remove_untracked(self) -> None:
        for entry in self._untracked():
            if any(entry == kept or (kept.endswith("/") and entry.startswith(kept)) for kept in self.kept):
                continue
            if any(kept.startswith(entry) for kept in self.kept):
                self._remove_beside_kept(entry)
            else:
                _erase(self.path / entry)

    def _remove_beside_kept(self, folder: str) -> None:
        for name in names_of(self._git("ls-files", "--others", "-z", "--", folder).stdout):
            if not any(name == kept or (kept.endswith("/") and name.startswith(kept)) for kept in self.kept):
                _erase(self.path / name)

    def _restore_link(self) -> None:
        """Put back the `.git` file by which a tool inside finds its repository."""
        link, content = self.path / ".git", f"gitdir: {self.admin}\n"
        if link.is_symlink() or not link.is_file() or link.read_text(errors="replace") != content:
            _erase(link)
            link.write_text(content)


def open_worktree(repository: Repository, path: Path, commit: str) -> Worktree:
    """Make a worktree at a new path, detached at a commit, with all its files; no hook fires.

    Submodules stay empty folders, LFS files stay pointers, and a sparse checkout of the user's does not count here.
    Raises GitFailed, and leaves nothing behind, when it can't be made.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path.parent.resolve() / path.name
    if path.exists():
        raise GitFailed(command="worktree add", exit_code=128, problem=f"{path} exists already")
    with repository.writing:
        try:
            run_git(
                ["worktree", "add", "--detach", "--quiet", str(path), commit],
                cwd=repository.top,
                config=("worktree.useRelativePaths=false",),
                variables=filters_off(repository),
            )
        except GitFailed:
            _erase(path)
            raise
    return adopt_worktree(repository, path, commit)


def adopt_worktree(repository: Repository, path: Path, commit: str | None = None) -> Worktree:
    """The worktree of ours that is at a path already, as it is, with what its setup made."""
    admin = Path(text_of(run_git(["rev-parse", "--absolute-git-dir"], cwd=path))).resolve()
    if admin.parent != repository.common_dir / "worktrees":
        raise GitFailed(command="rev-parse", exit_code=1, problem=f"{path} is no linked worktree of {repository.top}")
    (admin / OUR_MARK).write_text("\n".join(NEVER_CAPTURED) + "\n")
    kept = names_of((admin / _KEPT).read_bytes()) if (admin / _KEPT).exists() else ()
    head = commit or text_of(run_git(["rev-parse", "HEAD"], cwd=path))
    return Worktree(repository, path, admin, head, frozenset(kept), filters_off(repository))


def filters_off(repository: Repository) -> dict[str, str]:
    """The variables that turn off the filters of a repository's configuration, which are programs of anybody's."""
    asked = run_git(
        ["config", "--includes", "--null", "--name-only", "--get-regexp", r"^filter\."],
        cwd=repository.top,
        accept=(0, 1),
    )
    filters = sorted({key.rpartition(".")[0] for key in names_of(asked.stdout)})
    values = (("clean", ""), ("smudge", ""), ("process", ""), ("required", "false"))
    settings = [(f"{name}.{what}", value) for name in filters for what, value in values]
    keys = {f"GIT_CONFIG_KEY_{number}": key for number, (key, _) in enumerate(settings)}
    set_to = {f"GIT_CONFIG_VALUE_{number}": value for number, (_, value) in enumerate(settings)}
    return {"GIT_CONFIG_COUNT": str(len(settings)), **keys, **set_to} if settings else {}


def _erase(path: Path) -> None:
    """Remove a file, a link (never what it points at) or a folder; what is not there is fine."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(path)
    except PermissionError:
        path.chmod(stat.S_IRWXU)
        for folder, inside, _ in os.walk(path):
            for name in inside:
                if not (child := Path(folder, name)).is_symlink():
                    child.chmod(stat.S_IRWXU)
        shutil.rmtree(path)
