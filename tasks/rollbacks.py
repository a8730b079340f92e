"""Rollback of committed patches by their compensation plan: reverts, gates, a clean tree, and only then the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prefect_acms.canonical.errors import LostRace
from prefect_acms.canonical.events import Event, Notice
from prefect_acms.canonical.machine import Severity
from prefect_acms.canonical.patch import PatchTrigger
from prefect_acms.canonical.run import RunState
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.tasks.branch_moves import BranchMove, back_without_rows
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.landing import REVERTS
from prefect_acms.tasks.orders import By, Order
from prefect_acms.tasks.reverts import rollback_message
from prefect_acms.tasks.rollback_gates import judged_without
from prefect_acms.tasks.rollback_plans import RollbackPlan, Step, plan_rollback
from prefect_acms.tasks.rollback_sites import TRAILER
from prefect_acms.tasks.visiting import visited

OPERATOR = "ACMS-Operator"
"""Trailer of a revert: who has ordered it, for whoever records what was cut off."""

Tell = Callable[[UnitOfWork], None]


def rollback_patch(store: Store, order: Order) -> Sequence[Event]:
    """The override: take one committed patch back, with nothing that builds on it; raises as `plan_rollback` does."""
    plan = plan_rollback(store, order.entity_id, dependents=False)
    entry = plan.target.asked[0]

    def tell(dao: UnitOfWork) -> None:
        compensation = dao.ledger.get(entry.id).rollback_compensation or {}
        order.note(dao.ledger, entry.id, revert=compensation["revert"])

    return roll_back(store, plan, order.by, tell)


def roll_back(store: Store, plan: RollbackPlan, by: By, tell: Tell | None = None) -> Sequence[Event]:
    """Carry a plan out, whole or not at all, and record it; of an ended run too.

    Raises RunDriven, RollbackRefused when the gates object, LostRace or RefMoved when rows or branch are no longer as
    the plan has found them; then branch and rows are as they were. `tell` may put more into the same unit of work.
    """
    with visited(store, plan.run.id) as drive:
        reverts = _reverts(drive, plan, by)
        head = reverts[plan.steps[-1].entry.id]
        revert = head if plan.steps[-1].done is None else plan.site.tip
        gates = judged_without(drive, plan, revert, by["operator"])
        moves = [_move(drive, plan, head)] if plan.steps[-1].done is None else []
        with back_without_rows(moves), drive.begin() as dao:
            dao.check_epoch(drive.run_id, drive.epoch)
            for step in plan.steps:
                _require_unchanged(dao, step.entry)
            for move in moves:
                move.make(dao)
            for step in plan.steps:
                record(dao, step.entry, _compensation(plan, step, reverts[step.entry.id], gates), by)
            if tell is not None:
                tell(dao)
            notify(dao, plan.run, [step.entry.patch_id for step in plan.steps], plan.site.branch, by)
            return tuple(dao.trail.events)


def _reverts(drive: Drive, plan: RollbackPlan, by: By) -> Mapping[str, str]:
    """The commit that takes each step, on top of the one before."""
    repository, scrubbed, now = drive.repository, drive.store.scrubber.text, drive.store.clock()
    found: dict[str, str] = {}
    head = plan.site.tip
    for step in plan.steps:
        if step.done is None:
            title = repository.message(str(step.commit)).partition("\n")[0]
            trailers = [("ACMS-Run", drive.run_id), (TRAILER, step.entry.patch_id), (REVERTS, step.commit)]
            trailers.append((OPERATOR, " ".join(scrubbed(by["operator"]).split())))
            head = repository.commit_tree(
                step.tree, [head], rollback_message(title, scrubbed(by["reason"]), trailers), now
            )
        found[step.entry.id] = step.done or head
    return found


def _move(drive: Drive, plan: RollbackPlan, head: str) -> BranchMove:
    return BranchMove(drive, plan.steps[0].entry, plan.site.ref, plan.site.old, head)


def _compensation(plan: RollbackPlan, step: Step, revert: str, gates: Sequence[str]) -> dict[str, Any]:
    site = plan.site
    facts = {"commit": step.commit, "revert": revert, "before": site.tip, "tree": plan.tree, "gates": list(gates)}
    return {**facts, "branch": site.branch, "onto": site.onto, "why": step.why, "with": plan.target.name}


def _require_unchanged(dao: UnitOfWork, entry: LedgerRow) -> None:
    found = dao.ledger.get(entry.id).version
    if found != entry.version:
        raise LostRace(entity="patch_ledger", id=entry.id, seen=entry.version, found=found)


def record(dao: UnitOfWork, entry: LedgerRow, compensation: Mapping[str, Any], by: By) -> None:
    """Record that the plan has succeeded for one patch."""
    dao.ledger.advance(
        entry.id,
        PatchTrigger.ROLLBACK_APPROVED,
        version=entry.version,
        facts={"compensated": True},
        rollback_reason=by["reason"],
        rollback_compensation=dict(compensation),
        **by,
    )


def notify(dao: UnitOfWork, run: RunRow, patches: Sequence[str], branch: str, by: By) -> None:
    """Tell in the trail that a run which had succeeded has lost patches."""
    if run.state == RunState.SUCCEEDED:
        facts = {"patches": list(patches), "branch": branch}
        dao.runs.note(run.id, Notice.POST_SUCCESS_ROLLBACK, severity=Severity.CRITICAL, event_metadata=facts, **by)
