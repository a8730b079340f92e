"""The store: `with store.begin() as dao:` is the only way to the canonical database."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NoReturn, TypeVar
from weakref import WeakSet, finalize

from sqlalchemy import Engine

from prefect_acms.canonical.clock import Clock, system_clock
from prefect_acms.canonical.errors import StoreUnavailable
from prefect_acms.canonical.events import Event
from prefect_acms.dao import migration
from prefect_acms.dao.connections import Desk, Synchronous, address, engine_for, patience, shown
from prefect_acms.dao.facts import Asker
from prefect_acms.dao.home import database_url
from prefect_acms.dao.ids import Ids
from prefect_acms.dao.lifecycles import Lifecycle
from prefect_acms.dao.redaction import Redact, Scrubber
from prefect_acms.dao.schema import StateRow
from prefect_acms.dao.statements import Compiler
from prefect_acms.dao.trail import TrailStatements
from prefect_acms.dao.unit import Fence, UnitOfWork

__all__ = ["Fence", "Listener", "Store", "UnitOfWork", "open_store"]

S = TypeVar("S", bound=StateRow)
Listener = Callable[[Sequence[Event]], None]
"""Is told the events of a commit, in order."""

_log = logging.getLogger(__name__)


def open_store(
    url: str | None = None,
    *,
    clock: Clock = system_clock,
    ids: Ids | None = None,
    synchronous: Synchronous = "FULL",
    busy_timeout_sec: float | None = None,
    redact: Redact | None = None,
) -> Store:
    """Open the canonical database, making it where there is none; raises StoreUnavailable.

    With `synchronous` FULL a transition that was reported survives a power cut; NORMAL may lose the last ones, is
    never corrupt, and is several times faster. `redact` takes secrets out of texts; by default the values of the
    environment variables that look like keys. Who holds the database is waited for `busy_timeout_sec`; without it, as
    long as the URL says (`sqlite:///canonical.db?timeout=5`), or 60 s.
    """
    parsed = address(database_url(url))
    wait = patience(parsed, busy_timeout_sec)
    try:
        migration.prepare(parsed.render_as_string(hide_password=False), wait)
        engine = engine_for(parsed, synchronous=synchronous, busy_timeout_sec=wait)
    except OSError as problem:
        raise StoreUnavailable(url=shown(parsed), problem=str(problem)) from None
    except ImportError as problem:
        raise StoreUnavailable(url=shown(parsed), problem=f"its driver is missing ({problem})") from None
    return Store(engine, clock, ids or Ids(clock=clock), Scrubber(redact), wait)


class _Seat:
    """What goes with a thread: a desk is part of reference cycles, and would stay open until they are collected."""


class Store:
    """The canonical database, for all threads of a process."""

    def __init__(self, engine: Engine, clock: Clock, ids: Ids, scrubber: Scrubber, busy_timeout_sec: float) -> None:
        self.url = engine.url.render_as_string(hide_password=False)
        self.shown_url = shown(engine.url)
        self.clock = clock
        self.ids = ids
        self.scrubber = scrubber
        self.locks = engine.dialect.name != "sqlite"
        """Whether the database locks rows; SQLite locks the file."""
        compiler = Compiler(engine.dialect)
        self.asker = Asker(compiler, clock)
        self.trail_statements = TrailStatements(compiler, locks=self.locks)
        self._compiler = compiler
        self._lifecycles: dict[type[StateRow], Lifecycle[Any]] = {}
        self._engine = engine
        self._busy_timeout_sec = busy_timeout_sec
        self._listeners: tuple[Listener, ...] = ()
        self._closed = False
        self._inherited: list[threading.local] = []
        self._start()

    def _start(self) -> None:
        """What belongs to one process: a forked child starts anew, since a connection can't be shared."""
        self._pid = os.getpid()
        self._local = threading.local()
        self._desks: WeakSet[Desk] = WeakSet()
        # writers of one process queue here, where waiting is fair, and not in SQLite, where it is by sleeping
        self._writer = threading.Lock()
        self._in_order = threading.Lock()
        self._publishing = threading.Lock()
        self._outgoing: deque[Sequence[Event]] = deque()

    def begin(self, *, read_only: bool = False, fence: Fence | None = None) -> AbstractContextManager[UnitOfWork]:
        """A unit of work; on SQLite a writer waits for its turn here. Units of one thread don't nest."""
        return UnitOfWork(self, read_only=read_only, fence=fence)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call the listener after each commit with its events, one commit at a time; gives the way to stop it."""
        self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            self._listeners = tuple(known for known in self._listeners if known is not listener)

        return unsubscribe

    def close(self) -> None:
        """Close the connections of all threads; no unit of work may be open."""
        self._closed = True
        if self._pid == os.getpid():
            for desk in list(self._desks):
                desk.close()
        self._engine.dispose()

    def lifecycle(self, row: type[S]) -> Lifecycle[S]:
        """The lifecycle of a table, its statements compiled once."""
        found: Lifecycle[S] | None = self._lifecycles.get(row)
        if found is None:
            found = self._lifecycles[row] = Lifecycle(row, self._compiler, self.scrubber, locks=self.locks)
        return found

    # what units of work need

    def open_desk(self, *, read_only: bool) -> Desk:
        """The thread's desk with a transaction open on it."""
        desk = self._desk()
        queues = not (read_only or self.locks)
        if queues and not self._writer.acquire(timeout=self._busy_timeout_sec):
            self._refuse("another thread has held its lock for too long")
        try:
            desk.begin(read_only=read_only)
        except BaseException:
            self._drop(desk)
            if queues:
                self._writer.release()
            raise
        return desk

    def _desk(self) -> Desk:
        if self._closed:
            self._refuse("it was closed")
        if self._pid != os.getpid():
            self._inherited.append(self._local)  # a child must not even close its parent's connections
            self._start()
        desk: Desk | None = getattr(self._local, "desk", None)
        if desk is None:
            desk = self._sit_down()
        if desk.in_use:
            self._refuse("this thread has a unit of work open already, and units don't nest")
        return desk

    def _sit_down(self) -> Desk:
        """A desk for this thread, closed when the thread ends."""
        self._local.desk, self._local.seat = Desk(self._engine), _Seat()
        self._desks.add(self._local.desk)
        finalize(self._local.seat, self._local.desk.close).atexit = False
        desk: Desk = self._local.desk
        return desk

    def leave_desk(self, desk: Desk, *, read_only: bool) -> None:
        """End the transaction, undoing what was not committed."""
        try:
            desk.leave(read_only=read_only)
        except StoreUnavailable as problem:
            _log.warning("a connection was lost and is replaced: %s", problem)
            self._drop(desk)
        finally:
            if not (read_only or self.locks):
                self._writer.release()

    def _drop(self, desk: Desk) -> None:
        self._local.desk = None
        desk.discard()

    def commit(self, desk: Desk, events: Sequence[Event]) -> None:
        """Commit, and line the events up in the order of the commits."""
        with self._in_order:
            desk.commit()
            if events and self._listeners:
                self._outgoing.append(events)

    def publish(self) -> None:
        """Tell the listeners what was committed; while one thread tells, the others leave it their events."""
        while self._outgoing and self._publishing.acquire(blocking=False):
            try:
                self._tell_all()
            finally:
                self._publishing.release()

    def settle(self, within_sec: float) -> None:
        """Wait, so long at most, until listeners were told of every commit made before, whichever thread tells them."""
        if self._publishing.acquire(timeout=within_sec):
            try:
                self._tell_all()
            finally:
                self._publishing.release()

    def _tell_all(self) -> None:
        while self._outgoing:
            self._tell(self._outgoing.popleft())

    def _tell(self, events: Sequence[Event]) -> None:
        for listener in self._listeners:
            try:
                listener(events)
            except Exception:  # noqa: BLE001 - whatever it is, the commit stands and the others are told
                _log.exception("a listener failed; what it was told is stored all the same")

    def _refuse(self, problem: str) -> NoReturn:
        raise StoreUnavailable(url=self.shown_url, problem=problem)
