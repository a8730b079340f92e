"""A tool's run as the store keeps it: its process a row, its breaker asked, its metrics and transcript kept."""

from __future__ import annotations

import socket
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect_acms.blocks.tool_spec import ToolSpec
from prefect_acms.canonical.outside_errors import ToolTimedOut
from prefect_acms.canonical.uet_worker import UetWorkerState, UetWorkerTrigger
from prefect_acms.dao.redaction import ending, redact
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.ai.handover import PROGRAM, variables_for
from prefect_acms.tasks.ai.session import AWAY
from prefect_acms.tasks.breakers import ToolBreakers
from prefect_acms.tasks.budgets import Reservation
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.environment import Environment
from prefect_acms.tasks.estimates import estimate_of
from prefect_acms.tasks.processes import ProcessResult
from prefect_acms.tasks.scratch import scratch_folder
from prefect_acms.tasks.tools import ToolSlots, ToolValues, fault_of, is_infrastructure_fault, require_work, run_tool
from prefect_acms.tasks.usage import usage_of
from prefect_acms.tasks.worktrees import Worktree

TRANSCRIPT_CHARACTERS = 20_000
"""How much of each output stream is kept with the task."""

ARGUMENT_CHARACTERS = 500
"""How much of each argument is kept with it."""

_SLOTS = ToolSlots()


@dataclass(frozen=True, slots=True)
class ToolRun:
    """Runs a tool for one task in its worktree."""

    drive: Drive
    task: TaskRow
    profile: ToolSpec
    worktree: Worktree
    environment: Environment

    def __call__(self, values: ToolValues) -> ProcessResult:
        """Run it once, for as long as the budgets have time for it.

        Raises BudgetExceeded before it is started, BreakerOpen, ToolUnavailable, ToolTimedOut or ToolFailed.
        """
        breakers = ToolBreakers(self.drive.store, self.drive.config.resilience)
        with _SLOTS.taken(self.profile), self._reserved() as held, scratch_folder() as told:
            usage_file = told / "usage.json"
            result = breakers.call(
                self.profile.tool_id, lambda: self._process(values, held, usage_file), faulty=self._is_faulty
            )
        self._count(result)
        if result.timed_out:
            raise ToolTimedOut(tool=self.profile.tool_id, seconds=f"{result.duration_sec:.0f}")
        return require_work(self.profile, result)

    def _is_faulty(self, result: ProcessResult) -> bool:
        """Whether a result speaks against the tool: also that of ours where its provider was not to be had."""
        is_away = PROGRAM in self.profile.command and result.exit_code == AWAY
        return is_away or is_infrastructure_fault(result)

    def _reserved(self) -> AbstractContextManager[Reservation]:
        """What the tool may use up, set aside."""
        config = self.drive.config
        estimate = estimate_of(self.profile, self.task.timeout_sec, config.ai, config.budget)
        return self.drive.budgets.reserved(
            run_id=self.drive.run_id, task_id=self.task.id, tool_id=self.profile.tool_id, estimate=estimate
        )

    def _process(self, values: ToolValues, held: Reservation, usage_file: Path) -> ProcessResult:
        """Run the tool with a row of its own for the process, from before it is spawned until it is gone.

        What it has used up counts as soon as it is gone: a driver that has lost its run has spent it all the same.
        """
        session = variables_for(self.profile, self.drive.config.ai, self.worktree.path)
        with self.drive.begin() as dao:
            process = dao.uet_workers.create(
                run_id=self.drive.run_id, worker_type=self.profile.tool_id, host=socket.gethostname()
            )
        try:
            with self.drive.watching():
                result = run_tool(
                    self.profile,
                    worktree=self.worktree.path,
                    environment=self.environment.with_variables(**session),
                    values=values,
                    timeout_sec=held.granted.wall_sec,
                    on_start=lambda pid: self._started(process.id, pid, held),
                    usage_file=usage_file,
                )
            held.settle(usage_of(self.profile, result, usage_file), result.duration_sec)
        except BaseException:
            self._end_process(process.id, crashed=True)
            raise
        self._end_process(process.id, crashed=result.timed_out or result.exit_code < 0)
        return result

    def _started(self, process_id: str, pid: int, held: Reservation) -> None:
        held.begin()
        with self.drive.begin() as dao:
            dao.uet_workers.change(process_id, pid=pid)
            dao.uet_workers.advance(process_id, UetWorkerTrigger.SPAWNED)
            dao.uet_workers.advance(process_id, UetWorkerTrigger.TASK_ASSIGNED)

    def _end_process(self, process_id: str, *, crashed: bool) -> None:
        with self.drive.begin() as dao:
            if dao.uet_workers.get(process_id).state == UetWorkerState.SPAWNING:
                dao.uet_workers.advance(process_id, UetWorkerTrigger.SPAWN_FAILED)
            elif crashed:
                dao.uet_workers.advance(process_id, UetWorkerTrigger.CRASHED)
            else:
                dao.uet_workers.advance(process_id, UetWorkerTrigger.TASK_FINISHED)
                dao.uet_workers.advance(process_id, UetWorkerTrigger.SHUTDOWN_REQUESTED)

    def _count(self, result: ProcessResult) -> None:
        worked = fault_of(self.profile, result) is None
        with self.drive.begin() as dao:
            dao.tool_metrics.record(self.profile.tool_id, success=worked, latency_ms=result.duration_sec * 1000)
            transcripts = [
                *dao.tasks.get(self.task.id).info.get("transcripts", ()),
                transcript_of(self.profile, result),
            ]
            dao.tasks.change(self.task.id, tool_id=self.profile.tool_id, metadata={"transcripts": transcripts})


def transcript_of(profile: ToolSpec, result: ProcessResult) -> dict[str, Any]:
    """What is kept of a tool's run, long outputs cut to their end."""
    return {
        "tool": profile.tool_id,
        "argv": [cut_argument(argument) for argument in result.argv],
        "exit_code": result.exit_code,
        "timed_out": result.timed_out,
        "duration_sec": round(result.duration_sec, 3),
        "stdout": ending(result.stdout, TRANSCRIPT_CHARACTERS),
        "stderr": ending(result.stderr, TRANSCRIPT_CHARACTERS),
    }


def cut_argument(argument: str) -> str:
    """An argument as it is kept: the start of one that is a whole prompt."""
    return argument if len(argument) <= ARGUMENT_CHARACTERS else f"{redact(argument)[:ARGUMENT_CHARACTERS]}…"
