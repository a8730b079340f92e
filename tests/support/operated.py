"""A run in the hands of an operator: its rows by a short way, driven or not, and patches that are on its branch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from driven import Planned

from prefect_acms.blocks.config import HealthSettings
from prefect_acms.canonical.patch import PatchTrigger
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.canonical.task import TaskTrigger
from prefect_acms.canonical.worker import WorkerTrigger
from prefect_acms.canonical.workstream import WorkstreamTrigger
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.attempts import Executed, Finished, perform
from prefect_acms.tasks.driving import Drive, release_run
from prefect_acms.tasks.leases import this_driver
from prefect_acms.tasks.merging import settle
from prefect_acms.tasks.preparation import prepared_worktree


class Rows:
    """A run in a store with rows made one by one, without a repository."""

    def __init__(self, store: Store, health: HealthSettings | None = None, repo_root: str = "/nowhere/shop") -> None:
        self.store = store
        config = {"repository": repo_root} | ({"health": health.model_dump()} if health else {})
        with store.begin() as dao:
            self.run_id = dao.runs.create(repo_root=repo_root, base_commit="a" * 40, config=config).id
            dao.runs.advance(self.run_id, RunTrigger.RUN_STARTED)

    def drive(self) -> None:
        """Let this process drive the run from now on, for 60 s."""
        with self.store.begin() as dao:
            epoch = dao.runs.take_over(self.run_id)
            dao.runs.lease(self.run_id, epoch, 60, asdict(this_driver(epoch)))

    def stream(self, *, ready: bool = True, **columns: Any) -> str:
        """A workstream; ready unless it is to stay planned, for which it needs a task."""
        with self.store.begin() as dao:
            row_id = dao.workstreams.create(run_id=self.run_id, name="style", **columns).id
            if ready:
                dao.tasks.create(workstream_id=row_id, kind="analysis", description="first")
                dao.workstreams.advance(row_id, WorkstreamTrigger.TASKS_CREATED)
        return row_id

    def task(self, stream_id: str, *, queued: bool = False, on: Sequence[str] = (), **columns: Any) -> str:
        """A task that waits for others."""
        with self.store.begin() as dao:
            row_id = dao.tasks.create(workstream_id=stream_id, kind="analysis", **columns).id
            dao.tasks.depends(row_id, on=on)
            if queued:
                dao.tasks.advance(row_id, TaskTrigger.SCHEDULER_ASSIGNED)
        return row_id

    def worker(self, *, of_run: bool = True) -> str:
        """An idle worker."""
        with self.store.begin() as dao:
            row_id = dao.workers.create(worker_type="slot", run_id=self.run_id if of_run else None).id
            dao.workers.advance(row_id, WorkerTrigger.REGISTERED)
        return row_id

    def running(self, stream_id: str, **columns: Any) -> tuple[str, str]:
        """A task that runs, and the worker that has claimed it."""
        task_id, worker_id = self.task(stream_id, queued=True, **columns), self.worker()
        with self.store.begin() as dao:
            dao.tasks.claim(task_id, worker_id)
            if dao.workstreams.get(stream_id).state == "ready":
                dao.workstreams.advance(stream_id, WorkstreamTrigger.FIRST_TASK_STARTED)
        return task_id, worker_id

    def states(self, **ids: str) -> list[str]:
        """The states of rows by noun: `tasks=…`, `workers=…`."""
        with self.store.begin(read_only=True) as dao:
            return [getattr(dao, noun).get(row_id).state for noun, row_id in ids.items()]

    def trail(self) -> list[tuple[str, str, str | None]]:
        """What happened in the run: trigger, entity and operator."""
        with self.store.begin(read_only=True) as dao:
            return [(row.trigger, row.entity_id, row.operator) for row in dao.transitions.of_run(self.run_id)]


def everything(store: Store) -> list[tuple[Any, ...]]:
    """Every row of the trail, and every row with a state and its version: what a refusal must not change."""
    tables = ("runs", "workstreams", "tasks", "workers", "gaps", "patch_ledger_entries", "test_gates")
    queries = ["SELECT transition_id, hash FROM state_transitions"]
    queries += [f"SELECT id, state, version FROM {table} ORDER BY id" for table in tables]  # noqa: S608 - our own names
    with store.begin(read_only=True) as dao:
        return [tuple(row) for query in queries for row in dao.connection.exec_driver_sql(query)]


def leave(drive: Drive) -> None:
    """Let the run go: nobody drives it from now on."""
    with drive.ending() as dao:
        dao.runs.let_go(drive.run_id, drive.epoch)
    release_run(drive)


def verified_patch(
    dao: UnitOfWork, task_id: str, diff: bytes, files: Sequence[str], commit: str, *, patch_id: str | None = None
) -> LedgerRow:
    """A patch that was validated, applied and verified, and is in that commit."""
    patch = dao.patches.create(
        id=patch_id, task_id=task_id, content=diff, files=list(files), lines_added=1, lines_removed=1
    )
    entry = dao.ledger.create(patch_id=patch.id, metadata={"commit": commit})
    flags: dict[str, Any] = dict.fromkeys(("validation_format", "validation_scope", "validation_constraints"), True)
    dao.ledger.advance(entry.id, PatchTrigger.VALIDATION_PASSED, **flags)
    dao.ledger.advance(entry.id, PatchTrigger.ACCEPTED, facts={"review_required": False})
    dao.ledger.advance(entry.id, PatchTrigger.APPLY_SUCCEEDED)
    dao.ledger.advance(entry.id, PatchTrigger.GATES_PASSED, validation_tests_passed=True)
    return dao.ledger.get(entry.id)


def patched(planned: Planned, key: str, files: dict[str, str]) -> LedgerRow:
    """Do a task whose patch puts these files on its workstream's branch; the entry, verified and not merged."""
    drive = planned.drive
    entries: list[LedgerRow] = []

    def work(task: TaskRow) -> Executed:
        with drive.reading() as dao:
            stream = dao.workstreams.get(task.workstream_id)
        branch = f"refs/heads/{stream.branch}"
        before = drive.repository.ref(branch) or drive.result_head()
        worktree, _ = prepared_worktree(drive, stream.info["key"], before)
        worktree.reset(before)
        for name, text in files.items():
            (worktree.path / name).write_text(text)
        diff = worktree.capture()
        tree = worktree.apply(diff)
        patch_id = drive.store.ids.new("patch")
        trailers = f"ACMS-Run: {drive.run_id}\nACMS-Patch: {patch_id}\nACMS-Gap: {task.info['gaps'][0]}\n"
        message = f"Fix {key}\n\n{trailers}"
        commit = drive.repository.commit_tree(tree, [before], message, drive.store.clock())

        def judge() -> Finished:
            with drive.begin() as dao:
                entries.append(verified_patch(dao, task.id, diff, list(files), commit, patch_id=patch_id))
            drive.repository.move_ref(branch, commit, drive.repository.ref(branch))
            return Finished()

        return Executed(0, judge)

    assert perform(drive, planned.queued(key).id, work).state == "completed"
    return entries[0]


def merged(planned: Planned, key: str) -> None:
    """Merge a workstream into the run's branch."""
    settle(planned.drive, planned.workstream(key).id)
    assert planned.workstream(key).state == "completed"
