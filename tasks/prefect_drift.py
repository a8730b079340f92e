"""Where Prefect and the store tell different stories of a run, and the states that Prefect has to be given."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Crashed

from prefect_acms.tasks.bridge import run_state
from prefect_acms.tasks.drift import Drift, DriftKind
from prefect_acms.tasks.prefect_below import left_open
from prefect_acms.tasks.prefect_books import Books
from prefect_acms.tasks.prefect_findings import Finding, Known
from prefect_acms.tasks.standing import Standing
from prefect_acms.tasks.suspension import WAIT_SEC

START_SEC = 120.0
"""Seconds that an attempt has to take its run over, once it was scheduled, or begun by a worker."""


def compare(known: Known, books: Books, now: datetime) -> list[Finding]:
    """Every drift between the run and what Prefect's books say of it, attempts before what is below them."""
    return list(_Comparison(known, books, now).findings())


class _Comparison:
    def __init__(self, known: Known, books: Books, now: datetime) -> None:
        self._known = known
        self._run = known.run
        self._books = books
        self._now = now

    def findings(self) -> Iterator[Finding]:
        for attempt, run_count in self._known.attempts.items():
            flow_run = self._books.flow_runs.get(attempt)
            if flow_run is None:
                yield self._lost(attempt)
                continue
            starts = self._starts(flow_run, run_count)
            current = str(attempt) == self._run.prefect_flow_run_id
            if flow_run.state is not None and not starts:
                found = self._of_current(flow_run, flow_run.state) if current else self._of_older(flow_run)
                yield from [found] if found else []
            if not (current and (starts or self._known.standing is Standing.DRIVEN)):
                below = left_open(self._known, self._books, flow_run)
                yield from [below] if below else []

    def _starts(self, flow_run: FlowRun, run_count: int) -> bool:
        """Whether the attempt is on its way to take the run over, so that nothing is known of it yet."""
        state = flow_run.state
        if state is None:
            return False
        patience = START_SEC
        begun = state.timestamp
        match state.type:
            case StateType.SCHEDULED:
                # It may wait for a worker for as long as it takes: nobody's drift.
                return True
            case StateType.RUNNING if flow_run.run_count > run_count:
                patience += float(self._run.config.get("wait_sec", 0))
            case StateType.RUNNING if self._known.is_suspended_as(flow_run):
                patience += WAIT_SEC
            case StateType.PENDING:
                pass
            case _:
                return False
        return begun + timedelta(seconds=patience) > self._now

    def _of_current(self, flow_run: FlowRun, state: State[Any]) -> Finding | None:
        was_cancelled = state.type in {StateType.CANCELLED, StateType.CANCELLING}
        if not self._known.has_ended and was_cancelled:
            return self._cancelled(flow_run, state)
        match self._known.standing:
            case Standing.ENDED:
                return self._of_ended(flow_run, state)
            case Standing.LEFT:
                return self._of_left(flow_run, state)
        return None if self._known.has_ended or not state.is_final() else self._ended_though_driven(flow_run, state)

    def _of_ended(self, flow_run: FlowRun, state: State[Any]) -> Finding | None:
        derived = run_state(self._run)
        if (state.type, state.name) == (derived.type, derived.name):
            return None
        sentence = f"Prefect had its flow run as {state.name}, but the run is {self._run.state}"
        return self._set(DriftKind.PREFECT_STATE, flow_run, derived, sentence)

    def _of_left(self, flow_run: FlowRun, state: State[Any]) -> Finding | None:
        if state.is_crashed():
            return None
        if state.is_paused() and self._known.is_suspended_as(flow_run):
            return self._of_suspended(flow_run)
        derived = run_state(self._run)
        if state.is_final():
            derived.message = f"{derived.message}; Prefect had {state.name}: {state.message or 'no message'}"
        sentence = f"Prefect had its flow run as {state.name}, but nobody drives the run: it can be resumed"
        return self._set(DriftKind.PREFECT_DEAD, flow_run, derived, sentence)

    def _of_suspended(self, flow_run: FlowRun) -> Finding | None:
        """A suspended run is as it should be while all of its patches wait."""
        if self._known.answered is None:
            return None
        kind = DriftKind.PREFECT_SUSPENDED
        sentence = f"Prefect had its flow run suspended, but patch {self._known.answered} waits for nobody any more"
        repair = "Prefect was told to go on with it"
        drift = Drift.of(kind, self._run.id, f"flow run {flow_run.id}", sentence, repair=repair)
        return Finding(drift, _key(kind, flow_run), wakes=True)

    def _of_older(self, flow_run: FlowRun) -> Finding | None:
        state = flow_run.state
        if state is None or state.is_final():
            return None
        message = f"superseded by attempt {self._run.prefect_flow_run_id}"
        sentence = f"Prefect had its flow run {flow_run.id} as {state.name}, but that one is {message}"
        return self._set(DriftKind.PREFECT_SUPERSEDED, flow_run, Crashed(message=message), sentence)

    def _set(self, kind: DriftKind, flow_run: FlowRun, derived: State[Any], sentence: str) -> Finding:
        repair = f"the flow run was set to {derived.name}"
        drift = Drift.of(kind, self._run.id, f"flow run {flow_run.id}", sentence, repair=repair)
        return Finding(drift, _key(kind, flow_run), flow_runs=[(flow_run.id, derived)])

    def _cancelled(self, flow_run: FlowRun, state: State[Any]) -> Finding:
        kind = DriftKind.PREFECT_CANCELLED
        sentence = f"Prefect has its flow run as {state.name}, but the run was {self._run.state}"
        entity = f"flow run {flow_run.id}"
        drift = Drift.of(kind, self._run.id, entity, sentence, repair="the run was canceled")
        return Finding(drift, _key(kind, flow_run), flow_runs=[(flow_run.id, state)], cancels=True)

    def _ended_though_driven(self, flow_run: FlowRun, state: State[Any]) -> Finding:
        kind = DriftKind.PREFECT_ENDED
        sentence = (
            f"Prefect has its flow run as {state.name}, but a living process drives the run: it is left to that one"
        )
        drift = Drift.of(kind, self._run.id, f"flow run {flow_run.id}", sentence)
        return Finding(drift, _key(kind, flow_run))

    def _lost(self, attempt: UUID) -> Finding:
        kind = DriftKind.PREFECT_LOST
        sentence = f"Prefect does not know its flow run {attempt}: it was deleted, got lost, or is on another server"
        drift = Drift.of(kind, self._run.id, f"flow run {attempt}", sentence)
        return Finding(drift, f"{kind}:{attempt}")


def _key(kind: DriftKind, flow_run: FlowRun) -> str:
    return f"{kind}:{flow_run.id}:{flow_run.state.id if flow_run.state else ''}"
