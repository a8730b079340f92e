"""Resets of a breaker by an operator."""

from __future__ import annotations

import pytest
from breakers import SETTINGS, SetClock, breaker_of, breaker_of_id, let_fail, state_of, work

from prefect_acms.canonical.errors import GuardRefused, InvalidTransition, NotFound
from prefect_acms.dao.store import Store
from prefect_acms.tasks.breakers import ToolBreakers


def test_an_operator_closes_an_open_breaker_by_way_of_half_open(store: Store, opened: ToolBreakers) -> None:
    """Both steps are in the trail under their name."""
    opened.reset("tool", "ada", "the disk is free again")
    assert opened.call("tool", work) == "done"
    with store.begin(read_only=True) as dao:
        last = dao.transitions.of_entity("circuit_breaker", breaker_of_id(dao.circuit_breakers.for_tool("tool")))[-2:]
    assert [(row.from_state, row.to_state, row.operator, row.reason) for row in last] == [
        ("OPEN", "HALF_OPEN", "ada", "the disk is free again"),
        ("HALF_OPEN", "CLOSED", "ada", "the disk is free again"),
    ]


def test_an_operator_may_end_a_probe_too(store: Store, clock: SetClock) -> None:
    """A half-open breaker is closed, and the probe that is under way has no say any more."""
    breakers = ToolBreakers(store, SETTINGS)
    let_fail(breakers, 3)
    clock.pass_by(60)

    def reset_meanwhile() -> None:
        breakers.reset("tool", "ada")
        raise TimeoutError

    with pytest.raises(TimeoutError):
        breakers.call("tool", reset_meanwhile)
    assert (state_of(store), breaker_of(store).failure_count) == ("CLOSED", 0)


def test_a_reset_needs_a_name_and_a_breaker_that_is_not_closed(store: Store, opened: ToolBreakers) -> None:
    """Otherwise it is refused, and nothing has changed."""
    with pytest.raises(GuardRefused, match="an operator resets it"):
        opened.reset("tool", "")
    assert state_of(store) == "OPEN"
    with pytest.raises(NotFound, match="'unknown'"):
        opened.reset("unknown", "ada")
    opened.call("other", work)
    with pytest.raises(InvalidTransition, match="is CLOSED"):
        opened.reset("other", "ada")
