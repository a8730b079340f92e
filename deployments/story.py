"""From events to sentences: a line for each step that a person wants to hear of, none for the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from prefect_acms.canonical.events import CREATED, NOTICES, Event
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.tasks.reports.text import count, one_line, printable, seconds
from prefect_acms.tasks.reviews import answer_command
from prefect_acms.tasks.summary_records import tool_of

Teller = Callable[[str], None]
Sentence = Callable[[UnitOfWork, Event], str | None]


class Story:
    """Tells the events of one run in sentences, phases included; gaps are told in numbers when a phase ends."""

    def __init__(self, tell: Teller) -> None:
        self._tell = tell
        self.run_id: str | None = None
        self._begun: dict[str, str] = {}
        self._ended: set[str] = set()

    def take(self, events: Sequence[Event], store: Store) -> None:
        """Tell what these events and the phases of the run amount to."""
        self.run_id = self.run_id or next((event.context.run_id for event in events if event.context.run_id), None)
        with store.begin(read_only=True) as dao:
            for event in events:
                if event.context.phase not in {None, *self._begun.values()}:
                    self._tell_phases(dao)
                line = sentence(dao, event)
                if line:
                    self._say(line)
            self._tell_phases(dao)

    def _say(self, line: str) -> None:
        self._tell(printable(line).replace("\n", " "))

    def finish(self, store: Store) -> None:
        """Tell the phases that ended after the last event."""
        with store.begin(read_only=True) as dao:
            self._tell_phases(dao)

    def _tell_phases(self, dao: UnitOfWork) -> None:
        for phase in dao.phases.of_run(self.run_id) if self.run_id else ():
            if phase.id not in self._begun:
                self._begun[phase.id] = phase.name
                self._say(f"phase {phase.ordinal}: {phase.name}")
            if phase.outcome is not None and phase.id not in self._ended:
                self._ended.add(phase.id)
                for line in _numbers(dao, phase.name, self.run_id or ""):
                    self._say(f"  {line}")


def sentence(dao: UnitOfWork, event: Event) -> str | None:
    """The sentence of one event, or None for one that is not worth a line."""
    if event.trigger in NOTICES:
        return f"  {event.trigger.replace('_', ' ')}: {one_line(event.reason or event.entity_id)}"
    write = _SENTENCES.get((event.entity_type, event.to_state))
    if write is None or event.trigger == CREATED:
        return None
    return write(dao, event)


def _numbers(dao: UnitOfWork, phase: str, run_id: str) -> list[str]:
    """What a phase that has ended brought, in numbers."""
    if phase == "discovery":
        sources = Counter(gap.source for gap in dao.gaps.of_run(run_id))
        listed = ", ".join(f"{source} {number}" for source, number in sorted(sources.items()))
        return [f"{count(sources.total(), 'gap')} found" + (f": {listed}" if listed else "")]
    if phase == "clustering":
        return [count(len(dao.workstreams.of_run(run_id)), "workstream"), *_deferred(dao, run_id)]
    if phase == "planning":
        return [count(len(dao.tasks.of_run(run_id)), "task"), *_deferred(dao, run_id)]
    if phase == "execution":
        states = Counter(gap.state for gap in dao.gaps.of_run(run_id))
        return [f"{count(states['resolved'], 'gap')} fixed, {states['deferred']} deferred"]
    return []


def _deferred(dao: UnitOfWork, run_id: str) -> list[str]:
    number = sum(gap.state == "deferred" for gap in dao.gaps.of_run(run_id))
    return [f"{count(number, 'gap')} deferred so far"] if number else []


def _run_started(dao: UnitOfWork, event: Event) -> str:
    run = dao.runs.get(event.entity_id)
    return f"run {run.id} on {run.repo_root} at {(run.base_commit or '')[:10]}, mode {run.mode}"


def _run_ended(dao: UnitOfWork, event: Event) -> str:
    run = dao.runs.get(event.entity_id)
    problem = run.error or run.quarantine_reason or event.reason
    return f"run {run.state}" + (f": {one_line(problem)}" if problem and run.state != "succeeded" else "")


def _workstream(dao: UnitOfWork, event: Event) -> str:
    row = dao.workstreams.get(event.entity_id)
    problem = row.error or event.reason
    return f"  workstream {row.name}: {event.to_state}" + (f": {one_line(problem)}" if row.error and problem else "")


def task_name(dao: UnitOfWork, task_id: str) -> str:
    """The short name of a task, as in the plan."""
    row = dao.tasks.get(task_id)
    return str(row.info.get("key") or row.description or row.id)


def _task_running(dao: UnitOfWork, event: Event) -> str | None:
    """Only a second attempt is worth a line: which tool is to work, if any, is decided after a task has started."""
    row = dao.tasks.get(event.entity_id)
    return f"  task {task_name(dao, row.id)}: attempt {row.attempt}" if row.attempt > 1 else None


def _task_ended(dao: UnitOfWork, event: Event) -> str:
    row = dao.tasks.get(event.entity_id)
    tool = tool_of(row)
    part = (f" by {tool}" if tool and event.to_state == "completed" else "") + (
        ", in part" if row.info.get("partial") else ""
    )
    problem = row.last_error or event.reason
    why = f": {one_line(problem)}" if problem and event.to_state != "completed" else ""
    return f"  task {task_name(dao, row.id)}: {event.to_state}{part}{why}"


def _patch(dao: UnitOfWork, event: Event) -> str:
    entry = dao.ledger.get(event.entity_id)
    patch = dao.patches.get(entry.patch_id)
    lines = f"+{patch.lines_added} -{patch.lines_removed} in {one_line(', '.join(patch.files), 60)}"
    # the row may have gone on since: its columns are asked only for what this event has written
    if event.to_state == "awaiting_review" == entry.state:
        wanted = f"{event.reason}; look at it: acms review show {patch.id}; answer: {answer_command(entry)}"
        return f"  patch waits for a review: {lines}: {wanted}"
    why = event.reason or {"quarantined": entry.quarantine_reason, "apply_failed": entry.last_error}.get(event.to_state)
    return f"  patch {_FATES[event.to_state]}: {lines}" + (f": {one_line(why)}" if why else "")


_FATES = {
    "applied": "tried",
    "committed": "kept",
    "quarantined": "quarantined",
    "dropped": "dropped",
    "awaiting_review": "waits for a review",
    "rolled_back": "rolled back",
    "apply_failed": "does not apply",
}


def _gate(dao: UnitOfWork, event: Event) -> str:
    row = dao.test_gates.get(event.entity_id)
    judgement = row.info.get("judgement") or row.info.get("unavailable")
    said = f": {one_line(str(judgement).removeprefix(f'{row.gate_type}: '))}" if judgement else ""
    if row.info.get("base"):
        # what it finds there is only what patches are compared with: it has not failed anything
        how = "green" if event.to_state == "PASSED" else "unavailable" if said else "red already"
        return f"  gate {row.gate_type} at the base commit: {how}, in {seconds(row.duration_sec)}{said}"
    return f"  gate {row.gate_type}: {event.to_state.lower()} in {seconds(row.duration_sec)}{said}"


def _gate_blocked(dao: UnitOfWork, event: Event) -> str:
    return f"  gate {dao.test_gates.get(event.entity_id).gate_type}: not run, {event.reason}"


def _breaker(dao: UnitOfWork, event: Event) -> str:
    return f"  breaker of {dao.circuit_breakers.get(event.entity_id).tool_id}: {event.to_state}"


_SENTENCES: dict[tuple[str, str], Sentence] = {
    ("run", "running"): _run_started,
    **dict.fromkeys((("run", state) for state in ("succeeded", "failed", "quarantined", "canceled")), _run_ended),
    **dict.fromkeys(
        (("workstream", state) for state in ("executing", "completed", "failed", "cancelled", "skipped")), _workstream
    ),
    ("task", "running"): _task_running,
    **dict.fromkeys((("task", state) for state in ("completed", "failed", "cancelled", "retrying")), _task_ended),
    **dict.fromkeys((("patch_ledger", state) for state in _FATES), _patch),
    ("test_gate", "PASSED"): _gate,
    ("test_gate", "FAILED"): _gate,
    ("test_gate", "BLOCKED"): _gate_blocked,
    **dict.fromkeys((("circuit_breaker", state) for state in ("OPEN", "HALF_OPEN", "CLOSED")), _breaker),
}
"""What is worth a line, by entity and the state it has reached."""
