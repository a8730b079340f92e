"""What is written into the panes: states in words, marks and colours, and a row for each thing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from rich.text import Text

from prefect_acms.canonical.clock import utc_moment
from prefect_acms.deployments.records import BreakerRecord, EventRecord, PatchFate, Snapshot, WorkerRecord
from prefect_acms.deployments.table import STYLES
from prefect_acms.tasks.reports.drawing import tone
from prefect_acms.tasks.reports.text import count, day_and_time, one_line, seconds
from prefect_acms.tasks.summary_model import ListedRun, TaskRecord, WorkstreamRecord

MARKS = {"good": "✓", "bad": "✗", "held": "‖", "waiting": "○", "busy": "●"}
"""A mark for each tone, so that nobody has to tell colours apart."""

_TONES = {"OPEN": "bad", "HALF_OPEN": "held", "CLOSED": "good", "unresponsive": "bad"} | dict.fromkeys(
    ("idle", "IDLE", "initializing", "shutdown", "TERMINATED"), "waiting"
)
"""Tones of states that the reports don't show."""

RUN_HEAD = ("RUN", "STATE", "REPOSITORY", "TIME", "MODE")
PATCH_HEAD = ("PATCH", "STATE", "LINES", "FILES", "REASON")
WORKER_HEAD = ("WORKER", "STATE", "TYPE", "HEARTBEAT", "TASK", "RUN")
BREAKER_HEAD = ("TOOL", "STATE", "FAILURES", "OPENED", "COOLDOWN")

Row = tuple[str, tuple[Text, ...]]
"""The key of a row, and its cells."""


def state_text(state: str) -> Text:
    """A state as mark and word, coloured."""
    kind = _TONES.get(state) or tone(state)
    return Text.assemble((f"{MARKS[kind]} {state}", STYLES[kind]))


def short(name: str | None) -> str:
    """The end of an id, by which every command finds it."""
    return name[-8:] if name else "-"


def plain(text: str, limit: int = 200) -> Text:
    """Foreign text on one line, without markup and without what steers a terminal."""
    return Text(one_line(text, limit))


def since(start: str | None, end: str | None, now: datetime) -> str:
    """How long something took, or takes already."""
    if start is None:
        return "-"
    moment = utc_moment(end) if end else now
    return seconds(max(0.0, (moment - utc_moment(start)).total_seconds()))


def run_row(run: ListedRun, now: datetime) -> Row:
    """One run."""
    state = state_text(run.state)
    if run.driver == "nobody":
        state.append(", nobody drives it", style="yellow")
    repository = plain(run.repository.rstrip("/").rpartition("/")[2])
    return run.id, (
        Text(short(run.id)), state, repository, Text(since(run.started_at, run.completed_at, now)), Text(run.mode)
    )  # fmt: skip


def patch_row(patch: PatchFate) -> Row:
    """One patch and its fate."""
    lines = Text(f"+{patch.lines_added} -{patch.lines_removed}")
    reason = patch.reason or ""
    if patch.expires_at:
        reason = f"until {day_and_time(patch.expires_at)}: {reason}"
    return patch.entry_id, (
        Text(short(patch.id)), state_text(patch.state), lines, plain(", ".join(patch.files), 40), plain(reason)
    )  # fmt: skip


def worker_row(worker: WorkerRecord, now: datetime) -> Row:
    """One worker."""
    beat = Text(f"{since(worker.last_heartbeat, None, now)} ago")
    return worker.id, (
        Text(short(worker.id)), state_text(worker.state), plain(worker.type), beat,
        Text(short(worker.task_id)), Text(short(worker.run_id)),
    )  # fmt: skip


def breaker_row(breaker: BreakerRecord, now: datetime) -> Row:
    """One breaker."""
    opened = f"{since(breaker.opened_at, None, now)} ago" if breaker.opened_at else "-"
    return breaker.id, (
        plain(breaker.tool_id), state_text(breaker.state), Text(f"{breaker.failure_count}/{breaker.failure_threshold}"),
        Text(opened), Text(seconds(breaker.cooldown_sec)),
    )  # fmt: skip


def workstream_label(workstream: WorkstreamRecord, names: Mapping[str, str]) -> Text:
    """One workstream: its state, its gaps, and what it waits for."""
    label = state_text(workstream.state)
    label.append(f"  {one_line(workstream.name, 48)}", style="bold")
    label.append(f"  {workstream.resolved}/{count(workstream.gaps, 'gap')}")
    return _after(label, [names.get(other, other) for other in workstream.depends_on])


def task_label(task: TaskRecord, tasks: Mapping[str, TaskRecord], now: datetime) -> Text:
    """One task: its state, its name within its workstream, tool and time, and the tasks that it waits for."""
    label = state_text(task.state)
    if task.partial:
        label.append(", in part")
    label.append(f"  {_name(task, task)}")
    label.append(f"  {task.tool_id}" if task.tool_id else "", style="dim")
    if task.started_at:
        label.append(f"  {since(task.started_at, task.completed_at, now)}", style="dim")
    if task.attempt > 1:
        label.append(f"  attempt {task.attempt}", style="yellow")
    others = (tasks.get(other) for other in (*task.depends_on, *task.comes_after))
    label = _after(label, [_name(other, task) for other in others if other])
    if task.error:
        label.append(f"  {one_line(task.error, 80)}", style="red")
    return label


def _name(task: TaskRecord, beside: TaskRecord) -> str:
    """The short name, without the workstream where that is the same."""
    key = one_line(task.key, 40)
    return key.rpartition("/")[2] if task.workstream_id == beside.workstream_id else key


def _after(label: Text, names: Sequence[str]) -> Text:
    if names:
        label.append(f"  after {', '.join(names)}", style="dim")
    return label


def event_line(event: EventRecord) -> Text:
    """One event: when, in which run, what, from where to where, and why."""
    line = Text.assemble((f"{event.transitioned_at[11:19]} {short(event.run_id):8} ", "dim"))
    line.append(f"{event.entity_type} {short(event.entity_id)} ")
    if event.from_state and event.from_state != event.to_state:
        line.append(f"{event.from_state} → ", style="dim")
    line.append_text(state_text(event.to_state))
    said = event.reason or event.trigger.replace("_", " ")
    line.append(f"  {one_line(said, 160)}", style="dim")
    return line.append(f" ({one_line(event.operator, 30)})" if event.operator else "")


def headline(snapshot: Snapshot, now: datetime) -> Text:
    """The chosen run in one line: where it stands, and its gaps in numbers."""
    run = snapshot.run
    phase = next((phase.name for phase in reversed(snapshot.phases) if phase.outcome is None), None)
    line = Text(f"{short(run.id)} ")
    line.append_text(state_text(run.state)).append(", degraded" if run.degraded else "")
    line.append(f" in {phase}" if phase else "")
    line.append(f"  {since(run.started_at, run.completed_at, now)}  {count(sum(snapshot.gaps.values()), 'gap')}")
    for state in ("resolved", "deferred"):
        if snapshot.gaps.get(state):
            line.append(f", {snapshot.gaps[state]} {state}")
    problem = run.error or run.quarantine_reason
    return line.append(f"  {one_line(problem, 100)}" if problem else "", style="red")


def tally(states: Iterable[str], *worth: str) -> str:
    """How many there are, and how many are in states that are worth a word: `3, 1 OPEN`."""
    numbers = Counter(states)
    named = [f"{numbers[state]} {state}" for state in worth if numbers[state]]
    return ", ".join([str(numbers.total()), *named])
