"""Rollbacks that were cut off between git and the store: the reverts are on their branch, and no row says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect_acms.canonical.patch import PatchState
from prefect_acms.canonical.test_gate import TestGateState
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.tasks.drift import Drift, DriftKind
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.landing import REVERTS
from prefect_acms.tasks.orders import take_in_hand
from prefect_acms.tasks.reports.text import count
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.rollback_sites import HEADS, ROLLBACKS, TRAILER
from prefect_acms.tasks.rollbacks import OPERATOR, notify, record


@dataclass(frozen=True)
class CutOff:
    """The reverts of one branch that were not recorded, the last one last; `gates` have found its tree good."""

    branch: str
    entries: Sequence[LedgerRow]
    reverts: Mapping[str, str]
    tree: str
    gates: tuple[str, ...]

    def drift(self, drive: Drive) -> Drift:
        """What was found, in a sentence; without gates nothing says that the plan had succeeded."""
        named = ", ".join(entry.patch_id for entry in self.entries)
        how_many = count(len(self.entries), "patch was", "patches were")
        told = f"{how_many} taken back on {self.branch}, and that was not recorded: {named}"
        repair = "recorded, as it was ordered" if self.gates else None
        return Drift.of(DriftKind.ROLLBACK, drive.run_id, named, told, repair=repair, needs_person=not self.gates)


def cut_off_rollbacks(dao: UnitOfWork, drive: Drive) -> list[CutOff]:
    """What was taken back on the run's branch, or on one of our branches beside a user's, and is committed still."""
    repository = drive.repository
    entries = {row.patch_id: row for row in dao.ledger.of_run(drive.run_id) if row.state == PatchState.COMMITTED}
    passed = [row for row in dao.test_gates.of_run(drive.run_id) if row.state == TestGateState.PASSED]
    found = []
    for ref in (drive.result_ref, *repository.refs(ROLLBACKS)) if entries else ():
        tip = repository.ref(ref)
        told = repository.trailers(drive.base_commit, tip, TRAILER) if tip else {}
        reverts = {patch: commit for patch, commit in told.items() if patch in entries}
        if reverts:
            tree = repository.tree_of(list(reverts.values())[-1])
            gates = tuple(row.id for row in passed if row.info.get("tree") == tree)
            branch = ref.removeprefix(HEADS)
            found.append(CutOff(branch, [entries.pop(patch) for patch in reverts], reverts, tree, gates))
    return found


def record_cut_off(store: Store, drive: Drive) -> None:
    """Record what was cut off under the name of who ordered it; what no gate has judged is left to a person."""
    with store.begin() as dao:
        run = take_in_hand(dao, drive.run_id)
        for found in cut_off_rollbacks(dao, drive):
            if found.gates:
                for entry in found.entries:
                    order = _order_of(drive.repository, found.reverts[entry.patch_id])
                    record(dao, entry, _compensation(drive.repository, found, entry), order)
                notify(dao, run, [entry.patch_id for entry in found.entries], found.branch, order)


def _order_of(repository: Repository, revert: str) -> Any:
    """Who ordered it and why, as the revert's own message says."""
    operator = next(iter(repository.trailers(f"{revert}^", revert, OPERATOR)), "unknown")
    return {"operator": operator, "reason": repository.message(revert).splitlines()[2]}


def _compensation(repository: Repository, found: CutOff, entry: LedgerRow) -> dict[str, Any]:
    revert = found.reverts[entry.patch_id]
    commit = next(iter(repository.trailers(f"{revert}^", revert, REVERTS)), entry.commit_sha)
    before = repository.resolve(f"{revert}^")
    return {"commit": commit, "revert": revert, "before": before, "tree": found.tree, "gates": list(found.gates)}
