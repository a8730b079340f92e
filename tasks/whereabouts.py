"""Where on a branch the change of a patch is: as its own commit, as a copy of it, or inside a squashed one."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.tasks.git import run_git, text_of
from prefect_acms.tasks.repository import DIFF_FORM, Repository

NAMED = re.compile(r"^\s*ACMS-Patch: (\S+)\s*$", re.MULTILINE)
"""A patch in the message of a commit: a trailer, or what a squash has made of one."""


@dataclass(frozen=True)
class Whereabouts:
    """The changes of a run on a branch that ends at `head`; `whole` is the run's own head, if it is still known."""

    repository: Repository
    base: str
    head: str
    whole: str | None

    def commit_of(self, entry: LedgerRow) -> str | None:
        """The commit that holds the patch's change and no other, on the branch or not; None: it is not on the branch.

        That is the run's own as long as it is known: a rebase or a squash may have brought more than the patch.
        """
        holder, own = self.holder_of(entry), str(entry.commit_sha)
        if holder is None or self.repository.find(own):
            return holder and own
        is_alone = holder != self._whole_on_branch and len(self._names[holder]) <= 1
        return holder if is_alone else None

    def holder_of(self, entry: LedgerRow) -> str | None:
        """The commit of the branch that brought the patch's change there; None: it is not on the branch.

        A merge or a fast-forward brings the run's own. A rebase brings one with the patch's trailer or patch-id, a
        squash one that names it among others, or that has the patch-id of the whole run.
        """
        own = str(entry.commit_sha)
        if self.repository.is_ancestor(own, self.head):
            return own
        copy = self._by_name.get(entry.patch_id)
        if copy is None and self.repository.find(own):
            copy = self._by_diff.get(self._patch_id(f"{own}^", own))
        return copy or self._whole_on_branch

    def landing_of(self, commits: Collection[str]) -> str | None:
        """The oldest commit of the branch's own line, its first parents, that has any of these commits behind it."""
        line = text_of(self._git("rev-list", "--reverse", "--first-parent", self.head, f"^{self.base}")).split()
        return next((step for step in line if any(self.repository.is_ancestor(one, step) for one in commits)), None)

    @cached_property
    def _names(self) -> Mapping[str, frozenset[str]]:
        """The patches that each commit names, in its trailers or in what a squash made of them."""
        told = self._git("log", "-z", "--no-merges", "--format=%H%n%B", self.head, f"^{self.base}")
        parts = [part.partition("\n") for part in text_of(told).split("\0")]
        return defaultdict(frozenset, {commit: frozenset(NAMED.findall(text)) for commit, _, text in parts})

    @cached_property
    def _by_name(self) -> Mapping[str, str]:
        return {patch: commit for commit, patches in self._names.items() for patch in patches}

    @cached_property
    def _by_diff(self) -> Mapping[str, str]:
        """The commits by patch-id."""
        listed = self._git("rev-list", "--no-merges", self.head, f"^{self.base}").stdout
        shown = run_git(["diff-tree", "--stdin", *DIFF_FORM], cwd=self.repository.top, input=listed)
        return dict(self._ids_of(shown.stdout))

    @cached_property
    def _whole_on_branch(self) -> str | None:
        """The commit of the branch that is all that the run has made, if there is one."""
        return self._by_diff.get(self._patch_id(self.base, self.whole)) if self.whole is not None else None

    def _patch_id(self, old: str, new: str) -> str:
        diff = b"commit " + b"0" * 40 + b"\n\n" + self.repository.diff(old, new)
        return next((patch for patch, _ in self._ids_of(diff)), "")

    def _ids_of(self, shown: bytes) -> list[tuple[str, str]]:
        """The patch-id of each diff that follows the name of a commit, and that name."""
        done = run_git(["patch-id", "--stable"], cwd=self.repository.top, input=shown)
        pairs = [line.split(" ", 1) for line in text_of(done).splitlines()]
        return [(patch, commit) for patch, commit in pairs]

    def _git(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return run_git(arguments, cwd=self.repository.top)
