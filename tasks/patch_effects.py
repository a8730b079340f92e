"""What a patch does to the tree that it is for, worked out by us and done by git: both must come to the same."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prefect_acms.canonical.outside_errors import GitFailed
from prefect_acms.tasks.diffs import FileDiff, NotADiff
from prefect_acms.tasks.patch_bases import SUBMODULE, Entry, PatchBase
from prefect_acms.tasks.patch_contents import check_syntax
from prefect_acms.tasks.patch_images import Misplaced, image_of
from prefect_acms.tasks.patch_paths import collated
from prefect_acms.tasks.patch_readers import ParsedPatch, compare_counts
from prefect_acms.tasks.patch_rules import Rule, Violation

_INDEX = re.compile(rb"([0-9a-f]+)\.\.([0-9a-f]+)")


@dataclass(slots=True)
class Effects:
    """A patch on a base: what is to be said against it, the files as they are after it, and the tree that git made."""

    patch: ParsedPatch
    base: PatchBase
    violations: list[Violation] = field(default_factory=list)
    changes: dict[str, Entry | None] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    tree: str | None = None

    @classmethod
    def of(cls, patch: ParsedPatch, base: PatchBase, content: bytes) -> Effects:
        """Work them out; each step is taken only if nothing is to be said so far."""
        effects = cls(patch, base)
        for step in (effects._fit, effects._change, lambda: effects._apply(content)):
            effects.violations += step()
            if effects.violations:
                break
        return effects

    # -- what stands there -------------------------------------------------------------------------------------------

    def _fit(self) -> Iterator[Violation]:
        gone = {_text(file.old_path) for file in self.patch.files if file.operation in {"delete", "rename"}}
        for file in self.patch.files:
            links = list(self._links(file))
            if links:
                yield from links
                continue
            old, new = _text(file.old_path), _text(file.new_path)
            if old and old not in self.base.entries:
                yield Violation.at(Rule.DOES_NOT_APPLY, file, f"there is no {old}")
            elif old:
                yield from self._same_base(file, self.base.entries[old])
            if new and new != old:
                if new in self.base.entries:
                    yield Violation.at(Rule.DOES_NOT_APPLY, file, f"{new} is there already")
                other = self.base.collated.get(collated(new), new)
                if other not in {new, *gone}:
                    yield Violation.at(Rule.PATH_COLLIDES, file, f"some file systems take it for {other}")

    def _links(self, file: FileDiff) -> Iterator[Violation]:
        for path in sorted({_text(path) for path in (file.old_path, file.new_path) if path is not None}):
            link = self.base.link_at(path)
            if link is not None and not (file.new_path is None and path == link):
                rule = Rule.SUBMODULE if self.base.entries[link].mode == SUBMODULE else Rule.SYMLINK
                yield Violation.at(rule, file, f"{link} is a link in the commit that it is for")

    @staticmethod
    def _same_base(file: FileDiff, entry: Entry) -> Iterator[Violation]:
        if file.old_mode is not None and file.old_mode.decode() != entry.mode:
            problem = f"it is for a file of mode {file.old_mode.decode()}, and finds {entry.mode}"
            yield Violation.at(Rule.OTHER_BASE, file, problem)
        index = _index(file)
        if index is not None and not entry.blob.startswith(index[0]):
            yield Violation.at(Rule.OTHER_BASE, file, "it is for another content of the file")

    # -- what we make of it ------------------------------------------------------------------------------------------

    def _change(self) -> Iterator[Violation]:
        olds = self.base.contents([_text(file.old_path) for file in self.patch.files if file.old_path])
        before: Mapping[bytes | None, bytes] = {path.encode(): content for path, content in olds.items()}
        for file in self.patch.files:
            old, new = _text(file.old_path), _text(file.new_path)
            if file.operation in {"delete", "rename"}:
                self.changes[old] = None
            if file.is_binary:
                yield from self._binary(file)
                continue
            try:
                after = image_of(file, before.get(file.old_path, b""))
            except Misplaced as error:
                yield Violation.at(Rule.MISPLACED, file, error.problem, error.line)
                continue
            if not new:
                if after:
                    yield Violation.at(Rule.MISPLACED, file, "something is left of the file that it deletes")
                continue
            self.contents[new] = after
            self.changes[new] = Entry(self._mode_after(file), self.base.blob_of(after))
            index = _index(file)
            if index is not None and not self.changes[new].blob.startswith(index[1]):  # type: ignore[union-attr]
                yield Violation.at(Rule.OTHER_RESULT, file, "its index line says another content than its hunks make")
            yield from check_syntax(file, before, after)

    def _binary(self, file: FileDiff) -> Iterator[Violation]:
        """The content is git's to make; that it is the one that the index line says in full is ours to see."""
        index = _index(file)
        if index is None or len(index[1]) != len(self.base.tree):
            yield Violation.at(Rule.DOES_NOT_APPLY, file, "a binary file needs an index line in full")
        elif file.new_path is not None:
            self.changes[_text(file.new_path)] = Entry(self._mode_after(file), index[1])

    def _mode_after(self, file: FileDiff) -> str:
        if file.new_mode is not None:
            return file.new_mode.decode()
        return self.base.entries[_text(file.old_path)].mode

    # -- what git makes of it ----------------------------------------------------------------------------------------

    def _apply(self, content: bytes) -> Iterator[Violation]:
        first = self.patch.files[0]
        try:
            outcome = self.base.outcome(content)
            compare_counts(outcome.counts, self.patch.files)
        except NotADiff as error:
            yield Violation(Rule.NOT_A_DIFF, f"line {error.line}", error.problem)
            return
        except GitFailed as error:
            yield Violation.at(Rule.DOES_NOT_APPLY, first, f"git refuses it: {error.facts['problem']}")
            return
        if outcome.changes != self.changes:
            paths = sorted(
                path
                for path in outcome.changes.keys() | self.changes.keys()
                if outcome.changes.get(path, "") != self.changes.get(path, "")
            )
            problem = f"git makes something else of {', '.join(paths[:5])} than the patch says"
            yield Violation.at(Rule.OTHER_RESULT, first, problem)
            return
        self.tree = outcome.tree


def _text(path: bytes | None) -> str:
    return path.decode() if path is not None else ""


def _index(file: FileDiff) -> tuple[str, str] | None:
    found = _INDEX.match(file.headers.get("index", b""))
    return (found[1].decode(), found[2].decode()) if found else None
