"""The live view: where a run stands, at a glance, and the last things that happened."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from prefect_acms.blocks.tool_spec import TaskKind
from prefect_acms.dao.phases import PHASES
from prefect_acms.dao.store import Store
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.dao.workstreams import WorkstreamRow
from prefect_acms.deployments.table import STYLES
from prefect_acms.tasks.reports.drawing import tone
from prefect_acms.tasks.reports.text import count, one_line, seconds
from prefect_acms.tasks.summary_records import tool_of

LAST_LINES = 8
MOST_WORKSTREAMS = 12

_DOING: Mapping[str, str] = {TaskKind.ANALYSIS: "scan", TaskKind.IMPLEMENTATION: "tool", TaskKind.TEST: "gates"}
"""What is at work in a task of which no tool is known."""

LOOK_EVERY_SEC = 0.25
"""Reading every task of a large run at each event would cost more than the event."""


class Board:
    """A rich renderable that reads the store now and then, and remembers the last sentences of the story."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._begun = now()
        self._looked = 0.0
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._spinner = Spinner("dots")
        self._phase: str | None = None
        self._workstreams: Sequence[WorkstreamRow] = ()
        self._tasks: Sequence[TaskRow] = ()
        self._gaps: Counter[str] = Counter()
        self._patches: Counter[str] = Counter()

    def remember(self, line: str) -> None:
        """Keep a sentence among the last ones."""
        self._lines.append(line.strip())

    def look(self, run_id: str | None, store: Store) -> None:
        """Read where the run stands, unless that was done a moment ago."""
        if self._now() - self._looked >= LOOK_EVERY_SEC:
            self.look_now(run_id, store)

    def look_now(self, run_id: str | None, store: Store) -> None:
        """Read where the run stands."""
        if run_id is None:
            return
        self._looked = self._now()
        with store.begin(read_only=True) as dao:
            self._phase = max(((p.ordinal, p.name) for p in dao.phases.of_run(run_id)), default=(0, None))[1]
            self._workstreams = dao.workstreams.of_run(run_id)
            self._tasks = dao.tasks.of_run(run_id)
            self._gaps = Counter(gap.state for gap in dao.gaps.of_run(run_id))
            self._patches = Counter(entry.state for entry in dao.ledger.of_run(run_id))

    def __rich_console__(self, _console: Console, _options: ConsoleOptions) -> RenderResult:
        yield self._headline()
        if self._phase is None:
            yield Text("  starting; Prefect's embedded server takes some seconds", style="dim")
            return
        yield self._numbers()
        if self._workstreams:
            yield self._table()
        for line in self._lines:
            yield Text(f"  {one_line(line, 100)}", style="dim", no_wrap=True, overflow="ellipsis")

    def _headline(self) -> Table:
        line = Text()
        for name in PHASES:
            here = name == self._phase
            line.append(f" {name} ", style="bold reverse" if here else "dim")
        head = Table.grid(padding=(0, 1))
        head.add_row(self._spinner, line, Text(seconds(self._now() - self._begun), style="dim"))
        return head

    def _numbers(self) -> Text:
        gaps, patches = self._gaps, self._patches
        kept, aside = patches["committed"], patches["quarantined"]
        text = Text("  ")
        text.append(count(gaps.total(), "gap"), style="bold")
        text.append(f", {gaps['resolved']} fixed", style="green" if gaps["resolved"] else "")
        text.append(f", {gaps['deferred']} deferred", style="yellow" if gaps["deferred"] else "")
        text.append(f"; {count(kept, 'patch', 'patches')} kept", style="green" if kept else "")
        return text.append(f", {aside} quarantined", style="red" if aside else "")

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2))
        for workstream in _liveliest(self._workstreams)[:MOST_WORKSTREAMS]:
            tasks = [task for task in self._tasks if task.workstream_id == workstream.id]
            table.add_row(
                Text(f"  {one_line(workstream.name, 46)}"),
                Text(workstream.state, style=STYLES[tone(workstream.state)]),
                _dots(tasks),
                Text(_at_work(tasks), style="dim"),
            )
        left = len(self._workstreams) - MOST_WORKSTREAMS
        if left > 0:
            table.add_row(Text(f"  … {left} more", style="dim"))
        return table


def _liveliest(workstreams: Iterable[WorkstreamRow]) -> list[WorkstreamRow]:
    """Those at work first, then those to come, then those that have ended."""
    rank = {"executing": 0, "validating": 0, "ready": 1, "planned": 1, "blocked": 1}
    return sorted(workstreams, key=lambda row: (rank.get(row.state, 2), row.id))


def _dots(tasks: Sequence[TaskRow]) -> Text:
    dots = Text()
    for task in tasks:
        dots.append("●" if tone(task.state) != "waiting" else "○", style=STYLES[tone(task.state)])
    return dots


def _at_work(tasks: Sequence[TaskRow]) -> str:
    return ", ".join(tool_of(task) or _DOING[task.kind] for task in tasks if task.state == "running")
