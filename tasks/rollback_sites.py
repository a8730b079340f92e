"""Where the reverts of a rollback go: on the run's own branch, or on a new one beside the branch it was merged into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from prefect_acms.canonical.errors import InvalidValue, RollbackRefused
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.reverts import in_order, is_checked_out
from prefect_acms.tasks.rollback_targets import Target
from prefect_acms.tasks.whereabouts import Whereabouts

TRAILER = "ACMS-Rollback"
"""Trailer of a revert: the patch that it rolls back, so that one that was cut off is found and not made twice."""

HEADS = "refs/heads/"
ROLLBACKS = f"{HEADS}acms/rollback/"


@dataclass(frozen=True, slots=True)
class Site:
    """The branch that the reverts go on, and where it is now; None: it is made at `tip`, where `onto` is."""

    ref: str
    tip: str
    old: str | None
    onto: str | None
    places: Whereabouts
    done: Mapping[str, str]
    """The commits that have taken back patches already, by the patch, whether or not it was recorded."""

    @property
    def branch(self) -> str:
        """The branch as its user calls it."""
        return self.ref.removeprefix(HEADS)

    def commit_of(self, entry: LedgerRow) -> str:
        """The commit whose change is to be taken back; raises RollbackRefused when it is not here."""
        found = self.places.commit_of(entry)
        if found is not None:
            return found
        own = f"its commit {str(entry.commit_sha)[:10]}"
        problem = (
            f"{own} is not on branch {self.branch}: say by --onto BRANCH where it was merged"
            if self.onto is None
            else f"on {self.onto} there is neither {own}, nor one that names it, nor one with the same diff"
        )
        raise RollbackRefused(what=f"patch {entry.patch_id}", problem=problem)


def find_site(drive: Drive, target: Target, onto: str | None) -> Site:
    """Where the target's reverts go; raises RollbackRefused, or InvalidValue when there is no branch `onto`.

    Without `onto` it is the branch that the run started from, if what is asked for was merged there; else the run's.
    """
    repository = drive.repository
    if onto is not None and repository.ref(f"{HEADS}{onto}") is None:
        raise InvalidValue(field="onto", value=onto, expected=f"a branch of {repository.top}")
    if onto is not None and f"{HEADS}{onto}" != drive.result_ref:
        return _beside(drive, target, onto)
    if onto is None and (merged := _merged_into(drive, target)):
        return _beside(drive, target, merged)
    head = repository.ref(drive.result_ref)
    if head is None:
        problem = f"branch acms/{drive.run_id} is gone: say by --onto BRANCH where it was merged"
        raise RollbackRefused(what=f"patch {target.asked[0].patch_id}", problem=problem)
    if is_checked_out(repository, drive.result_ref):
        problem = f"branch acms/{drive.run_id} is checked out: check out another one first"
        raise RollbackRefused(what=f"patch {target.asked[0].patch_id}", problem=problem)
    places = Whereabouts(repository, drive.base_commit, head, None)
    return Site(drive.result_ref, head, head, None, places, _done(repository, drive.base_commit, head))


def whole_run(drive: Drive, entries: Sequence[LedgerRow]) -> str | None:
    """The commit that has all of these entries behind it: the run's head, also after its branch was deleted."""
    repository = drive.repository
    head = repository.ref(drive.result_ref)
    if head is not None:
        return head
    commits = {str(entry.commit_sha) for entry in entries}
    if not commits or not all(repository.find(commit) for commit in commits):
        return None
    newest = in_order(repository, commits, drive.base_commit)[0]
    return newest if all(repository.is_ancestor(commit, newest) for commit in commits) else None


def _merged_into(drive: Drive, target: Target) -> str | None:
    """The branch that the run started from, if something that is asked for was merged into it."""
    branch: str | None = target.run.info.get("branch")
    head = drive.repository.ref(f"{HEADS}{branch}") if branch else None
    if branch is None or head is None:
        return None
    places = _places(drive, target, head)
    return branch if any(places.commit_of(entry) for entry in target.asked) else None


def _beside(drive: Drive, target: Target, onto: str) -> Site:
    """A new branch that starts where the user's is, or the one that was made by a rollback that was cut off."""
    repository = drive.repository
    head = str(repository.ref(f"{HEADS}{onto}"))
    wanted = {entry.patch_id for entry in target.asked}
    for number in count(1):
        ref = f"{ROLLBACKS}{target.name}" + (f"-{number}" if number > 1 else "")
        old = repository.ref(ref)
        tip = old or head
        done = _done(repository, drive.base_commit, tip)
        if old is None or wanted & done.keys():
            return Site(ref, tip, old, onto, _places(drive, target, head), done)
    raise AssertionError  # there is always a number that is free


def _places(drive: Drive, target: Target, head: str) -> Whereabouts:
    known = (*target.committed, *target.rolled_back)
    return Whereabouts(drive.repository, drive.base_commit, head, whole_run(drive, known))


def _done(repository: Repository, base: str, tip: str) -> dict[str, str]:
    return repository.trailers(base, tip, TRAILER)
