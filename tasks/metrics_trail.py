"""What the audit trail adds up to: each row counts once, and for each process that follows it the same."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from prefect_acms.canonical.events import CREATED, NOTICES, Notice
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.overrides import Override
from prefect_acms.canonical.patch import PatchState
from prefect_acms.canonical.run import RunState
from prefect_acms.canonical.task import TaskState
from prefect_acms.canonical.test_gate import GateType, TestGateTrigger
from prefect_acms.dao.chain import GLOBAL
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.dao.trail_pages import (
    Step,
    TimedGate,
    ToolTask,
    chain_ends,
    mode_of,
    page_of,
    timed_gates,
    tool_tasks,
)
from prefect_acms.tasks import metrics
from prefect_acms.tasks.metrics import MICROS, Labels, Measure, Reading, Spread

PAGE_ROWS = 5000
"""How many rows are read at once; fewer than a statement may have parameters."""

FATES = (PatchState.COMMITTED, PatchState.ROLLED_BACK, PatchState.QUARANTINED, PatchState.DROPPED)
WAITING = (TaskState.PENDING, TaskState.BLOCKED, TaskState.QUEUED, TaskState.RETRYING)

_ENDINGS = {entity: frozenset(map(str, machine.terminal)) for entity, machine in MACHINES.items()}
_FATES = frozenset(map(str, FATES))
_VERDICTS = {
    TestGateTrigger.EXPECTED_EXIT_CODE.value: "passed",
    TestGateTrigger.UNEXPECTED_EXIT_CODE.value: "failed",
    TestGateTrigger.TIMEOUT_EXCEEDED.value: "timed_out",
}
_NONE = "none"
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


class TrailCounts:
    """Follows the trail of one store from its first row; what it has counted only grows, while the trail does."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._counted: dict[str, int] = {}
        self._since: dict[tuple[str, str], int] = {}
        self._spent_micros: dict[Labels, int] = defaultdict(int)
        self._counts: dict[Measure, dict[Labels, float]] = {
            measure: defaultdict(int)
            for measure in (
                metrics.TRANSITIONS,
                metrics.STATES,
                metrics.OVERRIDES,
                metrics.TASKS,
                metrics.PATCHES,
                metrics.SPENT_TOOL_RUNS,
                metrics.BUDGET_EXCEEDED,
            )
        }
        self._spreads: dict[Measure, dict[Labels, Spread]] = {metrics.DURATIONS: {}, metrics.GATES: {}}
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """A first increase is seen only by who knows that it was 0 before."""
        counts = self._counts
        for entity, machine in MACHINES.items():
            counts[metrics.TRANSITIONS][entity, "", machine.initial, CREATED] = 0
            counts[metrics.STATES].update({(entity, state): 0 for state in machine.states})
            for state, edges in machine.table.items():
                changes = ((entity, state, edge.target, trigger) for edge in edges for trigger in edge.triggers)
                counts[metrics.TRANSITIONS].update(dict.fromkeys(changes, 0))
                if edges:
                    self._spread(metrics.DURATIONS, (entity, state))
        counts[metrics.OVERRIDES].update({(order,): 0 for order in Override})
        counts[metrics.BUDGET_EXCEEDED].update({("run",): 0, ("task",): 0})
        counts[metrics.PATCHES].update({(fate,): 0 for fate in FATES})
        for gate in GateType:
            for verdict in _VERDICTS.values():
                self._spread(metrics.GATES, (gate, verdict))

    def follow(self, dao: UnitOfWork) -> None:
        """Count what has come since the last time."""
        ends = chain_ends(dao)
        if any(ends.get(chain, 0) < seq for chain, seq in self._counted.items()):
            # somebody has put an older database, or another one, in its place
            self._start()
        for chain, end in ends.items():
            while self._counted.get(chain, 0) < end:
                self._read_on(dao, chain, end)

    def reading(self) -> Reading:
        """What has been counted so far."""
        states = self._counts[metrics.STATES]
        queue: dict[Labels, float] = {(state.value,): states["task", state] for state in WAITING}
        spent = {labels: micros / MICROS for labels, micros in self._spent_micros.items()}
        return {**self._counts, **self._spreads, metrics.QUEUE: queue, metrics.SPENT_SECONDS: spent}

    def _read_on(self, dao: UnitOfWork, chain: str, end: int) -> None:
        """Count the next page of a chain: everything is asked first, so that an error counts nothing."""
        after = self._counted.get(chain, 0)
        until = min(end, after + PAGE_ROWS)
        steps = page_of(dao, chain, after, until)
        tasks = tool_tasks(dao, _ended(steps, "task"))
        gates = timed_gates(dao, _ended(steps, "test_gate"))
        mode = (None if chain == GLOBAL else mode_of(dao, chain)) or _NONE
        for step in steps:
            if step.trigger in NOTICES:
                self._count_notice(step)
                continue
            self._count(step, mode)
            if step.entity_id in tasks and step.to_state in _ENDINGS["task"]:
                self._count_task(step, tasks[step.entity_id])
            elif step.entity_id in gates and step.to_state in _ENDINGS["test_gate"]:
                self._count_gate(step, gates[step.entity_id])
        self._counted[chain] = until

    def _count_notice(self, step: Step) -> None:
        """What is told beside the changes of a state: of that only overrides and budgets are counted."""
        if step.trigger == Notice.BUDGET_EXCEEDED:
            self._counts[metrics.BUDGET_EXCEEDED][step.entity_type,] += 1
        if step.trigger == Notice.MANUAL_OVERRIDE:
            action = json.loads(step.metadata or "{}").get("action", "unknown")
            self._counts[metrics.OVERRIDES][str(action),] += 1

    def _count(self, step: Step, mode: str) -> None:
        entity, before, now = step.entity_type, step.from_state or "", step.to_state
        self._counts[metrics.TRANSITIONS][entity, before, now, step.trigger] += 1
        self._counts[metrics.STATES][entity, now] += 1
        stayed = self._stay(step)
        if before:
            self._counts[metrics.STATES][entity, before] -= 1
            self._spread(metrics.DURATIONS, (entity, before)).observe(stayed)
        if entity == "patch_ledger" and now in _FATES:
            self._counts[metrics.PATCHES][now,] += 1
        elif entity == "run" and before == RunState.RUNNING:
            self._spent_micros[mode,] += stayed
        elif entity == "uet_worker" and not before:
            self._counts[metrics.SPENT_TOOL_RUNS][mode,] += 1

    def _stay(self, step: Step) -> int:
        """Microseconds in the state that is left; from now on it is in the next one, unless that is an ending."""
        key = (step.entity_type, step.entity_id)
        moment = (datetime.fromisoformat(step.transitioned_at) - _EPOCH) // _MICROSECOND
        since = self._since.pop(key, moment)
        if step.to_state not in _ENDINGS.get(step.entity_type, ()):
            self._since[key] = moment
        return max(0, moment - since)

    def _count_task(self, step: Step, task: ToolTask) -> None:
        self._counts[metrics.TASKS][task.tool_id or _NONE, task.kind, step.to_state] += 1

    def _count_gate(self, step: Step, gate: TimedGate) -> None:
        verdict = _VERDICTS.get(step.trigger, step.to_state.lower())
        self._spread(metrics.GATES, (gate.gate_type, verdict)).observe(round((gate.duration_sec or 0.0) * MICROS))

    def _spread(self, measure: Measure, labels: Labels) -> Spread:
        spreads = self._spreads[measure]
        if labels not in spreads:
            spreads[labels] = Spread(measure.bounds)
        return spreads[labels]


def _ended(steps: Iterable[Step], entity: str) -> Sequence[str]:
    endings = _ENDINGS[entity]
    return [step.entity_id for step in steps if step.entity_type == entity and step.to_state in endings]
