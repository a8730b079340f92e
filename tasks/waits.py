"""Patches of a run that wait for a person, while threads of its driver wait for the answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

OnChange = Callable[[], object]


class Waits:
    """Which ledger entries are waited for, the first one first; who listens is told of every change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, None] = {}
        self._listeners: list[OnChange] = []

    @property
    def entries(self) -> tuple[str, ...]:
        """The entries that are waited for now."""
        with self._lock:
            return tuple(self._entries)

    @contextmanager
    def of(self, entry_id: str) -> Iterator[None]:
        """A block in which a thread waits for that entry."""
        self._change(entry_id, waits=True)
        try:
            yield
        finally:
            self._change(entry_id, waits=False)

    @contextmanager
    def heard(self, on_change: OnChange) -> Iterator[None]:
        """A block in which somebody is told, from whatever thread it comes."""
        with self._lock:
            self._listeners.append(on_change)
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(on_change)

    def _change(self, entry_id: str, *, waits: bool) -> None:
        with self._lock:
            if waits:
                self._entries[entry_id] = None
            else:
                del self._entries[entry_id]
            listeners = tuple(self._listeners)
        for on_change in listeners:
            on_change()
