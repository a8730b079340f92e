"""What a rollback takes back, and everything that can be refused before anything is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from prefect_acms.canonical.errors import MergeConflict, RollbackRefused
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.patch import PatchState, PatchTrigger
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.orders import drive_in_hand, require_undriven
from prefect_acms.tasks.patch_overrides import entry_of
from prefect_acms.tasks.reverts import builds_on, is_checked_out, reverted_tree

TRAILER = "ACMS-Rollback"
"""Trailer of a revert: the patch that it rolls back, so that one that was cut off is found and not made twice."""


@dataclass(frozen=True, slots=True)
class RollbackPlan:
    """What is to be taken back: the entry, its commit, and where the run's branch is now."""

    entry: LedgerRow
    run: RunRow
    commit: str
    head: str
    tree: str
    done: str | None
    """The commit that has reverted it already, if a rollback was cut off before it was recorded."""


def plan_rollback(store: Store, patch_or_entry: str) -> RollbackPlan:
    """The plan to take a patch back; raises InvalidTransition, RunDriven or RollbackRefused."""
    with store.begin(read_only=True) as dao:
        entry = entry_of(dao, patch_or_entry)
        MACHINES["patch_ledger"].candidates(entry.id, entry.state, PatchTrigger.ROLLBACK_APPROVED)
        run = require_undriven(dao, entry.run_id)
        drive = drive_in_hand(dao, run)
        later = _later_tasks(dao, entry)
        committed = [row for row in dao.ledger.of_run(run.id) if row.state == PatchState.COMMITTED]
        files = {row.id: frozenset(dao.patches.get(row.patch_id).files) for row in committed}
    repository, commit = drive.repository, str(entry.commit_sha)
    head = repository.ref(drive.result_ref)
    if head is None or not repository.is_ancestor(commit, head):
        refuse(entry, f"its commit {commit[:10]} is not on branch acms/{run.id}: revert it where it was merged")
    if is_checked_out(repository, drive.result_ref):
        refuse(entry, f"branch acms/{run.id} is checked out: check out another one first")
    dependents = [row.patch_id for row in committed if row.task_id in later]
    if dependents:
        refuse(entry, f"tasks that build on it have committed {_listed(dependents)}: roll back those first")
    done = repository.trailers(commit, head, TRAILER).get(entry.patch_id)
    if done is not None:
        return RollbackPlan(entry, run, commit, head, repository.tree_of(head), done)
    try:
        tree = reverted_tree(repository, commit, head, store.clock())
    except MergeConflict as conflict:
        own = files[entry.id]
        after = [row for row in committed if row.id != entry.id and files[row.id] & own]
        refuse(entry, _blamed(drive, commit, head, after, str(conflict.facts["files"])))
    return RollbackPlan(entry, run, commit, head, tree, None)


def _later_tasks(dao: UnitOfWork, entry: LedgerRow) -> set[str]:
    """The tasks that wait for the entry's task, at any distance."""
    found: set[str] = set()
    ahead = [entry.task_id]
    while ahead:
        for row in dao.task_links.dependents(ahead.pop()):
            if row.id not in found:
                found.add(row.id)
                ahead.append(row.id)
    return found


def _blamed(drive: Drive, commit: str, head: str, others: Sequence[LedgerRow], files: str) -> str:
    """Which later patches are on the same lines."""
    repository, now = drive.repository, drive.store.clock()
    after = set(repository.log(commit, head))
    later = [row for row in others if row.commit_sha in after]
    on_top = [row for row in later if builds_on(repository, str(row.commit_sha), commit, now)] or later
    if not on_top:
        return f"what was put on its branch later changes the same lines of {files}"
    return f"later patches are on the same lines: roll back {_listed([row.patch_id for row in on_top])} first"


def refuse(entry: LedgerRow, problem: str) -> NoReturn:
    """Raise RollbackRefused."""
    raise RollbackRefused(patch_id=entry.patch_id, problem=problem)


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(sorted(set(ids)))
