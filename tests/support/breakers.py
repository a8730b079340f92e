"""Circuit breakers in the hands of a test: their settings, their clock, and what the store says of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from prefect_acms.blocks.config import ResilienceSettings
from prefect_acms.dao.circuit_breakers import BreakerRow
from prefect_acms.dao.store import Store
from prefect_acms.tasks.breakers import ToolBreakers

SETTINGS = ResilienceSettings(failure_threshold=3, cooldown_sec=60)
START = datetime(2026, 1, 31, tzinfo=UTC)


class SetClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        """What time it is."""
        return self.now

    def pass_by(self, seconds: float) -> None:
        """Let it go on."""
        self.now += timedelta(seconds=seconds)


def fail() -> str:
    raise TimeoutError


def work() -> str:
    return "done"


def breaker_of(store: Store, tool_id: str = "tool") -> BreakerRow:
    with store.begin(read_only=True) as dao:
        row = dao.circuit_breakers.for_tool(tool_id)
    assert row is not None
    return row


def state_of(store: Store) -> str:
    return breaker_of(store).state


def let_fail(breakers: ToolBreakers, times: int) -> None:
    for _ in range(times):
        with pytest.raises(TimeoutError):
            breakers.call("tool", fail)


def breaker_of_id(row: BreakerRow | None) -> str:
    assert row is not None
    return row.id
