"""Hypothesis walks the machines: whatever is tried, only what the table says happens."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_acms.canonical.errors import TransitionError
from prefect_acms.canonical.machine import Fill, Machine
from prefect_acms.canonical.machines import MACHINES

machines = st.sampled_from(list(MACHINES.values()))


def _triggers(machine: Machine) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from([trigger.value for trigger in machine.triggers]), max_size=40)


@settings(max_examples=300)
@given(st.data())
def test_a_walk_of_any_triggers_moves_only_along_edges_and_never_out_of_an_ending(data: st.DataObject) -> None:
    """Any sequence of triggers: each one either moves along an edge that lists it, or is refused and moves nothing."""
    machine = data.draw(machines)
    model = {
        (state.value, trigger.value, edge.target.value)
        for state, edges in machine.table.items()
        for edge in edges
        for trigger in edge.triggers
    }
    state = machine.initial.value
    for trigger in data.draw(_triggers(machine)):
        legal = {target for source, by, target in model if (source, by) == (state, trigger)}
        try:
            target = data.draw(st.sampled_from(machine.candidates("id", state, trigger))).target.value
        except TransitionError:
            assert not legal
            continue
        assert target in legal
        assert state not in machine.terminal
        state = target
    assert state in {known.value for known in machine.states}


@settings(max_examples=200)
@given(st.data())
def test_every_random_walk_along_edges_can_still_come_to_an_ending(data: st.DataObject) -> None:
    """From wherever a walk stands, an ending is reachable, in each machine that has endings."""
    machine = data.draw(machines.filter(lambda m: bool(m.terminal)))
    state = machine.initial
    for _ in range(data.draw(st.integers(0, 30))):
        if machine.table[state]:
            state = data.draw(st.sampled_from(machine.table[state])).target
        assert state in machine.terminal or machine.reachable(state) & machine.terminal


@settings(max_examples=200)
@given(st.data())
def test_columns_of_a_walk_follow_the_edges(data: st.DataObject) -> None:
    """A task has a worker exactly while it runs, and a completion time exactly at its end, by what its edges set."""
    machine = MACHINES["task"]
    state, row = machine.initial, dict.fromkeys(("worker_id", "completed_at", "blocked_by"))
    for _ in range(data.draw(st.integers(1, 30))):
        if not machine.table[state]:
            break
        edge = data.draw(st.sampled_from(machine.table[state]))
        state = edge.target
        row |= {column: None if fill is Fill.CLEARED else "set" for column, fill in edge.sets.items()}
        assert (row["worker_id"] is not None) == (state == "running")
        assert (row["completed_at"] is not None) == (state in machine.terminal)
        assert state != "pending" or row["blocked_by"] is None


def test_without_a_single_fact_no_guarded_edge_is_taken() -> None:
    """Every guard needs facts, and refuses without them: forgetting to gather is never a yes."""
    for machine in MACHINES.values():
        for edges in machine.table.values():
            for edge in edges:
                assert edge.admits({}) == (edge.guard is None)
                assert edge.guard is None or edge.guard.needs
