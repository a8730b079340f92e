"""The screens over the view: a patch's diff, and the question who decides something and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Button, Footer, Input, Static

from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.deployments.output import coloured_diff
from prefect_acms.deployments.surroundings import caller
from prefect_acms.deployments.top.words import plain, state_text
from prefect_acms.tasks.dossiers import Dossier
from prefect_acms.tasks.orders import By, signed

MOST_LINES = 2000
"""A longer diff is cut: to colour all of it would take seconds."""


class DiffScreen(Screen[str | None]):
    """One patch with its diff; ends with what is to be done about it, if anything."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,d", "dismiss", "Back", key_display="esc"),
        Binding("a", "answer('approve')", "Approve"),
        Binding("x", "answer('reject')", "Reject"),
    ]
    AUTO_FOCUS = "#diff"  # the arrow keys scroll at once

    def __init__(self, dossier: Dossier) -> None:
        super().__init__()
        self._dossier = dossier

    def compose(self) -> ComposeResult:
        """What is known of the patch above, its diff below."""
        dossier, lines = self._dossier, self._dossier.diff.splitlines(keepends=True)
        about = Text(f"patch {dossier.id} by {dossier.tool_id or 'no tool'}: ")
        about.append_text(state_text(dossier.state)).append(f", +{dossier.lines_added} -{dossier.lines_removed}")
        review = dossier.review
        for reason in review.reasons if review else ():
            about.append("\n- ").append_text(plain(reason))
        if review:
            about.append(f"\njudged by {', '.join(review.gates) or 'no gate'}; asked until {review.expires_at}")
        yield Static(about, id="about")
        with VerticalScroll(id="diff"):
            yield Static(coloured_diff("".join(lines[:MOST_LINES])), expand=True)
            if len(lines) > MOST_LINES:
                yield Static(Text(f"… {len(lines) - MOST_LINES} more lines: acms diff {dossier.id}", style="bold"))
        yield Footer(show_command_palette=False)

    def action_answer(self, verb: str) -> None:
        """Leave, to answer."""
        self.dismiss(verb)


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked before something is done."""

    title: str
    text: str
    verb: str
    reason: str = ""


class AskScreen(ModalScreen[By | None]):
    """Asks who decides and why; ends with both, or with None when it is not to be done after all."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Don't")]
    AUTO_FOCUS = "#reason"  # the name is most often right

    def __init__(self, question: Question) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """A box in the middle."""
        question = self._question
        with Vertical(id="box"):
            yield Static(Text(question.title, style="bold"))
            yield Static(plain(question.text, 400), id="text")
            yield Input(value=caller(), placeholder="who decides", id="operator")
            yield Input(value=question.reason, placeholder="why; it is kept in the audit trail", id="reason")
            yield Static("", id="wrong")
            with Horizontal(id="buttons"):
                yield Button(question.verb, id="do", variant="warning")
                yield Button("Don't (esc)", id="leave")

    def on_input_submitted(self) -> None:
        """Enter goes on to the next field, and at last to the button, where it decides."""
        self.focus_next()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Decide, or leave."""
        if event.button.id == "leave":
            self.action_leave()
            return
        try:
            self.dismiss(signed(self.query_one("#operator", Input).value, self.query_one("#reason", Input).value))
        except InvalidValue as problem:
            self.query_one("#wrong", Static).update(Text(str(problem), style="red"))

    def action_leave(self) -> None:
        """Do nothing."""
        self.dismiss(None)
