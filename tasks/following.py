"""A follower of a store: what its commits bring is handed on in order, in a thread that no commit waits for."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import Self
from weakref import WeakSet

from prefect_acms.canonical.events import Event
from prefect_acms.dao.store import Store

Handle = Callable[[Sequence[Event]], None]
"""Is handed the events of one commit, or of several that came together, in order."""

ROOM = 10_000
"""Events that wait to be handled at most: those of a busy minute."""

FAREWELL_SEC = 5.0
"""Seconds in which what still waits at the end is handled."""

_log = logging.getLogger(__name__)


class Follower:
    """Hands the events of each commit of this process to `handle`; what there is no room for is counted, not kept.

    What `handle` raises is logged, and the next commit is handed to it all the same. The events in between can be read
    in the database. With `gather_sec`, commits within that time are handed on together; `at_end` is called
    last, in the same thread, which sees the settings of Prefect that hold here. As a context manager it is closed at
    the end; else it is when the process ends.
    """

    def __init__(
        self,
        store: Store,
        handle: Handle,
        name: str,
        *,
        room: int = ROOM,
        gather_sec: float = 0.0,
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.held_back = 0
        """Events that were not handed on, for want of room or of time."""
        self._store = store
        self._handle = handle
        self._name = name
        self._room = room
        self._gather_sec = gather_sec
        self._at_end = at_end
        self._waiting: deque[Sequence[Event]] = deque()
        self._events = 0
        self._changed = threading.Condition()
        self._ends_at: float | None = None
        self._thread = threading.Thread(target=copy_context().run, args=(self._follow,), name=name, daemon=True)
        self._thread.start()
        self._unsubscribe = store.subscribe(self.notice)
        if not _OPEN:
            # Again after all were closed: what was registered since, like the end of an embedded server, comes after.
            atexit.unregister(close_followers)
            atexit.register(close_followers)
        _OPEN.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self.close()

    def close(self, within_sec: float = FAREWELL_SEC) -> bool:
        """Follow no more, and handle what waits for so many seconds; whether all of it was. Twice is as once."""
        self._store.settle(within_sec)
        self._unsubscribe()
        with self._changed:
            if self._ends_at is None:
                self._ends_at = time.monotonic() + within_sec
            self._changed.notify()
        self._thread.join(max(0.0, self._ends_at - time.monotonic()))
        with self._changed:
            self._give_up_the_rest()
        _OPEN.discard(self)
        return not (self.held_back or self._thread.is_alive())

    def notice(self, events: Sequence[Event]) -> None:
        """Let the events of a commit wait for their turn, or count them."""
        with self._changed:
            if self._ends_at is not None or self._events + len(events) > self._room:
                self.held_back += len(events)
                return
            self._waiting.append(events)
            self._events += len(events)
            self._changed.notify()

    def _follow(self) -> None:
        while (events := self._next()) is not None:
            self._try(partial(self._handle, events))
        self._try(self._at_end)

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # noqa: BLE001 - whatever it is, the events are stored, and those that follow are handed on
            _log.exception("%s failed; the events are stored all the same", self._name)

    def _next(self) -> Sequence[Event] | None:
        """The events of the next commit, waited for; None once there will be no more."""
        with self._changed:
            while not self._waiting and self._ends_at is None:
                self._changed.wait()
            if self._gather_sec:
                self._changed.wait_for(lambda: self._ends_at is not None, self._gather_sec)
            if not self._waiting:
                return None
            if self._gather_sec:
                events: Sequence[Event] = [event for commit in self._waiting for event in commit]
                self._waiting.clear()
            else:
                events = self._waiting.popleft()
            self._events -= len(events)
            return events

    def _give_up_the_rest(self) -> None:
        self.held_back += self._events
        self._waiting.clear()
        self._events = 0


_OPEN: WeakSet[Follower] = WeakSet()


def close_followers(within_sec: float = FAREWELL_SEC) -> None:
    """Close what follows a store in this process, all within so many seconds."""
    end = time.monotonic() + within_sec
    for follower in list(_OPEN):
        follower.close(max(0.0, end - time.monotonic()))
