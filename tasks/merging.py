"""The end of a workstream: merged into the run's branch one at a time, after the gates have judged the merged tree."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from prefect_acms.canonical.gap import GapState
from prefect_acms.canonical.outside_errors import MergeConflict, SourceFailed
from prefect_acms.canonical.patch import PatchState, PatchTrigger
from prefect_acms.canonical.task import TaskState
from prefect_acms.canonical.verdicts import (
    Child,
    PatchFact,
    Verdict,
    prerequisites_lost,
    quarantine_fails_workstream,
    workstream_verdict,
)
from prefect_acms.canonical.workstream import WorkstreamState, WorkstreamTrigger
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.dao.workstreams import WorkstreamRow
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.ending import end_patches, has_landed, landed_commit
from prefect_acms.tasks.fates import defer_gaps, errors_of, resolve_gaps
from prefect_acms.tasks.gap_rows import gap_of
from prefect_acms.tasks.gate_rows import Subject, judged_tree
from prefect_acms.tasks.preparation import baseline_of, prepared_worktree
from prefect_acms.tasks.rescans import Rescanner

MERGE = "merge"
"""Key of the worktree in which merged trees are judged."""


def settle(drive: Drive, workstream_id: str) -> None:
    """End a workstream whose tasks have all ended: merge it, or record why not, and give each of its gaps its fate."""
    with drive.begin() as dao:
        workstream = _derive(dao, drive, workstream_id)
    if workstream.state == WorkstreamState.VALIDATING:
        with drive.merging:
            _merge(drive, workstream)
    with drive.begin() as dao:
        defer_gaps(dao, workstream_id)


def _derive(dao: UnitOfWork, drive: Drive, workstream_id: str) -> WorkstreamRow:
    """Move the workstream to what its tasks say."""
    workstream = dao.workstreams.get(workstream_id)
    tasks = dao.tasks.standing(workstream_id)
    verdict = workstream_verdict(workstream.state, [Child(task.state, task.is_critical) for task in tasks])
    errors = errors_of(tasks) or "not all of its tasks could be run"
    match verdict:
        case Verdict.VALIDATING if quarantine_fails_workstream(_patches(dao, workstream_id)):
            reason = "a patch of a critical task is quarantined"
            end_patches(dao, drive, _answered(dao, workstream_id), reason)
            dao.workstreams.advance(workstream_id, WorkstreamTrigger.QUARANTINED_PATCH, error=reason)
        case Verdict.VALIDATING:
            dao.workstreams.advance(workstream_id, WorkstreamTrigger.ALL_TASKS_COMPLETED)
        case Verdict.FAILED:
            critical = any(task.is_critical and task.state == "failed" for task in tasks)
            trigger = WorkstreamTrigger.CRITICAL_TASK_FAILED if critical else WorkstreamTrigger.INCOMPLETE
            end_patches(dao, drive, _answered(dao, workstream_id), errors)
            dao.workstreams.advance(workstream_id, trigger, error=errors)
        case Verdict.CANCELLED:
            dao.workstreams.advance(workstream_id, WorkstreamTrigger.RUN_ENDED, reason=errors)
        case _:
            _never_started(dao, workstream, errors)
    return dao.workstreams.get(workstream_id)


def _never_started(dao: UnitOfWork, workstream: WorkstreamRow, errors: str) -> None:
    """A workstream none of whose tasks could start: a prerequisite is lost."""
    if workstream.state not in {WorkstreamState.PLANNED, WorkstreamState.BLOCKED, WorkstreamState.READY}:
        return
    lost = prerequisites_lost(row.state for row in dao.workstreams.prerequisites(workstream.id))
    if workstream.state == WorkstreamState.READY or not lost:
        dao.workstreams.advance(workstream.id, WorkstreamTrigger.RUN_ENDED, reason=errors)
        return
    if workstream.state == WorkstreamState.PLANNED:
        dao.workstreams.advance(workstream.id, WorkstreamTrigger.DEPENDENCY_UNSATISFIED)
    dao.workstreams.advance(workstream.id, WorkstreamTrigger.DEPENDENCY_UNSATISFIABLE, error=errors)


def _answered(dao: UnitOfWork, workstream_id: str) -> list[LedgerRow]:
    """The workstream's patches but those that wait for a person: they may be answered after the run, or expire."""
    entries = dao.ledger.of_workstream(workstream_id)
    return [entry for entry in entries if entry.state != PatchState.AWAITING_REVIEW]


def _patches(dao: UnitOfWork, workstream_id: str) -> list[PatchFact]:
    critical = {task.id: task.is_critical for task in dao.tasks.of_workstream(workstream_id)}
    entries = dao.ledger.of_workstream(workstream_id)
    replaced = {entry.supersedes for entry in entries}
    return [PatchFact(entry.state, entry.id in replaced, critical[entry.task_id]) for entry in entries]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """What the run's branch would become: its parents, its tree, and the commit if there is one already."""

    target: str
    tree: str
    commit: str | None


def _merge(drive: Drive, workstream: WorkstreamRow) -> None:
    with drive.reading() as dao:
        tasks = dao.tasks.standing(workstream.id)
        verified = verified_patches(dao, workstream)
    if open_tasks := [task.id for task in tasks if task.state != TaskState.COMPLETED]:
        _reject(drive, workstream, f"not all of its tasks are completed: {', '.join(open_tasks)}")
        return
    if is_merged(drive, workstream, verified):
        _record(drive, workstream)
        return
    head = _head(drive, workstream, verified)
    if missing := [row for row in verified if not (landed_commit(drive, row) or _is_on(drive, row, head))]:
        patches = ", ".join(row.patch_id for row in missing)
        _reject(drive, workstream, f"branch {workstream.branch} is lost, or has lost commits: {patches} is not on it")
        return
    try:
        candidate = _candidate(drive, head)
        objection = _judge_merged(drive, workstream, candidate)
    except MergeConflict as error:
        objection = str(error)
    if objection is not None:
        _reject(drive, workstream, objection)
        return
    _move(drive, workstream, candidate, head)
    _record(drive, workstream)


def _reject(drive: Drive, workstream: WorkstreamRow, objection: str) -> None:
    with drive.begin() as dao:
        end_patches(dao, drive, _answered(dao, workstream.id), objection)
        dao.workstreams.advance(workstream.id, WorkstreamTrigger.VALIDATION_FAILED, error=objection)


def verified_patches(dao: UnitOfWork, workstream: WorkstreamRow) -> list[LedgerRow]:
    """The workstream's patches that are to be committed by its merge."""
    return [entry for entry in dao.ledger.of_workstream(workstream.id) if entry.state == PatchState.VERIFIED]


def is_merged(drive: Drive, workstream: WorkstreamRow, verified: Sequence[LedgerRow]) -> bool:
    """Whether all that the workstream has made is on the run's branch; a branch that is not there says nothing."""
    head = drive.repository.ref(f"refs/heads/{workstream.branch}")
    return (head is None or has_landed(drive, head)) and all(landed_commit(drive, entry) for entry in verified)


def _head(drive: Drive, workstream: WorkstreamRow, verified: Sequence[LedgerRow]) -> str:
    """The tip of the workstream's branch; one that was lost is put back where the last of its patches was committed."""
    repository, ref = drive.repository, f"refs/heads/{workstream.branch}"
    head = repository.ref(ref)
    if head is not None:
        return head
    commits = [str(entry.info["commit"]) for entry in verified if repository.find(str(entry.info.get("commit")))]
    tips = [tip for tip in commits if all(repository.is_ancestor(commit, tip) for commit in commits)]
    if len(commits) < len(verified) or not tips:
        return drive.result_head()
    drive.move_ref(ref, tips[0], None)
    return tips[0]


def _is_on(drive: Drive, entry: LedgerRow, head: str) -> bool:
    commit = str(entry.info.get("commit"))
    return drive.repository.find(commit) is not None and drive.repository.is_ancestor(commit, head)


def _candidate(drive: Drive, head: str) -> _Candidate:
    repository = drive.repository
    target = drive.result_head()
    if repository.is_ancestor(target, head):
        return _Candidate(target, repository.tree_of(head), head)
    return _Candidate(target, repository.merge_tree(target, head), None)


def _judge_merged(drive: Drive, workstream: WorkstreamRow, candidate: _Candidate) -> str | None:
    """What the gates have against the merged tree; a tree that they have found good already is not judged twice."""
    baseline = baseline_of(drive)
    if baseline.passed(candidate.tree) is not None:
        return None
    worktree, environment = prepared_worktree(drive, MERGE, candidate.target)
    worktree.reset(candidate.target)
    worktree.reset(candidate.tree)
    touched = drive.repository.changed_files(drive.base_commit, candidate.tree)
    judged = judged_tree(drive, baseline, worktree, environment, touched=touched, subject=Subject(workstream.id))
    worktree.reset(candidate.target)
    return f"merged with what the run has so far: {judged.objection}" if judged.objection else None


def _move(drive: Drive, workstream: WorkstreamRow, candidate: _Candidate, head: str) -> None:
    """Move the run's branch by compare-and-swap, after the epoch was checked."""
    repository = drive.repository
    commit = candidate.commit or repository.commit_tree(
        candidate.tree,
        [candidate.target, head],
        f"Merge {workstream.name}\n\nACMS-Run: {drive.run_id}\n",
        drive.store.clock(),
    )
    with drive.begin() as dao:
        dao.workstreams.change(workstream.id, metadata={"merge": commit})
    drive.move_ref(drive.result_ref, commit, candidate.target if repository.ref(drive.result_ref) else None)


def _record(drive: Drive, workstream: WorkstreamRow) -> None:
    remaining = remaining_gaps(drive, workstream)
    with drive.begin() as dao:
        complete(dao, drive, workstream, remaining)


def complete(dao: UnitOfWork, drive: Drive, workstream: WorkstreamRow, remaining: Collection[str], **said: Any) -> None:
    """Everything that the merge means, in one unit of work: patches committed, gaps resolved, workstream completed.

    Only what is on the run's branch is committed; raises GuardRefused when that is not all. `said` is who wants it.
    """
    verified = verified_patches(dao, workstream)
    merged = is_merged(drive, workstream, verified)
    for entry in verified:
        if commit := landed_commit(drive, entry):
            dao.ledger.advance(entry.id, PatchTrigger.COMMIT_SUCCEEDED, commit_sha=commit, **said)
    resolve_gaps(dao, workstream.id, remaining=remaining, merged_into=drive.result_head(), **said)
    dao.workstreams.advance(workstream.id, WorkstreamTrigger.VALIDATION_PASSED, facts={"merged": merged}, **said)


def remaining_gaps(drive: Drive, workstream: WorkstreamRow) -> frozenset[str]:
    """The fingerprints that the gaps' own sources still find in the result, edited lines counted as still there."""
    with drive.reading() as dao:
        gaps = [gap_of(row) for row in dao.gaps.of_workstream(workstream.id) if row.state == GapState.IN_PROGRESS]
    if not gaps:
        return frozenset()
    worktree, environment = prepared_worktree(drive, MERGE, drive.result_head())
    worktree.reset(drive.result_head())
    files = {path for gap in gaps for path in gap.file_paths}
    try:
        kept = Rescanner.of(drive, worktree, environment, gaps).compared(gaps, files).kept
    except SourceFailed:
        # What can't be proved is not resolved.
        return frozenset(gap.fingerprint for gap in gaps)
    return frozenset(gap.fingerprint for gap in kept)


def drop_merged_branches(drive: Drive) -> None:
    """Delete the branches of workstreams whose commits are on the run's branch; the others stay, as evidence."""
    repository = drive.repository
    result = repository.ref(drive.result_ref)
    for ref, commit in repository.refs(drive.workstream_ref("")).items():
        if result is not None and repository.is_ancestor(commit, result):
            repository.delete_ref(ref, commit)
