"""What an attempt that is over has left open below it in Prefect, and the states that it has to be given."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from prefect.client.schemas.objects import FlowRun, State, TaskRun
from prefect.states import Cancelled, Completed, Crashed, Failed

from prefect_acms.canonical.clock import utc_moment
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.run import RunState
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.bridge import task_state
from prefect_acms.tasks.drift import Drift, DriftKind
from prefect_acms.tasks.driving import COMPLETED
from prefect_acms.tasks.prefect_books import Books
from prefect_acms.tasks.prefect_findings import Finding, Known
from prefect_acms.tasks.reports.text import count

_NEAR_SEC = 60.0
"""Seconds by which a phase's row and its flow run may have begun apart."""


def left_open(known: Known, books: Books, attempt: FlowRun) -> Finding | None:
    """The phases and task runs of an attempt that are not ended in Prefect, with what the store says of them."""
    return _Below(known, books).left_open(attempt)


class _Below:
    def __init__(self, known: Known, books: Books) -> None:
        self._known = known
        self._run = known.run
        self._books = books

    def left_open(self, flow_run: FlowRun) -> Finding | None:
        below = self._books.phases.get(flow_run.id, [])
        phases = [(phase, self._phase_state(phase)) for phase in below if not _is_final(phase)]
        # the server keeps a task run for each flow run below another, and moves it with that one
        mirrors = {phase.parent_task_run_id: phase for phase in below}
        moved = {phase.parent_task_run_id for phase, _ in phases}
        tasks = [
            (task, self._mirrored(mirrors[task.id]) if task.id in mirrors else self._task_state(task))
            for owner in (flow_run, *below)
            for task in self._books.open_tasks.get(owner.id, [])
            if task.id not in moved
        ]
        if not phases and not tasks:
            return None
        kind = DriftKind.PREFECT_OPEN
        counted = [count(len(phases), "phase") if phases else "", count(len(tasks), "task") if tasks else ""]
        told = " and ".join(part for part in counted if part)
        sentence = f"Prefect had {told} below its flow run {flow_run.id} open, but that attempt is over"
        drift = Drift.of(
            kind,
            self._run.id,
            f"flow run {flow_run.id}",
            sentence,
            repair="they were set to what the store says of them",
        )
        return Finding(
            drift,
            f"{kind}:{flow_run.id}:{_digest([*(phase for phase, _ in phases), *(task for task, _ in tasks)])}",
            flow_runs=[(phase.id, state) for phase, state in phases],
            task_runs=[(task.id, state) for task, state in tasks],
        )

    def _task_state(self, task: TaskRun) -> State[Any]:
        row = self._ended.get(str(task.id))
        return task_state(row) if row is not None else self._without_row()

    @cached_property
    def _ended(self) -> Mapping[str, TaskRow]:
        """The tasks that have ended, by the Prefect task run of each."""
        ended = [row for row in self._known.tasks if row.state in MACHINES["task"].terminal]
        return {row.prefect_task_run_id: row for row in reversed(ended) if row.prefect_task_run_id}

    def _phase_state(self, flow_run: FlowRun) -> State[Any]:
        name = self._books.flow_names.get(flow_run.flow_id, "").removeprefix("acms-")
        began = flow_run.start_time
        rows = [row for row in self._known.phases if row.name == name]
        if began is None or not rows:
            return self._without_row()
        distances = {row.id: abs((utc_moment(row.started_at) - began).total_seconds()) for row in rows}
        row = min(rows, key=lambda each: distances[each.id])
        if distances[row.id] > _NEAR_SEC:
            return self._without_row()
        match row.outcome:
            case "completed":
                return Completed(message=f"{name}: {COMPLETED}")
            case "failed":
                return Failed(message=f"{name}: failed")
        return self._without_row()

    def _mirrored(self, phase: FlowRun) -> State[Any]:
        state = phase.state
        if state is None:
            return self._without_row()
        return State(type=state.type, name=state.name, message=state.message)

    def _without_row(self) -> State[Any]:
        if self._run.state == RunState.CANCELED:
            return Cancelled(message="its run was canceled")
        if self._known.has_ended:
            return Crashed(message=f"its run has ended: it is {self._run.state}")
        return Crashed(message="its driver was lost")


def _is_final(run: FlowRun) -> bool:
    return run.state is None or run.state.is_final()


def _digest(rows: Sequence[FlowRun | TaskRun]) -> str:
    states = sorted(f"{row.id}/{row.state.id if row.state else ''}" for row in rows)
    return hashlib.sha256(" ".join(states).encode()).hexdigest()[:16]
