"""The end of a run that does not succeed: children first, in one unit of work."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prefect_acms.canonical.gap import GapState, GapTrigger
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.outside_errors import GitFailed
from prefect_acms.canonical.patch import PatchState, PatchTrigger
from prefect_acms.canonical.run import RunState, RunTrigger
from prefect_acms.canonical.task import TaskTrigger
from prefect_acms.canonical.test_gate import TestGateState, TestGateTrigger
from prefect_acms.canonical.uet_worker import UetWorkerState, UetWorkerTrigger
from prefect_acms.canonical.verdicts import patch_on_run_end, patch_trigger_on_run_end
from prefect_acms.canonical.worker import WorkerState, WorkerTrigger
from prefect_acms.canonical.workstream import WorkstreamTrigger
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.dao.test_gates import TestGateRow
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.faults import is_out_of_room
from prefect_acms.tasks.scratch import clear_scratch
from prefect_acms.tasks.worktrees import adopt_worktree

CANCELLED_EXIT_CODE = -signal.SIGTERM


def end_run(
    drive: Drive,
    trigger: RunTrigger,
    reason: str,
    *,
    operator: str | None = None,
    tell: Callable[[UnitOfWork], None] | None = None,
) -> None:
    """Cancel or fail a run: stop its tools, put its worktrees away, end its children, then the run itself.

    A run that has ended already stays as it is, so that this may be told more than once; one that has never started
    can only be canceled. What `tell` notes goes into the trail together with the end. Raises Superseded when somebody
    else drives it: then its worktrees are theirs.
    """
    drive.stop()
    with drive.ending() as dao:
        dao.check_epoch(drive.run_id, drive.epoch)
    remove_worktrees(drive)
    with drive.ending() as dao:
        run = dao.runs.get(drive.run_id)
        if run.state in MACHINES["run"].terminal:
            return
        if run.state == RunState.PENDING:
            dao.runs.advance(drive.run_id, RunTrigger.USER_CANCELLED, reason=reason, operator=operator)
            return
        _end_children(dao, drive, reason, operator, cancelled=trigger is RunTrigger.USER_CANCELLED)
        columns: dict[str, Any] = {}
        if trigger in {RunTrigger.RUN_CRASHED, RunTrigger.INCOMPLETE, RunTrigger.CRITICAL_WORKSTREAM_FAILED}:
            columns["error"] = reason
        if trigger in {RunTrigger.SAFETY_VIOLATION, RunTrigger.UNRESOLVED_OUTCOME}:
            columns["quarantine_reason"] = reason
        dao.runs.advance(drive.run_id, trigger, reason=reason, operator=operator, **columns)
        if tell is not None:
            tell(dao)


@contextmanager
def stopping_tools(drive: Drive) -> Iterator[None]:
    """A block whose threads do not outlive it: if it is left by an exception, what they wait for is stopped."""
    try:
        yield
    except BaseException:
        drive.stop()
        raise


def remove_worktrees(drive: Drive, *, only_own: bool = False) -> None:
    """Take the worktrees of the run's drivers up to this one away.

    What is in none of the run's commits is kept under refs/acms/kept/ before.
    """
    home = drive.worktrees
    for folder in sorted(home.iterdir()) if home.is_dir() else []:
        epoch = int(folder.name) if folder.name.isdecimal() else 0
        if epoch > drive.epoch or (only_own and epoch != drive.epoch):
            continue
        for path in sorted(folder.iterdir()):
            put_worktree_away(drive, path)
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        home.rmdir()

    def is_ours(link: Path) -> bool:
        """A driver after this one may be making a worktree of its own just now."""
        if not link.is_relative_to(home):
            return False
        name = link.relative_to(home).parts[0]
        epoch = int(name) if name.isdecimal() else 0
        return epoch == drive.epoch if only_own else epoch <= drive.epoch

    drive.repository.prune(is_ours, marked=not only_own)


def clear_leavings(drive: Drive) -> None:
    """Remove what killed processes of the run have left half written; raises Superseded when another drives it.

    Nobody takes the run over meanwhile: a driver that works leaves such files too, for a moment.
    """
    clear_scratch()
    with drive.ending() as dao:
        dao.check_epoch(drive.run_id, drive.epoch)
        for part in (*drive.folder.glob(".*.part"), *drive.folder.parent.glob(".*.part")):
            part.unlink(missing_ok=True)
        drive.repository.clear_locks([drive.result_ref, drive.workstream_ref(""), f"refs/acms/kept/{drive.run_id}/"])


def put_worktree_away(drive: Drive, path: Path) -> None:
    """Remove one worktree of the run; what is in none of the run's commits is kept under refs/acms/kept/ before.

    Raises GitFailed, and leaves it where it is, when there is no room to keep it.
    """
    try:
        worktree = adopt_worktree(drive.repository, path)
        worktree.break_locks()
        worktree.keep_unsaved(f"refs/acms/kept/{drive.run_id}/{path.name}", drive.store.clock())
        worktree.remove()
    except (GitFailed, OSError) as error:
        if is_out_of_room(error):
            raise
        # What a killed process has left half made is no worktree for git: its folder goes, and its entry with it.
        shutil.rmtree(path, ignore_errors=True)


INTERRUPTED = "interrupted"
"""Outcome of a phase whose driver did not come to its end."""


def end_phases(dao: UnitOfWork, run_id: str) -> None:
    """Close the phases whose driver did not come to their end."""
    for phase in dao.phases.of_run(run_id):
        if phase.outcome is None:
            dao.phases.finish(phase.id, INTERRUPTED)


def _end_children(dao: UnitOfWork, drive: Drive, reason: str, operator: str | None, *, cancelled: bool) -> None:
    run_id = drive.run_id
    said: dict[str, Any] = {"reason": reason, "operator": operator}
    for gate in dao.test_gates.of_run(run_id):
        end_gate_early(dao, gate, reason, operator=operator)
    end_patches(dao, drive, dao.ledger.of_run(run_id), reason, operator=operator)
    for task in dao.tasks.of_run(run_id):
        if task.state not in MACHINES["task"].terminal:
            dao.tasks.advance(task.id, TaskTrigger.USER_CANCELLED if cancelled else TaskTrigger.RUN_ENDED, **said)
    release_workers(dao, run_id, **said)
    for gap in dao.gaps.of_run(run_id):
        trigger = _GAP_END.get(GapState(gap.state))
        if trigger is not None:
            dao.gaps.advance(gap.id, trigger, deferred_reason=reason, **said)
    for workstream in dao.workstreams.of_run(run_id):
        if workstream.state not in MACHINES["workstream"].terminal:
            dao.workstreams.advance(
                workstream.id,
                WorkstreamTrigger.USER_CANCELLED if cancelled else WorkstreamTrigger.RUN_ENDED,
                **said,
            )


_GAP_END = {
    GapState.DISCOVERED: GapTrigger.DISABLED,
    GapState.CLUSTERED: GapTrigger.DISABLED,
    GapState.PLANNED: GapTrigger.RUN_ENDED,
    GapState.IN_PROGRESS: GapTrigger.RUN_ENDED,
}


def end_gate_early(dao: UnitOfWork, gate: TestGateRow, reason: str, *, operator: str | None = None) -> None:
    """Fail a gate that was started and will say nothing more."""
    if gate.state == TestGateState.RUNNING:
        dao.test_gates.advance(
            gate.id,
            TestGateTrigger.UNEXPECTED_EXIT_CODE,
            reason=reason,
            operator=operator,
            exit_code=CANCELLED_EXIT_CODE,
            stdout="",
            stderr=reason,
            duration_sec=0.0,
            timed_out=False,
        )


def end_patches(
    dao: UnitOfWork, drive: Drive, entries: Iterable[LedgerRow], reason: str, *, operator: str | None = None
) -> None:
    """Settle patches that nobody goes on with: what is on the run's branch is committed, the rest is kept out of it."""
    for entry in entries:
        if entry.state == PatchState.VERIFIED and (commit := landed_commit(drive, entry)):
            dao.ledger.advance(
                entry.id, PatchTrigger.COMMIT_SUCCEEDED, reason=reason, operator=operator, commit_sha=commit
            )
        elif trigger := patch_trigger_on_run_end(entry.state):
            target = patch_on_run_end(entry.state)
            columns: dict[str, Any] = {"quarantine_reason": reason} if target == PatchState.QUARANTINED else {}
            dao.ledger.advance(
                entry.id,
                trigger,
                to=target,
                reason=reason,
                operator=operator,
                facts={"reverted": True},
                **columns,
            )


def landed_commit(drive: Drive, entry: LedgerRow) -> str | None:
    """The commit of a patch, if it can be reached from the run's branch."""
    commit: str | None = entry.info.get("commit")
    return commit if has_landed(drive, commit) else None


def has_landed(drive: Drive, commit: str | None) -> bool:
    """Whether a commit can be reached from the run's branch; one that is lost can't, nor can any once that is gone."""
    repository = drive.repository
    if commit is None or not repository.common_dir.is_dir():
        # Without its repository nothing of a run is anywhere.
        return False
    result = repository.ref(drive.result_ref)
    return result is not None and repository.find(commit) is not None and repository.is_ancestor(commit, result)


def release_workers(dao: UnitOfWork, run_id: str, **said: Any) -> None:
    """Shut down the run's worker slots and the records of its tools' processes; `said` is who wants it, and why."""
    for worker in dao.workers.of_run(run_id):
        if worker.state == WorkerState.BUSY:
            dao.workers.advance(worker.id, WorkerTrigger.TASK_FINISHED, current_load=0, **said)
        if worker.state == WorkerState.UNRESPONSIVE:
            dao.workers.advance(worker.id, WorkerTrigger.HEARTBEAT_RECOVERED, **said)
        if worker.state in {WorkerState.BUSY, WorkerState.IDLE, WorkerState.UNRESPONSIVE}:
            dao.workers.advance(worker.id, WorkerTrigger.SHUTDOWN_REQUESTED, **said)
    for process in dao.uet_workers.of_run(run_id):
        ending = _PROCESS_END.get(UetWorkerState(process.state))
        if ending is not None:
            dao.uet_workers.advance(process.id, ending, **said)


_PROCESS_END: dict[UetWorkerState, UetWorkerTrigger] = {
    UetWorkerState.SPAWNING: UetWorkerTrigger.SPAWN_FAILED,
    UetWorkerState.IDLE: UetWorkerTrigger.SHUTDOWN_REQUESTED,
    UetWorkerState.BUSY: UetWorkerTrigger.CRASHED,
    UetWorkerState.DRAINING: UetWorkerTrigger.CRASHED,
}
