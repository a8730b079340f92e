"""What of a run has really landed in git: its commits, and the gaps that their trailers name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from prefect_acms.dao.gaps import GapRow
from prefect_acms.dao.runs import RunRow
from prefect_acms.tasks.git import run_git, text_of
from prefect_acms.tasks.repository import Repository

REVERTS = "ACMS-Reverts"
"""Trailer of a commit that takes another one back."""

_KEYS = ("ACMS-Run", "ACMS-Gap", REVERTS)
_TRAILERS = "%x09".join(f"%(trailers:key={key},valueonly,separator=%x20)" for key in _KEYS)


class Made(NamedTuple):
    """A commit that the ledger knows: the files of its patch, and whether that was rolled back, wherever it was."""

    commit: str
    files: Collection[str]
    is_back: bool


@dataclass(frozen=True, slots=True)
class Landed:
    """What git shows of a run: where its branch is, and which gaps its commits name."""

    branch: str | None = None
    head: str | None = None
    commits: frozenset[str] = frozenset()
    gaps: Mapping[str, str] = field(default_factory=dict)
    back: frozenset[str] = frozenset()
    """The gaps whose commit was reverted."""
    made: frozenset[str] = frozenset()
    """The commits of single patches, as the ledger knows them."""
    undone: frozenset[str] = frozenset()
    """The files of patches that were rolled back: what a re-scan once found of them is no proof any more."""

    def commit_of(self, gap: GapRow) -> str | None:
        """The commit that fixed a gap: the one that names it, or the one whose re-scan no longer found it."""
        if gap.fingerprint in self.back:
            return None
        named = self.gaps.get(gap.fingerprint)
        if named not in self.made and not self.undone.isdisjoint(gap.file_paths):
            return None
        proved_at = gap.info.get("proved_at")
        return named or (proved_at if proved_at in self.commits else None)


def landed_commits(repository: Repository, run: RunRow, made: Sequence[Made] = ()) -> Landed:
    """The run's commits on its result branch; once that is gone, those that were merged into what is checked out.

    A patch that was rolled back is back wherever that was done: `made` is what the ledger says of each.
    """
    if run.base_commit is None:
        return Landed()
    branch = f"acms/{run.id}"
    head = repository.ref(f"refs/heads/{branch}")
    asked = ["log", "--reverse", "--topo-order", f"--format=%H%x09{_TRAILERS}", head or "HEAD", f"^{run.base_commit}"]
    commits: list[str] = []
    gaps: dict[str, str] = {}
    reverted = {patch.commit for patch in made if patch.is_back}
    for line in text_of(run_git([*asked, "--"], cwd=repository.top)).splitlines():
        commit, runs, fingerprints, reverts = line.split("\t")
        commits.append(commit)
        if run.id in runs.split():
            gaps |= dict.fromkeys(fingerprints.split(), commit)
            reverted.update(reverts.split())
    back = frozenset(name for name, commit in gaps.items() if commit in reverted)
    standing = {name: commit for name, commit in gaps.items() if name not in back}
    return Landed(
        branch=branch if head else None,
        head=head,
        commits=frozenset(commits),
        gaps=standing,
        back=back,
        made=frozenset(patch.commit for patch in made),
        undone=frozenset(path for patch in made if patch.is_back for path in patch.files),
    )
