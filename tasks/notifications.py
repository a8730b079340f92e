"""The notifications of a run: while it goes on, its channels are told in threads that it never waits for."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from prefect.context import SettingsContext

from prefect_acms.blocks.notifications import NotificationSettings
from prefect_acms.canonical.errors import AcmsError
from prefect_acms.canonical.events import Event
from prefect_acms.dao.store import Store
from prefect_acms.tasks.channels import Channel
from prefect_acms.tasks.news import saying_of
from prefect_acms.tasks.notifying import channels_of, tell

CLOSE_SEC = 10.0
"""Seconds that a run which has ended leaves its channels to be told the rest; a sweep tells what is left then."""

INTERRUPTED_SEC = 2.0
"""The same for a process that is told to stop."""

AGAIN_SEC = 60.0
"""Seconds after which a channel is tried again that failed, if nothing else happens before."""

_log = logging.getLogger(__name__)


class Notifications:
    """Tells the channels of a run what happens to it, as an async context manager around its course."""

    def __init__(self, store: Store, run_id: str, settings: NotificationSettings) -> None:
        self._store, self._run_id = store, run_id
        self._posts = [_Post(store, run_id, name, settings) for name in dict.fromkeys(settings.channels)]
        self._unsubscribe: Callable[[], None] | None = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        if kind is None:
            await asyncio.to_thread(self.close)
        else:
            self.close(INTERRUPTED_SEC)

    def start(self) -> None:
        """Tell what is untold from an earlier driver, and from now on what happens."""
        for post in self._posts:
            post.thread.start()
            post.wake.set()
        if self._posts:
            self._unsubscribe = self._store.subscribe(self._notice)

    def close(self, within_sec: float = CLOSE_SEC) -> bool:
        """Tell the rest, the end of the run with it, for so many seconds; whether every channel is done with it."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        for post in self._posts:
            post.closing.set()
            post.wake.set()
        until = time.monotonic() + within_sec
        for post in self._posts:
            post.thread.join(max(0.0, until - time.monotonic()))
        return not any(post.thread.is_alive() for post in self._posts)

    def _notice(self, events: Sequence[Event]) -> None:
        if any(
            event.context.run_id in {self._run_id, None}
            and saying_of(event.entity_type, event.to_state, event.trigger) is not None
            for event in events
        ):
            for post in self._posts:
                post.wake.set()


class _Post:
    """One channel of the configuration in a thread of its own, so that none waits for another."""

    def __init__(self, store: Store, run_id: str, name: str, settings: NotificationSettings) -> None:
        self._store, self._run_id, self._name, self._settings = store, run_id, name, settings
        self._channels: list[Channel] = []
        self._prefect = SettingsContext.get()
        self.wake, self.closing = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._work, name=f"{name} for {run_id}", daemon=True)

    def _work(self) -> None:
        with ExitStack() as context:
            if self._prefect is not None:
                # a thread starts without the settings that its flow has
                context.enter_context(self._prefect.model_copy())
            again: float | None = None
            while not self.closing.is_set():
                self.wake.wait(again)
                self.wake.clear()
                if not self.closing.is_set():
                    again = self._tell(at_end=False)
            self._tell(at_end=True)

    def _tell(self, *, at_end: bool) -> float | None:
        """Tell what is untold; in how many seconds to look again, None when only news are a reason to."""
        try:
            self._channels = self._channels or channels_of(self._store, self._run_id, self._name, self._settings)
        except AcmsError as problem:
            _log.warning("run %s: %s", self._run_id, problem)
            return AGAIN_SEC
        waits = [_told(self._store, self._run_id, channel, self.closing, at_end=at_end) for channel in self._channels]
        return min((wait for wait in waits if wait is not None), default=None)


def _told(store: Store, run_id: str, channel: Channel, closing: threading.Event, *, at_end: bool) -> float | None:
    try:
        return tell(store, run_id, channel, closing, at_end=at_end)
    except AcmsError as problem:
        _log.warning("run %s: %s; it is tried again", run_id, problem)
    except Exception:  # noqa: BLE001 - whatever a channel does, the run goes on
        _log.exception("run %s: %s could not be told", run_id, channel.name)
    return AGAIN_SEC
