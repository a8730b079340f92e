"""The tree that a patch is for: what stands there, and what git itself makes of the patch on top of it.

git works in a folder of its own, with an index and objects of its own: the user's configuration, attributes, index,
working tree and objects neither change what it does nor are changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import new as new_hash
from pathlib import Path
from typing import NamedTuple

from prefect_acms.tasks.blobs import read_blobs
from prefect_acms.tasks.git import names_of, run_git
from prefect_acms.tasks.patch_paths import collated, plain_spelling
from prefect_acms.tasks.patch_readers import Counts, counts_in
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.scratch import scratch_folder

SYMLINK, SUBMODULE = "120000", "160000"


class Entry(NamedTuple):
    """A file of a tree: its mode and the name of its content."""

    mode: str
    blob: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What git made of a patch: how many lines it read of each file, the tree, and every file that differs in it."""

    counts: Counts
    tree: str
    changes: Mapping[str, Entry | None]


@dataclass(frozen=True)
class PatchBase:
    """A tree of a repository, listed once."""

    repository: Repository
    tree: str
    entries: Mapping[str, Entry]

    @classmethod
    def of(cls, repository: Repository, revision: str) -> PatchBase:
        """The tree of a commit, or the tree itself; a listing is kept for the patches that follow."""
        return _listed(repository, repository.tree_of(revision))

    @cached_property
    def links(self) -> Mapping[str, str]:
        """The links and submodules, by how a file system that folds case sees their paths."""
        special = {SYMLINK, SUBMODULE}
        return {plain_spelling(path): path for path, entry in self.entries.items() if entry.mode in special}

    @cached_property
    def collated(self) -> Mapping[str, str]:
        """The paths, by how a file system that folds case and form tells them apart."""
        return {collated(path): path for path in self.entries}

    @cached_property
    def _index(self) -> bytes:
        with scratch_folder() as folder:
            self._git(folder, "read-tree", self.tree)
            return (folder / "index").read_bytes()

    def link_at(self, path: str) -> str | None:
        """The link or submodule that a path is, or leads through."""
        parts = plain_spelling(path).split("/")
        starts = ("/".join(parts[: n + 1]) for n in range(len(parts)))
        return next((self.links[start] for start in starts if start in self.links), None)

    def contents(self, paths: Sequence[str]) -> dict[str, bytes]:
        """The content of these files, those that are there; of a link, its target."""
        files = {path: self.entries[path] for path in paths if path in self.entries}
        return read_blobs(self.repository, {path: blob for path, (mode, blob) in files.items() if mode != SUBMODULE})

    def blob_of(self, content: bytes) -> str:
        """The name that git gives to a content."""
        digest = new_hash(self.repository.object_format, b"blob %d\0" % len(content), usedforsecurity=False)
        digest.update(content)
        return digest.hexdigest()

    def outcome(self, patch: bytes) -> Outcome:
        """Let git apply a patch to this tree, whole or not at all; raises GitFailed when it doesn't."""
        with scratch_folder() as folder:
            (folder / "index").write_bytes(self._index)
            read = self._git(folder, "apply", "--cached", "--numstat", "-z", "--apply", "-p1", "-", data=patch)
            tree = self._git(folder, "write-tree", "--missing-ok").decode().strip()
            listed = self._git(
                folder, "diff-index", "--cached", "--raw", "-z", "--no-abbrev", "--no-renames", self.tree
            )
        fields = names_of(listed)
        changes = {path: _entry(said) for said, path in zip(fields[::2], fields[1::2], strict=True)}
        return Outcome(counts_in(read), tree, changes)

    def _git(self, folder: Path, *arguments: str, data: bytes = b"") -> bytes:
        """Run git in a repository made of nothing but the objects of the user's."""
        own = folder / "git"
        if not own.exists():
            for name in ("objects", "refs"):
                (own / name).mkdir(parents=True)
            (folder / "empty").mkdir()
            (own / "HEAD").write_text("ref: refs/heads/none\n")
            (own / "config").write_text(
                f"[core]\nrepositoryformatversion = 1\nbare = false\n"
                f"[extensions]\nobjectFormat = {self.repository.object_format}\n"
            )
        variables = {
            "GIT_DIR": str(own),
            "GIT_WORK_TREE": str(folder / "empty"),
            "GIT_INDEX_FILE": str(folder / "index"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(self.repository.common_dir / "objects"),
        }
        config = ("core.protectHFS=true", "core.protectNTFS=true", "core.ignoreCase=false")
        return run_git(arguments, cwd=folder / "empty", config=config, variables=variables, input=data).stdout


def _quoted(path: Path) -> str:
    """A path in a list of paths that colons part, as git reads one that holds a colon itself."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _entry(said: str) -> Entry | None:
    _, mode, _, blob, status = said.split()
    return None if status == "D" else Entry(mode, blob)


@lru_cache(maxsize=8)
def _listed(repository: Repository, tree: str) -> PatchBase:
    listed = names_of(run_git(["ls-tree", "-r", "-z", "--full-tree", tree], cwd=repository.top).stdout)
    pairs = (entry.partition("\t") for entry in listed)
    entries = {path: Entry(fields.split()[0], fields.split()[2]) for fields, _, path in pairs}
    return PatchBase(repository, tree, entries)
