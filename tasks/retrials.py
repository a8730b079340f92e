"""Retrials: a patch that was left out is brought in later, judged like any other on the run's branch as it is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from prefect_acms.canonical.errors import NotARepository, RepositoryUnfit, RetryRefused, ReviewClosed, ReviewVoid
from prefect_acms.canonical.outside_errors import MergeConflict
from prefect_acms.canonical.overrides import Override
from prefect_acms.canonical.patch import PatchState, PatchTrigger
from prefect_acms.canonical.verdicts import ENDED_TASK
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.patches import PatchRow
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.admission import Gatekeeper
from prefect_acms.tasks.bench import Bench
from prefect_acms.tasks.branch_moves import BranchMove, back_without_rows
from prefect_acms.tasks.captures import REDACTED
from prefect_acms.tasks.commits import commits_of
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.ending import end_patches
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.orders import By, require_undriven
from prefect_acms.tasks.overrides import override
from prefect_acms.tasks.preparation import baseline_of
from prefect_acms.tasks.quarantine import forget_tree
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.reverts import carried_tree, is_checked_out
from prefect_acms.tasks.reviews import Decision, decide, is_open, review_of
from prefect_acms.tasks.run_files import refresh_files
from prefect_acms.tasks.suspension import wake
from prefect_acms.tasks.trials import Kept, Trials
from prefect_acms.tasks.visiting import visited

_IN_ITS_PLACE = frozenset({PatchState.AWAITING_REVIEW, PatchState.COMMITTED})


@dataclass(frozen=True, slots=True)
class Retrial:
    """What became of a patch: `commit` is where it is on the run's branch, `reason` why it is not, or not yet."""

    id: str
    entry_id: str
    state: str
    commit: str | None = None
    reason: str | None = None

    @property
    def went_well(self) -> bool:
        """Whether it is where it was to be: not put aside instead."""
        return self.state != PatchState.QUARANTINED

    @property
    def sentence(self) -> str:
        """What became of it, as a person is told."""
        at = f" at {self.commit[:10]}" if self.commit else ""
        return f"patch {self.id}: {self.state}{at}" + (f": {self.reason}" if self.reason else "")


def retry_patch(store: Store, entry_id: str, by: By) -> Retrial:
    """Make a new patch of a quarantined one and bring it in; the old one is dropped once its successor is kept.

    Raises RunDriven, RetryRefused when it can't even be tried, and what setting up a worktree raises.
    """
    with store.begin(read_only=True) as dao:
        entry = dao.ledger.get(entry_id)
        require_undriven(dao, entry.run_id)
        patch, task = _retryable(dao, entry)
    with visited(store, entry.run_id) as drive:
        retry = _Retry(drive, entry, patch, task, by)
        outcome = retry.cut_off() or retry.bring_in()
    refresh_files(store, entry.run_id)
    return outcome


def approve_patch(store: Store, entry_id: str, by: By) -> Retrial:
    """Approve a patch that waits: its driver goes on with it, or, when its task has ended, it is brought in here.

    Raises ReviewClosed, ReviewVoid when diff or base have changed (then a new patch has taken its place, and is asked
    about anew), and RunDriven while the run of an ended task still goes on.
    """
    with store.begin() as dao:
        entry = dao.ledger.get(entry_id)
        patch, task = dao.patches.get(entry.patch_id), dao.tasks.get(entry.task_id)
        review = review_of(entry)
        if review is None or not is_open(entry):
            raise ReviewClosed(patch_id=patch.id, state=entry.state)
        if task.state not in ENDED_TASK:
            decide(dao, entry_id, Decision.APPROVED, **by)
        else:
            require_undriven(dao, entry.run_id)
    if task.state not in ENDED_TASK:
        return Retrial(patch.id, entry.id, PatchState.QUEUED.value, reason=_woken(store, entry.run_id))
    with visited(store, entry.run_id) as drive:
        is_same = drive.repository.tree_of(drive.result_head()) == review.base
        # one that was approved already was cut off before it was brought in
        if is_same and entry.state == PatchState.AWAITING_REVIEW:
            with drive.begin() as dao:
                decide(dao, entry_id, Decision.APPROVED, **by)
        outcome = _Retry(drive, entry, patch, task, by).bring_in()
    refresh_files(store, entry.run_id)
    if not is_same:
        problem = f"the run's branch has moved on; patch {outcome.id} has taken its place and is {outcome.state}"
        raise ReviewVoid(patch_id=patch.id, problem=problem)
    return outcome


def reject_patch(store: Store, entry_id: str, by: By) -> Retrial:
    """Reject a patch that waits; its driver goes on without it. Raises ReviewClosed."""
    with store.begin() as dao:
        decide(dao, entry_id, Decision.REJECTED, **by)
        entry = dao.ledger.get(entry_id)
    refresh_files(store, entry.run_id)
    return Retrial(entry.patch_id, entry.id, entry.state, reason=_woken(store, entry.run_id))


def _woken(store: Store, run_id: str) -> str | None:
    waking = wake(store, run_id)
    return waking.sentence if waking else None


def drop_quarantined(store: Store, entry_id: str, by: By) -> Retrial:
    """Drop a quarantined patch, and let git clean up its tree; raises InvalidTransition for any other."""
    override(store, Override.DROP_PATCH, entry_id, **by)
    with store.begin(read_only=True) as dao:
        entry = dao.ledger.get(entry_id)
        top = Path(dao.runs.get(entry.run_id).repo_root)
    # A repository that is gone keeps nothing any more.
    with suppress(NotARepository, RepositoryUnfit):
        forget_tree(Repository.open(top), entry)
    return Retrial(entry.patch_id, entry.id, entry.state)


def _retryable(dao: UnitOfWork, entry: LedgerRow) -> tuple[PatchRow, TaskRow]:
    """The patch and its task; raises RetryRefused."""
    patch, task = dao.patches.get(entry.patch_id), dao.tasks.get(entry.task_id)
    if entry.state != PatchState.QUARANTINED:
        _refuse(patch, f"it is {entry.state}, not quarantined")
    if task.state not in ENDED_TASK:
        _refuse(patch, f"its task is still {task.state}: go on with run {entry.run_id} first")
    if REDACTED in patch.info:
        _refuse(patch, "it holds a secret, and is stored without it")
    for later in dao.ledger.superseded_by(entry.id):
        if later.state in _IN_ITS_PLACE:
            _refuse(patch, f"patch {later.patch_id} has taken its place and is {later.state}")
    return patch, task


def _refuse(patch: PatchRow, problem: str) -> NoReturn:
    raise RetryRefused(patch_id=patch.id, problem=problem)


@dataclass(frozen=True, slots=True)
class _Retry:
    """One patch that is brought in again, in the hands of who drives its run for that."""

    drive: Drive
    entry: LedgerRow
    patch: PatchRow
    task: TaskRow
    by: By

    def cut_off(self) -> Retrial | None:
        """Settle a retry that was cut off; what became of it, if it has reached the branch after all."""
        with self.drive.begin() as dao:
            end_patches(
                dao,
                self.drive,
                dao.ledger.superseded_by(self.entry.id),
                "its retry was cut off",
                operator=self.by["operator"],
            )
            for later in dao.ledger.superseded_by(self.entry.id):
                if later.state == PatchState.COMMITTED:
                    self._drop(dao, later)
                    return Retrial(later.patch_id, later.id, later.state, later.commit_sha)
        return None

    def bring_in(self) -> Retrial:
        """Try the diff on the run's branch as it is now, and put on it what stays."""
        if is_checked_out(self.drive.repository, self.drive.result_ref):
            _refuse(self.patch, f"branch acms/{self.drive.run_id} is checked out: check out another one first")
        head = self.drive.result_head()
        diff = self._carried(head)
        bench = Bench.of(self.drive, self.task, head)
        before = bench.rescanner.found(bench.files)
        profile = self.drive.toolbox.get(self.task.tool_id or "")
        trials = Trials(bench, Gatekeeper(bench, baseline_of(self.drive), profile, waits=False), before, self.entry.id)
        trials.bring_in(diff)
        if trials.kept:
            return self._landed(bench, trials.kept, before)
        rejected = trials.rejected[0]
        with self.drive.reading() as dao:
            entry = dao.ledger.get(rejected.entry_id)
        return Retrial(entry.patch_id, entry.id, entry.state, reason=rejected.refusal.reason)

    def _carried(self, head: str) -> bytes:
        """The diff for the tree that the branch has now; one that was never applied stays as it is.

        Raises RetryRefused when the same lines have changed since.
        """
        repository, review = self.drive.repository, review_of(self.entry)
        evidence = self.entry.quarantine_metadata or {}
        before = review.base if review else evidence.get("before")
        after = review.tree if review else evidence.get("tree")
        if before is None or after is None or before == repository.tree_of(head):
            return self.patch.content
        try:
            tree = carried_tree(repository, before, after, head, self.drive.store.clock())
        except MergeConflict as conflict:
            _refuse(self.patch, f"the same lines of {conflict.facts['files']} have changed since")
        return repository.diff(head, tree)

    def _drop(self, dao: UnitOfWork, successor: LedgerRow) -> None:
        """Drop every quarantined patch in whose place, at any distance, this one is kept."""
        before: str | None = self.entry.id
        while before is not None:
            entry = dao.ledger.get(before)
            if entry.state == PatchState.QUARANTINED:
                reason = f"patch {successor.patch_id} has taken its place: {self.by['reason']}"
                dao.ledger.advance(entry.id, PatchTrigger.DISCARDED, reason=reason, operator=self.by["operator"])
            before = entry.supersedes

    def _landed(self, bench: Bench, kept: Sequence[Kept], before: Sequence[Gap]) -> Retrial:
        """Put the kept patches on the run's branch, and their rows with it, or neither; the old one is dropped then."""
        drive = self.drive
        commits = commits_of(bench, kept, before)
        with drive.reading() as dao:
            entries = [dao.ledger.get(entry_id) for entry_id in commits]
        head = commits[entries[-1].id]
        move = BranchMove(drive, entries[0], drive.result_ref, drive.repository.ref(drive.result_ref), head)
        try:
            with back_without_rows([move]), drive.begin() as dao:
                move.make(dao)
                for entry in entries:
                    dao.ledger.advance(entry.id, PatchTrigger.COMMIT_SUCCEEDED, commit_sha=commits[entry.id], **self.by)
                self._drop(dao, entries[0])
        except Exception as error:
            with drive.begin() as dao:
                for entry in entries:
                    dao.ledger.advance(entry.id, PatchTrigger.COMMIT_FAILED, quarantine_reason=str(error))
            raise
        with drive.reading() as dao:
            dropped = [entry for entry in dao.ledger.of_task(self.task.id) if entry.state == PatchState.DROPPED]
        for entry in dropped:
            forget_tree(drive.repository, entry)
        return Retrial(entries[0].patch_id, entries[0].id, PatchState.COMMITTED.value, commit=commits[entries[0].id])
