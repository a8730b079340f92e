"""The in-degree map hands out work in the order of its needs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from prefect_acms.flows.schedule import Node, Schedule


def test_a_node_starts_when_all_it_needs_has_ended_well() -> None:
    """needs: every upstream ended well."""
    schedule = Schedule({"a": Node(), "b": Node(), "c": Node(needs=frozenset("ab"))})
    assert schedule.ready() == ["a", "b"]
    assert schedule.ended("a", well=True) == []
    assert schedule.ready() == []
    schedule.ended("b", well=True)
    assert schedule.ready() == ["c"]


def test_what_needs_a_failed_node_is_lost_and_what_comes_after_it_goes_on() -> None:
    """A failure is passed down `needs`, never down `after`."""
    schedule = Schedule(
        {
            "a": Node(),
            "b": Node(needs=frozenset("a")),
            "c": Node(needs=frozenset("b")),
            "d": Node(after=frozenset("c")),
        }
    )
    assert schedule.ready() == ["a"]
    assert schedule.ended("a", well=False) == ["b", "c"]
    assert schedule.ready() == ["d"]


def test_a_bounded_ready_keeps_the_rest_for_later() -> None:
    """`at_most` takes the first, in order, and loses nothing."""
    schedule = Schedule({"a": Node(), "b": Node(), "c": Node()})
    assert schedule.ready(2) == ["a", "b"]
    assert schedule.ready(2) == ["c"]


def test_a_chain_of_100_000_nodes_fails_from_its_head_without_recursion() -> None:
    """Nothing recurses."""
    names = [str(n) for n in range(100_000)]
    nodes = {name: Node(needs=frozenset(names[n - 1 : n])) for n, name in enumerate(names)}
    schedule = Schedule(nodes)
    assert schedule.ready() == ["0"]
    assert len(schedule.ended("0", well=False)) == 99_999
    assert schedule.unfinished == 0


@given(st.data())
def test_every_node_is_started_once_or_lost_once(data: st.DataObject) -> None:
    """Whatever the DAG and whatever fails, each node has exactly one fate and upstreams come first."""
    count = data.draw(st.integers(1, 12))
    nodes = {}
    for n in range(count):
        earlier = [str(m) for m in range(n)]
        needs = frozenset(data.draw(st.sets(st.sampled_from(earlier)))) if earlier else frozenset[str]()
        after = frozenset(data.draw(st.sets(st.sampled_from(earlier)))) if earlier else frozenset[str]()
        nodes[str(n)] = Node(needs, after)
    schedule = Schedule(nodes)
    started: list[str] = []
    ended: dict[str, bool] = {}
    while schedule.unfinished:
        for name in schedule.ready(data.draw(st.integers(1, 3))):
            node = nodes[name]
            assert node.needs | node.after <= set(ended)
            assert all(ended[need] for need in node.needs)
            started.append(name)
            well = data.draw(st.booleans())
            ended[name] = well
            for lost in schedule.ended(name, well=well):
                assert lost not in ended
                ended[lost] = False
    assert sorted(ended) == sorted(nodes)
    assert len(started) == len(set(started))
