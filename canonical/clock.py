"""The one place that reads and writes times: UTC, fixed width, microseconds, `Z`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Gives the present moment, aware, in UTC; handed in, so that a test can set it."""


def system_clock() -> datetime:
    """Read the machine's clock."""
    return datetime.now(UTC)


def utc_text(moment: datetime) -> str:
    """Write a moment as `2026-01-31T09:05:00.000000Z`; 27 characters, sorts as text; a naive one raises ValueError."""
    if moment.tzinfo is None:
        message = f"{moment!r} says no time zone"
        raise ValueError(message)
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def utc_moment(text: str) -> datetime:
    """Read back what `utc_text` wrote; raises ValueError on any other form."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or utc_text(moment) != text:  # fromisoformat reads many other forms too
        message = f"{text!r} is not a UTC time with microseconds and Z"
        raise ValueError(message)
    return moment
