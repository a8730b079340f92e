"""Gaps that an earlier run of the repository knows about: fixed already, waiting for a person, or not to be fixed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property

from prefect_acms.canonical.gap import GapState, GapTrigger
from prefect_acms.canonical.patch import PatchState
from prefect_acms.canonical.task import TaskState
from prefect_acms.dao.gaps import GapRow
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.abilities import abilities_of, changed_abilities
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.fingerprints import content_of, renamed
from prefect_acms.tasks.gap_rows import gap_of
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.published import Published, PublishedState, published_of
from prefect_acms.tasks.reviews import Decision, is_due, review_of
from prefect_acms.tasks.selection import BASELINED, KNOWN

TAKE_UP = ""
"""What is known of a gap whose reason holds no longer."""

_TRIED = frozenset(
    {GapTrigger.NOT_FIXABLE, GapTrigger.STILL_PRESENT, GapTrigger.TASK_FAILED, GapTrigger.PATCH_QUARANTINED}
)
"""How a gap ends about which something was found out; any other was only not come to."""


def known_gaps(drive: Drive, gaps: Iterable[Gap]) -> dict[str, str]:
    """Why gaps need not be taken up, by fingerprint: the word of the last run that has found something out about them.

    It lapses with its reason: a branch that was merged or deleted, a review that nobody has answered, and for what
    could not be fixed a change of the tools, the patterns, the policy, the gates or one of the gap's files. Another
    name of a file is no such change.
    """
    found = {gap.fingerprint: gap for gap in gaps}
    here, run_id = str(drive.repository.top), drive.run_id
    with drive.reading() as dao:
        earlier = dao.gaps.earlier(here, run_id, list(found), not_reason=KNOWN)
        strangers = [gap for name, gap in found.items() if name not in earlier]
        endings = sorted({end for gap in strangers if (end := content_of(gap.fingerprint))})
        alike = dao.gaps.earlier_by_ending(here, run_id, endings, not_reason=KNOWN)
        moved = _moved(drive, alike, strangers) if alike else {}
        memory = _Memory(dao, drive, moved)
        told = {name: memory.of(rows) for name, rows in earlier.items()}
        told |= {gap.fingerprint: memory.of(alike[name]) for name, gap in moved.items()}
    return {name: reason for name, reason in told.items() if reason}


def _moved(drive: Drive, earlier: Mapping[str, Sequence[GapRow]], gaps: Sequence[Gap]) -> dict[str, Gap]:
    """By their fingerprint in earlier runs, the gaps whose file has another name now."""
    files = frozenset(drive.repository.files(drive.base_commit))
    before = [gap_of(rows[0]) for _, rows in sorted(earlier.items())]
    pairs = renamed(before, gaps, is_there=lambda path: path in files)
    return {old.fingerprint: new for old, new in pairs}


class _Memory:
    """One look at earlier runs, from one run."""

    def __init__(self, dao: UnitOfWork, drive: Drive, moved: Mapping[str, Gap]) -> None:
        self._dao = dao
        self._moved = moved
        self._drive = drive
        self._run = cache(dao.runs.get)
        self._changed_files = cache(self._files_changed_since)

    def of(self, rows: Sequence[GapRow]) -> str | None:
        """What is known of a gap by its rows in earlier runs, newest first: the first that says something counts."""
        return next((said for row in rows if (said := self._said(row)) is not None), None)

    def _said(self, row: GapRow) -> str | None:
        """Why the gap is not taken up, TAKE_UP once that holds no longer, None where its run did not come to it."""
        if row.workstream_id is None:
            if row.deferred_reason != BASELINED:
                return None
            own = self._drive.config.discovery.baseline
            return TAKE_UP if own else f"the baseline of run {row.run_id} knows it"
        run, tasks = self._run(row.run_id), self._tasks(row)
        entries = [entry for task in tasks for entry in self._dao.ledger.of_task(task.id) if self._touches(entry, row)]
        for entry in entries:
            if entry.state == PatchState.AWAITING_REVIEW and not is_due(entry, self._dao.store.clock()):
                return f"patch {entry.patch_id} of run {run.id} waits for a review"
        # a patch that was approved or tried again after the run's end leaves its gaps deferred
        came_later = any((entry.committed_at or "") > row.updated_at for entry in entries)
        if row.state == GapState.RESOLVED or came_later:
            return self._fixed(row, run, entries)
        return self._left_out(row, run, tasks, entries) if row.state == GapState.DEFERRED else None

    def _tasks(self, row: GapRow) -> list[TaskRow]:
        tasks = self._dao.tasks.standing(row.workstream_id or "")
        return [task for task in tasks if row.fingerprint in task.info.get("gaps", ())]

    def _touches(self, entry: LedgerRow, row: GapRow) -> bool:
        return bool(set(self._dao.patches.get(entry.patch_id).files) & set(row.file_paths))

    def _fixed(self, row: GapRow, run: RunRow, entries: Sequence[LedgerRow]) -> str:
        repository, branch = self._drive.repository, f"acms/{run.id}"
        head = repository.ref(f"refs/heads/{branch}")
        for entry in entries:
            commit = entry.commit_sha
            if entry.state != PatchState.COMMITTED or commit is None or head is None:
                continue
            on_branch = repository.find(commit) is not None and repository.is_ancestor(commit, head)
            if on_branch and not repository.is_ancestor(commit, self._drive.base_commit):
                return f"run {run.id} has fixed it by commit {commit[:10]} on branch {branch}, which is not merged yet"
        if (asked := self._asked_for(row, run)) is not None:
            return f"run {run.id} has fixed it, and its pull request {asked.url} is {asked.state}"
        taken_back = [entry for entry in entries if entry.state == PatchState.ROLLED_BACK]
        if not taken_back or self._has_changed(row, run):
            return TAKE_UP
        return f"its fix in run {run.id} was rolled back: {taken_back[-1].rollback_reason}"

    def _asked_for(self, row: GapRow, run: RunRow) -> Published | None:
        """The pull request that holds the fix, if it is open, or somebody has closed it without taking the fix."""
        key = self._dao.workstreams.get(row.workstream_id or "").info["key"]
        mine = (one for one in published_of(run) if one.workstream in {None, key})
        return next((one for one in mine if one.state in {PublishedState.OPEN, PublishedState.CLOSED}), None)

    def _left_out(self, row: GapRow, run: RunRow, tasks: Sequence[TaskRow], entries: Sequence[LedgerRow]) -> str | None:
        trigger = self._dao.transitions.of_entity("gap", row.id)[-1].trigger
        if trigger not in _TRIED:
            return None
        # a tool that did not even run has found nothing out; nor has a review that nobody has answered
        judged = any(task.state == TaskState.COMPLETED or task.exit_code is not None for task in tasks)
        answers = [review.decision for entry in entries if (review := review_of(entry)) is not None]
        if trigger != GapTrigger.NOT_FIXABLE and (not judged or Decision.EXPIRED in answers[-1:]):
            return TAKE_UP
        if self._has_changed(row, run):
            return TAKE_UP
        return f"run {run.id} could not fix it, and nothing has changed since: {row.deferred_reason}"

    def _has_changed(self, row: GapRow, run: RunRow) -> bool:
        """Whether what could change the outcome has changed since that run."""
        if changed_abilities(run, self._abilities):
            return True
        files = self._changed_files(run.base_commit or "")
        if files is None or row.fingerprint not in self._moved:
            return files is None or bool(files & set(row.file_paths))
        repository, now = self._drive.repository, self._drive.base_commit
        before = [repository.content(run.base_commit or "", path) for path in row.file_paths]
        return before != [repository.content(now, path) for path in self._moved[row.fingerprint].file_paths]

    def _files_changed_since(self, base: str) -> frozenset[str] | None:
        repository = self._drive.repository
        if not base or repository.find(base) is None:
            return None
        return frozenset(repository.changed_files(base, self._drive.base_commit))

    @cached_property
    def _abilities(self) -> dict[str, str]:
        return abilities_of(self._drive)
