"""The view itself: keys, panes, a look every second in a thread, and the orders that a person gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.notifications import SeverityLevel
from textual.widgets import DataTable, Footer, RichLog, Static

from prefect_acms.canonical.clock import system_clock
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.patch import PatchState
from prefect_acms.dao.chain import ANCHOR
from prefect_acms.dao.redaction import environment_redactor
from prefect_acms.dao.store import Store
from prefect_acms.deployments.client import AcmsClient
from prefect_acms.deployments.failures import failure_of
from prefect_acms.deployments.records import PatchFate
from prefect_acms.deployments.surroundings import caller
from prefect_acms.deployments.top.dialogs import AskScreen, DiffScreen, Question
from prefect_acms.deployments.top.look import Look, Watch
from prefect_acms.deployments.top.panes import Dag, Table
from prefect_acms.deployments.top.words import (
    BREAKER_HEAD,
    PATCH_HEAD,
    RUN_HEAD,
    WORKER_HEAD,
    breaker_row,
    event_line,
    headline,
    patch_row,
    run_row,
    short,
    tally,
    worker_row,
)
from prefect_acms.tasks.orders import By
from prefect_acms.tasks.reports.text import printable
from prefect_acms.tasks.summary_model import ListedRun

LOOK_EVERY_SEC = 1.0
PANES = ("runs", "dag", "patches", "workers", "breakers", "events")
LOWER = PANES[2:]
WIDE = 120
KEPT_LINES = 2000


class Found(Message):
    """Something that a thread has found out, and how it is shown."""

    def __init__(self, show: Callable[[], object]) -> None:
        super().__init__()
        self.show = show


class TopApp(App[None]):
    """Runs, the DAG of the chosen one, patches, workers, breakers and events, as they change."""

    CSS_PATH = "top.tcss"
    TITLE = "acms top"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012 - Textual declares it for instances
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "pane('runs')", "Pane", key_display="1-6"),
        *(Binding(str(at), f"pane('{name}')", show=False) for at, name in enumerate(PANES[1:], start=2)),
        Binding("d", "diff", "Diff"),
        Binding("a", "approve", "Approve"),
        Binding("x", "reject", "Reject"),
        Binding("c", "cancel", "Cancel run"),
        Binding("r", "look_now", "Refresh"),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, database_url: str | None = None, *, look_every_sec: float = LOOK_EVERY_SEC) -> None:
        super().__init__()
        self._watch = Watch(database_url)
        self._every = look_every_sec
        self._look: Look | None = None
        self._chosen: str | None = None
        self._is_looking = False
        self._redact = environment_redactor()

    def compose(self) -> ComposeResult:
        """Runs and the DAG above; below, in a wide terminal side by side, else one at a time, the others."""
        yield Static(Text(f"acms top  {self._watch.shown_url}"), id="head")
        yield Static("", id="trouble")
        with Horizontal(id="upper"):
            yield Table(*RUN_HEAD, id="runs")
            yield Dag(id="dag")
        yield Static("", id="tabs")
        with Horizontal(id="lower"):
            yield Table(*PATCH_HEAD, id="patches")
            with Vertical(id="pools"):
                yield Table(*WORKER_HEAD, id="workers")
                yield Table(*BREAKER_HEAD, id="breakers")
            yield RichLog(id="events", max_lines=KEPT_LINES, wrap=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to look."""
        for at, name in enumerate(PANES, start=1):
            self.query_one(f"#{name}").border_title = f"{at} {name}"
        self.query_one("#runs").focus()
        self._bring_to_front("patches")
        self.set_interval(self._every, self.action_look_now)
        self.action_look_now()

    @property
    def has_looked(self) -> bool:
        """Whether anything was seen yet."""
        return self._look is not None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's
        """Keys of the panes rest while another screen is over them."""
        return action == "quit" or len(self.screen_stack) == 1

    def on_unmount(self) -> None:
        """Close the store."""
        self._watch.close()

    # looking

    def action_look_now(self) -> None:
        """Look, unless a look is under way."""
        if not self._is_looking:
            self._is_looking = True
            self._look_in_thread(self._chosen)

    @work(thread=True, group="look")
    def _look_in_thread(self, chosen: str | None) -> None:
        try:
            look = self._watch.look(chosen)
        except Exception as error:
            failure = failure_of(error)
            if failure is None:
                raise
            sentence = failure.sentence
            self.post_message(Found(lambda: self._show_trouble(sentence)))
        else:
            self.post_message(Found(lambda: self._show(look)))
        finally:
            self._is_looking = False

    def on_found(self, found: Found) -> None:
        """Show what a thread has found, unless the view is being closed."""
        if self.query("#trouble"):
            found.show()

    def _show_trouble(self, sentence: str) -> None:
        trouble = self.query_one("#trouble", Static)
        trouble.update(Text(f"{self._safe(sentence)}; what is shown is what was seen last"))
        trouble.add_class("-there")

    def _safe(self, sentence: str) -> str:
        return printable(self._redact(sentence))

    def _show(self, look: Look | None) -> None:
        """Show what was found; where nothing has happened, only how long things take by now."""
        self.query_one("#trouble").remove_class("-there")
        if look is not None:
            self._look = look
            self._tell_events(look)
        if self._look is not None:
            self._fill(self._look)

    def _fill(self, look: Look) -> None:
        now = system_clock()
        snapshot = look.snapshot
        patches = snapshot.patches if snapshot else ()
        self._table("runs").show([run_row(run, now) for run in look.runs])
        self.query_one(Dag).show(snapshot, now)
        self._table("patches").show([patch_row(patch) for patch in patches])
        self._table("workers").show([worker_row(worker, now) for worker in look.workers])
        self._table("breakers").show([breaker_row(breaker, now) for breaker in look.breakers])
        self.query_one("#dag").border_title = Text("2 ").append_text(headline(snapshot, now)) if snapshot else "2 dag"
        open_runs = sum(run.state not in MACHINES["run"].terminal for run in look.runs)
        self._entitle("runs", f"{len(look.runs)}, {open_runs} unended")
        self._entitle("patches", tally((patch.state for patch in patches), "awaiting_review", "quarantined"))
        self._entitle("workers", tally((worker.state for worker in look.workers), "busy", "unresponsive"))
        self._entitle("breakers", tally((breaker.state for breaker in look.breakers), "OPEN", "HALF_OPEN"))
        self._show_tabs()

    def _entitle(self, pane: str, numbers: str) -> None:
        self.query_one(f"#{pane}").border_title = f"{PANES.index(pane) + 1} {pane}: {numbers}"

    def _show_tabs(self) -> None:
        line = Text(no_wrap=True, overflow="ellipsis")
        for name in LOWER:
            widget = self.query_one(f"#{name}")
            line.append(f" {widget.border_title} ", style="reverse" if widget.has_class("-front") else "")
        self.query_one("#tabs", Static).update(line)

    def _tell_events(self, look: Look) -> None:
        log = self.query_one("#events", RichLog)
        if look.left_out:
            log.write(Text(f"… {look.left_out} earlier events: acms audit export", style="dim"))
        for event in look.events:
            if event.entity_type != ANCHOR:
                log.write(event_line(event))

    def _table(self, name: str) -> Table:
        return self.query_one(f"#{name}", Table)

    # choosing

    def action_pane(self, name: str) -> None:
        """Go to a pane, and bring it to the front where only one has room."""
        if name in LOWER:
            self._bring_to_front(name)
        self.query_one(f"#{name}").focus()

    def _bring_to_front(self, name: str) -> None:
        for pane in LOWER:
            self.query_one(f"#{pane}").set_class(pane == name, "-front")
        self.query_one("#pools").set_class(name in {"workers", "breakers"}, "-front")
        self._show_tabs()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Show the run that the cursor is on."""
        if event.data_table.id == "runs" and event.row_key.value not in {None, self._chosen}:
            self._chosen = event.row_key.value
            self.action_look_now()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter opens the diff of a patch, and goes to the tasks of a run."""
        if event.data_table.id == "patches":
            self.action_diff()
        elif event.data_table.id == "runs":
            self.action_pane("dag")

    def _run(self) -> ListedRun | None:
        return self._look.snapshot.run if self._look and self._look.snapshot else None

    def _patch(self) -> PatchFate | None:
        entry = self._table("patches").chosen
        patches = self._look.snapshot.patches if self._look and self._look.snapshot else ()
        found = next((patch for patch in patches if patch.entry_id == entry), None)
        if found is None:
            self.notify("no patch is chosen", severity="warning")
        return found

    # orders

    def action_diff(self) -> None:
        """Show the diff of the chosen patch."""
        patch = self._patch()
        if patch is not None:
            self._open_diff(patch)

    @work(thread=True, group="diff", exclusive=True)
    def _open_diff(self, patch: PatchFate) -> None:
        def leave(verb: str | None) -> None:
            if verb is not None:
                self._ask_about(patch, verb)

        def find(store: Store) -> str:
            dossier = AcmsClient(store=store).patch(patch.entry_id)
            self.post_message(Found(lambda: self.push_screen(DiffScreen(dossier), leave)))
            return ""

        self._carry_out(find)

    def action_approve(self) -> None:
        """Approve the chosen patch, once somebody has said who and why."""
        self._ask_about(self._patch(), "approve")

    def action_reject(self) -> None:
        """Reject the chosen patch, once somebody has said who and why."""
        self._ask_about(self._patch(), "reject")

    def _ask_about(self, patch: PatchFate | None, verb: str) -> None:
        if patch is None:
            return
        if patch.state != PatchState.AWAITING_REVIEW:
            self.notify(f"patch {short(patch.id)} waits for no review: it is {patch.state}", severity="warning")
            return
        text = f"+{patch.lines_added} -{patch.lines_removed} in {', '.join(patch.files)}. It waits: {patch.reason}"
        question = Question(f"{verb.capitalize()} patch {short(patch.id)}?", text, verb.capitalize())

        def answered(by: By | None) -> None:
            if by is not None:
                self.notify(f"{verb}: patch {short(patch.id)} …", timeout=2)
                self._answer(patch, verb, by)

        self.push_screen(AskScreen(question), answered)

    @work(thread=True, group="orders")
    def _answer(self, patch: PatchFate, verb: str, by: By) -> None:
        def act(store: Store) -> str:
            from prefect_acms.deployments import answering

            acts = {"approve": answering.approve, "reject": answering.reject}
            return acts[verb](store, patch.entry_id, by).sentence

        self._carry_out(act)

    def action_cancel(self) -> None:
        """Cancel the chosen run, once somebody has said who and why."""
        run = self._run()
        if run is None:
            self.notify("no run is chosen", severity="warning")
            return
        if run.state in MACHINES["run"].terminal:
            self.notify(f"run {short(run.id)} has ended already: it is {run.state}", severity="warning")
            return
        text = (
            f"It is {run.state}, on {run.repository}. Its tools are stopped, what was merged stays on its branch, and "
            "its other patches are reverted and quarantined."
        )
        question = Question(f"Cancel run {short(run.id)}?", text, "Cancel the run", f"cancelled by {caller()}")

        def answered(by: By | None) -> None:
            if by is not None:
                self.notify(f"cancelling run {short(run.id)} …", timeout=2)
                self._cancel(run, by)

        self.push_screen(AskScreen(question), answered)

    @work(thread=True, group="orders")
    def _cancel(self, run: ListedRun, by: By) -> None:
        def act(store: Store) -> str:
            from prefect_acms.deployments import answering

            ended = answering.cancel(store, run.id, by["reason"], operator=by["operator"])
            return f"{ended.id} is {ended.state}"

        self._carry_out(act)

    def _carry_out(self, act: Callable[[Store], str]) -> None:
        """Do something in this thread, and tell what came of it."""
        severity: SeverityLevel = "information"
        try:
            sentence = act(self._watch.store())
        except Exception as error:
            failure = failure_of(error)
            if failure is None:
                raise
            sentence, severity = failure.sentence, "error"
        if sentence:
            told = self._safe(sentence)
            self.post_message(Found(lambda: self.notify(told, severity=severity, timeout=10, markup=False)))
            self.post_message(Found(self.action_look_now))
