"""A call that may hang, for somebody who must not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Bounded(Generic[T]):
    """Makes one call at a time in a thread of its own, and waits for it no longer than it is told to.

    Who asks while a call goes on waits for that one. A call that hangs is left behind, and is not made a second time
    beside itself; its thread ends with the process.
    """

    def __init__(self, call: Callable[[], T], within_sec: float, name: str) -> None:
        self._call = call
        self._within_sec = within_sec
        self._name = name
        self._starting = threading.Lock()
        self._attempt: _Attempt[T] | None = None

    def __call__(self) -> T:
        """What the call gives; raises what it raises, or TimeoutError."""
        attempt = self._going_on()
        attempt.join(self._within_sec)
        if attempt.is_alive():
            message = f"no answer within {self._within_sec:g} s"
            raise TimeoutError(message)
        if attempt.error is not None:
            raise attempt.error
        return attempt.given[0]

    def _going_on(self) -> _Attempt[T]:
        with self._starting:
            if self._attempt is None or not self._attempt.is_alive():
                self._attempt = _Attempt(self._call, self._name)
                self._attempt.start()
            return self._attempt


class _Attempt(threading.Thread, Generic[T]):
    """One call, and what came of it."""

    def __init__(self, call: Callable[[], T], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._call = call
        self.given: list[T] = []
        self.error: Exception | None = None

    def run(self) -> None:
        """Make the call."""
        try:
            self.given.append(self._call())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where the answer is waited for
            self.error = error
