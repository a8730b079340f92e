"""Ids: readable prefix and ULID, so that they sort by the time they were made."""

from __future__ import annotations

import secrets
from random import Random
from threading import Lock

from ulid import base32

from prefect_acms.canonical.clock import Clock, system_clock

_RANDOM_BITS = 80


class Ids:
    """Gives ids that never repeat and only grow; with a seed and a set clock the same ones each time."""

    def __init__(self, seed: int | None = None, clock: Clock = system_clock) -> None:
        self._random_bits = secrets.randbits if seed is None else Random(seed).getrandbits  # noqa: S311 - for tests
        self._clock = clock
        self._lock = Lock()
        self._milliseconds = -1
        self._time = ""
        self._tail = 0

    def new(self, prefix: str) -> str:
        """The next id, `<prefix>_<ULID>`."""
        milliseconds = int(self._clock().timestamp() * 1000)
        with self._lock:
            if milliseconds > self._milliseconds:
                self._milliseconds = milliseconds
                self._time = base32.encode_timestamp(milliseconds.to_bytes(6, "big"))
                # the top bit stays free: counting up within a millisecond never runs over
                self._tail = self._random_bits(_RANDOM_BITS - 1)
            else:
                self._tail += 1 + self._random_bits(32)
            return f"{prefix}_{self._time}{base32.encode_randomness(self._tail.to_bytes(10, 'big'))}"
