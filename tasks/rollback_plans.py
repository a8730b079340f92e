"""The compensation plan of a rollback: what is taken back, in which order, why, and all that is refused before it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from prefect_acms.canonical.errors import RollbackRefused
from prefect_acms.canonical.outside_errors import RevertConflict
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.tasks.dependents import Dependents
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.landing import REVERTS
from prefect_acms.tasks.orders import drive_in_hand
from prefect_acms.tasks.reverts import first_in_the_way, in_order, reverted_trees
from prefect_acms.tasks.rollback_sites import Site, find_site, whole_run
from prefect_acms.tasks.rollback_targets import Target, later_tasks, target_of

CUT_OFF = "it was taken back by a rollback that was cut off"


@dataclass(frozen=True, slots=True)
class Step:
    """One patch that is taken back: the commit that holds it, why it has to go, and the tree without it."""

    entry: LedgerRow
    files: tuple[str, ...]
    commit: str
    why: str
    tree: str
    done: str | None
    """The commit that has reverted it already, if a rollback was cut off before it was recorded."""


@dataclass(frozen=True, slots=True)
class RollbackPlan:
    """The steps, the newest patch first, where their commits go, and what stays."""

    target: Target
    site: Site
    steps: tuple[Step, ...]
    gates: tuple[str, ...]
    left_alone: tuple[str, ...]

    @property
    def run(self) -> RunRow:
        """The run of the patches."""
        return self.target.run

    @property
    def tree(self) -> str:
        """What is left when all steps are taken."""
        return self.steps[-1].tree

    @property
    def what(self) -> str:
        """What is rolled back, as a refusal calls it."""
        asked = self.target.asked
        return f"patch {asked[0].patch_id}" if len(asked) == 1 else self.target.name


def plan_rollback(store: Store, name: str, *, onto: str | None = None, dependents: bool = True) -> RollbackPlan:
    """The plan to take back a patch, a workstream or a run by its id, with all that builds on it.

    Raises NotFound, InvalidValue, RunDriven, InvalidTransition, or RollbackRefused: also when something builds on it
    and `dependents` may not be rolled back with it. Nothing is changed.
    """
    with store.begin(read_only=True) as dao:
        target = target_of(dao, name)
        drive = drive_in_hand(dao, target.run)
        later = {entry.id: later_tasks(dao, entry.task_id) for entry in target.committed}
        files = {entry.id: tuple(dao.patches.get(entry.patch_id).files) for entry in target.committed}
        gates = _gates(dao, target.run.id)
    site = find_site(drive, target, onto)
    for entry in target.asked:
        site.commit_of(entry)
    reasons = _dependents(drive, target, site, later).reasons(target.asked)
    if not dependents and len(reasons) > len(target.asked):
        _refuse_dependents(target, reasons)
    # what one that was cut off has taken back as well is recorded with it
    cut_off = {entry.id: CUT_OFF for entry in target.committed if entry.patch_id in site.done}
    reasons = {**cut_off, **reasons}
    going = {entry.id: entry for entry in target.committed if entry.id in reasons}
    steps = _steps(drive, site, list(going.values()), files, reasons)
    left = tuple(entry.patch_id for entry in target.committed if entry.id not in going)
    return RollbackPlan(target, site, steps, gates, left)


def _dependents(drive: Drive, target: Target, site: Site, later: dict[str, set[str]]) -> Dependents:
    """The run's own history tells best what builds on what; once its branch is gone, that of the user's may."""
    repository = drive.repository
    tip = whole_run(drive, target.committed)
    if tip is None and all(repository.is_ancestor(str(row.commit_sha), site.tip) for row in target.committed):
        tip = site.tip
    back = {str(entry.commit_sha) for entry in target.rolled_back}
    back |= {str(entry.commit_sha) for entry in target.committed if entry.patch_id in site.done}
    reverts = repository.trailers(drive.base_commit, tip, REVERTS).values() if tip else ()
    return Dependents(
        repository, target.committed, later, drive.base_commit, tip, back | set(reverts), drive.store.clock()
    )


def _refuse_dependents(target: Target, reasons: dict[str, str]) -> None:
    asked = {entry.id for entry in target.asked}
    others = [
        f"{entry.patch_id} ({reasons[entry.id]})" for entry in target.committed if entry.id in reasons.keys() - asked
    ]
    problem = f"others build on it, roll them back first or with it: {'; '.join(others)}"
    what = f"patch {target.asked[0].patch_id}" if len(asked) == 1 else target.name
    raise RollbackRefused(what=what, problem=problem)


def _steps(
    drive: Drive, site: Site, going: Sequence[LedgerRow], files: dict[str, tuple[str, ...]], reasons: dict[str, str]
) -> tuple[Step, ...]:
    """The steps in the order in which they are taken: those first whose revert was found, then the newest patch."""
    repository = drive.repository
    entries = {site.commit_of(entry): entry for entry in going}
    ordered = in_order(repository, entries, drive.base_commit)
    done = [commit for commit in ordered if entries[commit].patch_id in site.done]
    open_ = [commit for commit in ordered if commit not in done]
    try:
        trees = reverted_trees(repository, open_, site.tip, drive.store.clock())
    except RevertConflict as conflict:
        what = f"patch {entries[str(conflict.facts['commit'])].patch_id}"
        raise RollbackRefused(what=what, problem=_in_the_way(drive, site, open_, conflict)) from conflict

    def step(commit: str, tree: str) -> Step:
        entry = entries[commit]
        return Step(entry, files[entry.id], commit, reasons[entry.id], tree, site.done.get(entry.patch_id))

    here = repository.tree_of(site.tip)
    pairs = [*((commit, here) for commit in done), *zip(open_, trees, strict=True)]
    return tuple(step(commit, tree) for commit, tree in pairs)


def _in_the_way(drive: Drive, site: Site, gone: Sequence[str], conflict: RevertConflict) -> str:
    """What on the user's branch is on the same lines."""
    repository, stuck, files = drive.repository, str(conflict.facts["commit"]), conflict.facts["files"]
    blamed = None
    if repository.is_ancestor(stuck, site.tip):
        passing = site.done.values()
        blamed = first_in_the_way(repository, gone, stuck, site.tip, drive.store.clock(), passing=passing)
    what = f"commit {blamed[:10]}" if blamed else "what came later"
    return f"{what} on {site.onto or site.branch} changes the same lines of {files}"


def _gates(dao: UnitOfWork, run_id: str) -> tuple[str, ...]:
    """The gates of the run, as they were run at its base commit, in a few words each."""
    found = {
        row.gate_type: f"{row.gate_type} ({row.command if isinstance(row.command, str) else shlex.join(row.command)})"
        for row in dao.test_gates.of_run(run_id)
        if row.info.get("base") and not row.info.get("unavailable")
    }
    return tuple(found.values())
