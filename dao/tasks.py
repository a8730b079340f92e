"""Tasks: single steps of a workstream, each done by one worker."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Column, ColumnElement, Index, String, Table, insert, select
from sqlalchemy.orm import Mapped, aliased, mapped_column

from prefect_acms.canonical.errors import GuardRefused
from prefect_acms.canonical.task import TASK, WORKER_FITS, TaskState, TaskTrigger
from prefect_acms.canonical.worker import WorkerTrigger
from prefect_acms.dao.deciding import Values
from prefect_acms.dao.patches import PatchRow
from prefect_acms.dao.schema import (
    Base,
    JsonList,
    MaybeJson,
    Moment,
    StateRow,
    Words,
    at_least,
    check,
    in_order,
    one_of,
    set_exactly_in,
    set_in,
    states_of,
    terminal,
    to,
    unset_in,
)
from prefect_acms.dao.service import StateDao
from prefect_acms.dao.workers import WorkerRow

task_dependencies = Table(
    "task_dependencies",
    Base.metadata,
    Column("task_id", to("tasks.id"), primary_key=True),
    Column("depends_on_id", to("tasks.id"), primary_key=True, index=True),
    check("not_itself", "task_id <> depends_on_id"),
)

task_gates = Table(
    "task_gates",
    Base.metadata,
    Column("task_id", to("tasks.id"), primary_key=True),
    Column("gate_id", to("test_gates.id"), primary_key=True, index=True),
    Column("role", String, primary_key=True),
    one_of("role", "entry", "exit"),
)


class TaskRow(StateRow):
    """One task of one workstream."""

    __tablename__ = "tasks"
    machine = TASK
    __table_args__ = (
        states_of(TASK),
        at_least("version", 1),
        set_exactly_in("worker_id", "running"),
        set_exactly_in("completed_at", *terminal(TASK)),
        set_in("started_at", "running", "validating", "retrying", "completed"),
        set_in("queued_at", "queued", "running", "validating", "retrying", "completed"),
        set_in("blocked_by", "blocked"),
        unset_in("blocked_by", "pending", "queued", "running", "validating", "retrying", "completed"),
        set_in("exit_code", "validating", "completed"),
        set_in("next_attempt_at", "retrying"),
        set_in("last_error", "failed", "retrying"),
        check("retries", "retry_count BETWEEN 0 AND max_retries"),
        at_least("attempt", 0),
        check("timeout_sec", "timeout_sec > 0"),
        check("not_retry_of_itself", "retry_of <> id"),
        in_order("created_at", "queued_at"),
        in_order("created_at", "started_at"),
        in_order("started_at", "completed_at"),
        in_order("created_at", "completed_at"),
        Index(None, "run_id", "state"),
        Index(None, "workstream_id"),
        Index(None, "worker_id"),
        Index(None, "retry_of"),
        Index(None, "prefect_task_run_id"),
    )

    workstream_id: Mapped[str] = mapped_column(to("workstreams.id"))
    run_id: Mapped[str] = mapped_column(to("runs.id"))
    kind: Mapped[str]
    description: Mapped[Words] = mapped_column(default="")
    pattern_id: Mapped[str | None]
    tool_id: Mapped[str | None]
    file_scope: Mapped[JsonList]
    is_critical: Mapped[bool] = mapped_column(default=False)
    required_capabilities: Mapped[JsonList]
    retry_count: Mapped[int] = mapped_column(default=0)
    max_retries: Mapped[int] = mapped_column(default=3)
    timeout_sec: Mapped[float] = mapped_column(default=1800.0)
    attempt: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[Moment | None]
    worker_id: Mapped[str | None] = mapped_column(to("workers.id"))
    exit_code: Mapped[int | None]
    last_error: Mapped[Words | None]
    blocked_by: Mapped[MaybeJson]
    retry_of: Mapped[str | None] = mapped_column(to("tasks.id"))
    queued_at: Mapped[Moment | None]
    started_at: Mapped[Moment | None]
    completed_at: Mapped[Moment | None]
    prefect_task_run_id: Mapped[str | None]

    @classmethod
    def stands(cls) -> ColumnElement[bool]:
        """The condition that no later task has taken its place."""
        later = aliased(cls)
        return ~select(later.id).where(later.retry_of == cls.id).exists()


class TaskDao(StateDao[TaskRow]):
    """Tasks."""

    row = TaskRow
    entity = TASK.entity
    prefix = "task"
    fixed = frozenset({"run_id", "workstream_id", "is_critical"})

    def of_run(self, run_id: str) -> list[TaskRow]:
        """The tasks of a run in the order they were made."""
        return self._all(select(TaskRow).where(TaskRow.run_id == run_id).order_by(TaskRow.id))

    def of_workstream(self, workstream_id: str) -> list[TaskRow]:
        """The tasks of a workstream in the order they were made."""
        return self._all(select(TaskRow).where(TaskRow.workstream_id == workstream_id).order_by(TaskRow.id))

    def standing(self, workstream_id: str) -> list[TaskRow]:
        """The tasks of a workstream that count: without those in whose place a later one was put."""
        mine = select(TaskRow).where(TaskRow.workstream_id == workstream_id, TaskRow.stands())
        return self._all(mine.order_by(TaskRow.id))

    def of_worker(self, worker_id: str) -> list[TaskRow]:
        """The tasks that a worker has claimed: one at most."""
        return self._all(select(TaskRow).where(TaskRow.worker_id == worker_id).order_by(TaskRow.id))

    def claims(self) -> dict[str, str]:
        """Which worker has claimed which task, in every run."""
        statement = select(TaskRow.worker_id, TaskRow.id).where(TaskRow.worker_id.is_not(None))
        return {str(worker): str(task) for worker, task in self._unit.session.execute(statement)}

    def by_task_run(self, prefect_task_run_id: str) -> TaskRow | None:
        """The task that a Prefect task run carries out, or None."""
        statement = select(TaskRow).where(TaskRow.prefect_task_run_id == str(prefect_task_run_id))
        return next(iter(self._all(statement.order_by(TaskRow.id.desc()).limit(1))), None)

    def of_patch(self, patch_id: str) -> TaskRow | None:
        """The task that a patch was made for, or None where there is no such patch."""
        statement = select(TaskRow).join(PatchRow, PatchRow.task_id == TaskRow.id).where(PatchRow.id == patch_id)
        return next(iter(self._all(statement)), None)

    def depends(self, task_id: str, on: Iterable[str]) -> None:
        """Let a task wait for others."""
        for other in on:
            self._do(insert(task_dependencies).values(task_id=task_id, depends_on_id=other), task_id)

    def dependencies(self, task_id: str) -> list[TaskRow]:
        """The tasks that this one waits for."""
        edge = task_dependencies.c
        statement = select(TaskRow).join(task_dependencies, edge.depends_on_id == TaskRow.id)
        return self._all(statement.where(edge.task_id == task_id).order_by(TaskRow.id))

    def edges(self, run_id: str) -> list[tuple[str, str]]:
        """Every pair of a run's task and one that it waits for, sorted."""
        edge = task_dependencies.c
        of_run = select(edge.task_id, edge.depends_on_id).join(TaskRow, TaskRow.id == edge.task_id)
        found = self._unit.session.execute(of_run.where(TaskRow.run_id == run_id).order_by(*edge))
        return [(str(task), str(other)) for task, other in found]

    def gate(self, task_id: str, gate_id: str, role: str = "exit") -> None:
        """Let a gate judge a task: before it starts (`entry`), or before it is completed (`exit`)."""
        self._do(insert(task_gates).values(task_id=task_id, gate_id=gate_id, role=role), task_id)

    def claim(self, task_id: str, worker_id: str | None = None, run_id: str | None = None) -> WorkerRow:
        """Let a worker start a queued task; of many that claim one task exactly one gets it.

        Without `worker_id` it is the first idle worker that fits, of the run (by default the task's) or of no run.
        Raises GuardRefused where none fits, InvalidTransition where the task is not to be had any more.
        """
        workers = self._unit.workers
        self._unit.admit()
        row = self._read((task_id,), self._cause(TaskTrigger.WORKER_STARTED), ("required_capabilities", "metadata"))[
            task_id
        ]
        self._life.machine.candidates(task_id, row["state"], TaskTrigger.WORKER_STARTED)
        wish = {
            "required_capabilities": row["required_capabilities"],
            "task_affinity": row["metadata"].get("affinity"),
        }
        chosen = worker_id or workers.fitting(run_id or row["run_id"], wish)
        if chosen is None:
            facts = {"entity": self.entity, "id": task_id, "state": row["state"], "target": TaskState.RUNNING.value}
            raise GuardRefused(**facts, guard=WORKER_FITS.sentence)
        workers.check(chosen, wish)
        self.advance(task_id, TaskTrigger.WORKER_STARTED, worker_id=chosen)
        workers.advance(chosen, WorkerTrigger.TASK_ASSIGNED, facts=wish)
        return workers.get(chosen)

    def _completed(self, columns: Values) -> Values:
        """A task belongs to the run of its workstream."""
        if "run_id" in columns or "workstream_id" not in columns:
            return columns
        return {**columns, "run_id": self._unit.workstreams.get(columns["workstream_id"]).run_id}
