"""Rollback of a committed patch by its compensation plan: revert, gates, a clean tree, and only then the rows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from prefect_acms.canonical.errors import LostRace
from prefect_acms.canonical.events import Event, Notice
from prefect_acms.canonical.machine import Severity
from prefect_acms.canonical.patch import PatchTrigger
from prefect_acms.canonical.run import RunState
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.tasks.branch_moves import BranchMove, back_without_rows
from prefect_acms.tasks.driving import Drive, drive_run, release_run
from prefect_acms.tasks.ending import remove_worktrees
from prefect_acms.tasks.gate_rows import Subject, judged_tree
from prefect_acms.tasks.landing import REVERTS
from prefect_acms.tasks.orders import Order
from prefect_acms.tasks.preparation import baseline_of, prepared_worktree
from prefect_acms.tasks.reverts import rollback_message
from prefect_acms.tasks.rollback_plans import TRAILER, RollbackPlan, plan_rollback, refuse

ROLLBACK = "rollback"
"""Key of the worktree in which the reverted tree is judged."""


def rollback_patch(store: Store, order: Order) -> Sequence[Event]:
    """Take a committed patch back out of its run's branch, and record it; of an ended run too.

    Raises RunDriven, InvalidTransition for a patch that is not committed, and RollbackRefused when others build on it,
    when the gates object, or when the branch is gone; then branch and rows are as they were.
    """
    plan = plan_rollback(store, order.entity_id)
    drive = drive_run(plan.run.id, database=store.url)
    try:
        with drive.leased():
            compensation = _compensated(drive, plan, order)
            return _recorded(drive, plan, order, compensation)
    finally:
        with suppress(Exception):
            remove_worktrees(drive, only_own=True)
        release_run(drive)


def _compensated(drive: Drive, plan: RollbackPlan, order: Order) -> dict[str, Any]:
    """Make the revert, and let the gates judge it: what is stored of the plan once it has succeeded."""
    repository, now = drive.repository, drive.store.clock()
    revert = plan.done or repository.commit_tree(plan.tree, [plan.head], _message(drive, plan, order), now)
    baseline = baseline_of(drive)
    gates = baseline.passed(plan.tree)
    if gates is None:
        worktree, environment = prepared_worktree(drive, ROLLBACK, revert)
        worktree.reset(revert)
        touched = repository.changed_files(drive.base_commit, plan.tree)
        subject = Subject(plan.entry.workstream_id, entry_id=plan.entry.id)
        judged = judged_tree(drive, baseline, worktree, environment, touched=touched, subject=subject)
        if judged.objection is not None:
            refuse(plan.entry, f"without it the gates object: {judged.objection}")
        if worktree.tree() != plan.tree or worktree.changed_files():
            refuse(plan.entry, "the gates have left the tree changed")
        gates = judged.gate_ids
    return {"commit": plan.commit, "revert": revert, "before": plan.head, "tree": plan.tree, "gates": list(gates)}


def _message(drive: Drive, plan: RollbackPlan, order: Order) -> str:
    title = drive.repository.message(plan.commit).partition("\n")[0]
    trailers = [("ACMS-Run", drive.run_id), (TRAILER, plan.entry.patch_id), (REVERTS, plan.commit)]
    return rollback_message(title, drive.store.scrubber.text(order.reason), trailers)


def _recorded(drive: Drive, plan: RollbackPlan, order: Order, compensation: dict[str, Any]) -> Sequence[Event]:
    """Move the branch while nobody can take the run over, then the rows; without them the branch goes back."""
    move = BranchMove(drive, plan.entry, drive.result_ref, plan.head, str(compensation["revert"]))
    moves = [move] if plan.done is None else []
    with back_without_rows(moves), drive.begin() as dao:
        dao.check_epoch(drive.run_id, drive.epoch)
        _require_unchanged(dao, plan)
        for wanted in moves:
            wanted.make(dao)
        _advance(dao, plan, order, compensation)
        return tuple(dao.trail.events)


def _require_unchanged(dao: UnitOfWork, plan: RollbackPlan) -> None:
    found = dao.ledger.get(plan.entry.id).version
    if found != plan.entry.version:
        raise LostRace(entity="patch_ledger", id=plan.entry.id, seen=plan.entry.version, found=found)


def _advance(dao: UnitOfWork, plan: RollbackPlan, order: Order, compensation: dict[str, Any]) -> None:
    entry, run = plan.entry, plan.run
    dao.ledger.advance(
        entry.id,
        PatchTrigger.ROLLBACK_APPROVED,
        version=entry.version,
        facts={"compensated": True},
        rollback_reason=order.reason,
        rollback_compensation=compensation,
        **order.by,
    )
    order.note(dao.ledger, entry.id, revert=compensation["revert"])
    if run.state == RunState.SUCCEEDED:
        dao.runs.note(
            run.id,
            Notice.POST_SUCCESS_ROLLBACK,
            severity=Severity.CRITICAL,
            event_metadata={"patch": entry.patch_id, "revert": compensation["revert"]},
            **order.by,
        )
