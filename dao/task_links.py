"""What ties tasks to each other: who waits for whom, and which task took the place of which."""

from __future__ import annotations

from sqlalchemy import insert, select, update
from sqlalchemy.orm import aliased

from prefect_acms.dao.reading import Dao
from prefect_acms.dao.tasks import TaskRow, task_dependencies, task_gates


class TaskLinkDao(Dao[TaskRow]):
    """The links of tasks; the rows themselves are in `tasks`."""

    row = TaskRow
    entity = TaskRow.machine.entity

    def dependents(self, task_id: str) -> list[TaskRow]:
        """The tasks that wait for this one, or have waited for it."""
        edge = task_dependencies.c
        statement = select(TaskRow).join(task_dependencies, edge.task_id == TaskRow.id)
        return self._all(statement.where(edge.depends_on_id == task_id).order_by(TaskRow.id))

    def replacement(self, task_id: str) -> TaskRow | None:
        """The task that took the place of this one, or None while it stands."""
        statement = select(TaskRow).where(TaskRow.retry_of == task_id).order_by(TaskRow.id.desc()).limit(1)
        return next(iter(self._all(statement)), None)

    def entry_gates(self, task_id: str) -> list[str]:
        """The gates that must be PASSED before the task starts."""
        mine = task_gates.c.task_id == task_id, task_gates.c.role == "entry"
        return self._ids(select(task_gates.c.gate_id).where(*mine).order_by(task_gates.c.gate_id))

    def take_place(self, new_id: str, old_id: str) -> None:
        """Let a new task wait for what the old one waited for, and let all who still wait for the old wait for it.

        What has ended keeps its links: they say what it was built on. Entry gates are the same for both.
        """
        edge = task_dependencies.c
        self._unit.tasks.depends(new_id, on=self._standing(edge.task_id == old_id))
        for gate_id in self.entry_gates(old_id):
            self._do(insert(task_gates).values(task_id=new_id, gate_id=gate_id, role="entry"), new_id)
        for waiting in self.dependents(old_id):
            if waiting.state not in TaskRow.machine.terminal:
                pointed = update(task_dependencies).where(edge.depends_on_id == old_id, edge.task_id == waiting.id)
                self._do(pointed.values(depends_on_id=new_id), waiting.id)

    def _standing(self, mine: object) -> list[str]:
        """What a task waits for, each by the last task that took its place."""
        found = self._ids(select(task_dependencies.c.depends_on_id).where(mine))  # type: ignore[arg-type]
        return sorted({self._last(task_id) for task_id in found})

    def _last(self, task_id: str) -> str:
        later = aliased(TaskRow)
        line = select(TaskRow.id).where(TaskRow.id == task_id).cte("line", recursive=True)
        line = line.union(select(later.id).join(line, later.retry_of == line.c.id))
        return max(self._ids(select(line.c.id)))
