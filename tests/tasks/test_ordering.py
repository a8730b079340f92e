"""Topological order is deterministic, fast and names a cycle."""

from __future__ import annotations

from graphlib import CycleError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_acms.tasks.ordering import cycle_of, drawn, in_order


def test_the_lowest_rank_comes_first_among_the_free() -> None:
    """Where nothing waits, rank decides; a need that nobody has is ignored."""
    assert in_order({"a": ["c"], "b": ["nobody"], "c": []}, str) == ["b", "c", "a"]


def test_a_cycle_is_named_from_its_smallest_member() -> None:
    """A waits for b, b for c, c for a; d only waits behind them and is not part of it."""
    with pytest.raises(CycleError) as caught:
        in_order({"d": ["a"], "b": ["c"], "c": ["a"], "a": ["b"]}, str)
    assert cycle_of(caught.value) == ["a", "b", "c"]
    assert drawn(cycle_of(caught.value)) == "a -> b -> c -> a"


def test_a_long_chain_and_a_long_cycle_need_no_recursion() -> None:
    """100,000 names; of a cycle ten members are shown and the rest is counted."""
    needs = {str(n): [str(n - 1)] if n else [] for n in range(100_000)}
    assert in_order(needs, int)[-1] == "99999"
    needs["0"] = ["99999"]
    with pytest.raises(CycleError) as caught:
        in_order(needs, int)
    assert drawn(cycle_of(caught.value)).endswith("… 99990 more -> 0")


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.sets(st.sampled_from("abcdefgh"))))
def test_every_graph_is_ordered_or_has_a_cycle(needs: dict[str, set[str]]) -> None:
    """An order has every name once, behind its needs; a cycle is a way along needs back to its start."""
    try:
        order = in_order(needs, str)
    except CycleError as error:
        cycle = cycle_of(error)
        following = [*cycle[1:], cycle[0]]
        assert all(after in needs[name] for name, after in zip(cycle, following, strict=True))
    else:
        assert sorted(order) == sorted(needs)
        assert all(need not in order or order.index(need) < order.index(n) for n in order for need in needs[n])
