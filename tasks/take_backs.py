"""Commits of patches that were taken out by hand: off the branch of their workstream, so that nobody merges them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.branch_moves import BranchMove
from prefect_acms.tasks.captures import on_branch
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.ending import has_landed
from prefect_acms.tasks.reverts import is_checked_out


def take_back(dao: UnitOfWork, drive: Drive, task: TaskRow, entries: Sequence[LedgerRow]) -> BranchMove | None:
    """The move that takes the commits of a task's entries off its workstream's branch; None when none is to go.

    Raises InvalidValue when they are not the last ones on it, or when somebody has it checked out.
    """
    repository = drive.repository
    found = on_branch(dao, drive, task, entries)
    going = {entry_id: commit for entry_id, commit in found.items() if not has_landed(drive, commit)}
    if not going:
        return None
    branch = dao.workstreams.get(task.workstream_id).branch
    ref, commits = f"refs/heads/{branch}", set(going.values())
    head = repository.resolve(ref)
    tail = repository.log(drive.base_commit, head)[-len(commits) :]
    if set(tail) != commits:
        _refuse(task, f"below other commits on branch {branch}", "the last on its branch; else fail its workstream")
    if is_checked_out(repository, ref):
        _refuse(task, f"on branch {branch}, which is checked out", "that another branch is checked out first")
    before = repository.resolve(f"{tail[0]}^")
    is_start = repository.is_ancestor(before, drive.result_head())
    entry = next(entry for entry in entries if entry.id in going)
    return BranchMove(drive, entry, ref, head, None if is_start else before)


def _refuse(task: TaskRow, value: str, expected: str) -> NoReturn:
    raise InvalidValue(field=f"the patch of task {task.id}", value=value, expected=expected)
