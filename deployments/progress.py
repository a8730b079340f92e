"""What a run is doing, told while it does it: a live view on a terminal, a line a step where output is piped."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live

from prefect_acms.canonical.events import Event
from prefect_acms.dao.store import Store, open_store
from prefect_acms.deployments.board import Board
from prefect_acms.deployments.story import Story

LOOK_EVERY_SEC = 0.5
"""How often phases are looked up while no event comes; they are rows without a lifecycle and tell no event."""


class Progress:
    """Listens to the store's events and shows them from a thread of its own, so that no transaction waits for a screen.

    Whatever goes wrong with the screen (a closed pipe, say) ends the telling and never the run.
    """

    def __init__(self, database_url: str | None, console: Console) -> None:
        self._database_url = database_url
        self._console = console
        self._events: queue.SimpleQueue[Sequence[Event] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._tell, name="acms-progress", daemon=True)

    def listen(self, events: Sequence[Event]) -> None:
        """Take the events of one commit; returns at once."""
        self._events.put(tuple(events))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._events.put(None)
        self._thread.join()

    def _tell(self) -> None:
        try:
            if self._console.is_terminal:
                self._tell_live()
            else:
                self._tell_plainly()
        except BrokenPipeError:
            self._swallow()

    def _swallow(self) -> None:
        """Nobody reads any more: take the rest of the events and say nothing."""
        while self._events.get() is not None:
            pass

    def _tell_live(self) -> None:
        board = Board()
        with Live(board, console=self._console, refresh_per_second=8, transient=True):
            self._follow(Story(board.remember), board)

    def _tell_plainly(self) -> None:
        self._follow(Story(lambda line: self._console.print(line, soft_wrap=True)), None)

    def _follow(self, story: Story, board: Board | None) -> None:
        store: Store | None = None
        while True:
            try:
                events = self._events.get(timeout=LOOK_EVERY_SEC)
            except queue.Empty:
                events = ()
            if events is None:
                break
            if events and store is None:
                store = open_store(self._database_url)
            if store is not None:
                story.take(events, store)
                if board is not None:
                    board.look(story.run_id, store)
        if store is not None:
            story.finish(store)
            if board is not None:
                board.look_now(story.run_id, store)
