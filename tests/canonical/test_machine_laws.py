"""Laws over all machines, and over tables that contradict themselves."""

from __future__ import annotations

import sqlite3
from enum import StrEnum
from typing import TYPE_CHECKING

import pytest

from prefect_acms.canonical.errors import GuardRefused, InvalidMachine, InvalidTransition, OperatorRequired, UnknownName
from prefect_acms.canonical.events import CREATED, NOTICES
from prefect_acms.canonical.machine import (
    Edge,
    Fill,
    Guard,
    Machine,
    Severity,
    cleared,
    given,
    now,
    plus_one,
    zero,
)
from prefect_acms.canonical.machines import MACHINES

if TYPE_CHECKING:
    from prefect_acms.canonical.machine import Table

ALL = list(MACHINES.values())
every_machine = pytest.mark.parametrize("machine", ALL, ids=lambda machine: machine.entity)


class Lamp(StrEnum):
    """A lifecycle small enough to break by hand."""

    OFF = "off"
    ON = "on"
    BROKEN = "broken"


class Press(StrEnum):
    """What moves a lamp."""

    SWITCH = "switch"
    KICK = "kick"


class Alias(StrEnum):
    """Two names for one state."""

    OFF = "off"
    DARK = "off"


class Stranger(StrEnum):
    """A state and a trigger of somebody else."""

    OFF = "off"
    SWITCH = "switch"


NEVER = Guard("never", (), lambda _facts: False)
DRY = Guard("it is dry", ("wet",), lambda facts: not facts["wet"])
ON, OFF, BROKEN = Lamp.ON, Lamp.OFF, Lamp.BROKEN
GOOD: Table = {
    OFF: (Edge.to(ON, Press.SWITCH, guard=DRY),),
    ON: (Edge.to(OFF, Press.SWITCH), Edge.to(BROKEN, Press.KICK, operator=(Press.KICK,))),
    BROKEN: (),
}


def lamp(changes: Table | None = None, *, without: StrEnum | None = None) -> Machine:
    """The lamp, with some rows exchanged or one left out."""
    table = {state: row for state, row in {**GOOD, **(changes or {})}.items() if state is not without}
    return Machine("lamp", Lamp, Press, table)


@every_machine
def test_a_terminal_state_has_no_exit_and_every_other_state_has_one(machine: Machine) -> None:
    """Terminal is derived: an empty row is an ending, and nothing else is."""
    for state, edges in machine.table.items():
        assert (state in machine.terminal) == (not edges)
        assert (state in machine.terminal) == (not machine.reachable(state))


@every_machine
def test_every_state_is_reached_from_the_initial_one(machine: Machine) -> None:
    """No state is out of reach, and every path can end where the machine has an ending."""
    assert machine.reachable(machine.initial) | {machine.initial} == set(machine.states)
    if machine.terminal:
        assert all(machine.reachable(state) & machine.terminal for state in machine.states if machine.table[state])


@every_machine
def test_a_trigger_with_several_targets_is_decided_by_guards(machine: Machine) -> None:
    """From one state, a trigger that leads to several targets has a guard on each."""
    for edges in machine.table.values():
        for trigger in machine.triggers:
            taken = [edge for edge in edges if trigger in edge.triggers]
            assert len(taken) < 2 or all(edge.guard for edge in taken)


@every_machine
def test_no_trigger_could_be_mistaken_for_a_creation_or_a_notice(machine: Machine) -> None:
    """`created` and the names of notices are not triggers of any machine, so an event's type is never ambiguous."""
    assert not {trigger.value for trigger in machine.triggers} & (NOTICES | {CREATED})


@every_machine
def test_a_completion_time_is_stamped_exactly_on_the_way_into_an_ending(machine: Machine) -> None:
    """`completed_at` is set by each edge into a terminal state of those that have it, and by no other."""
    stamped = {"run", "workstream", "task", "test_gate"}
    for edges in machine.table.values():
        for edge in edges:
            ends = machine.entity in stamped and edge.target in machine.terminal
            assert (edge.sets.get("completed_at") is Fill.NOW) == ends


@every_machine
def test_the_check_admits_every_state_and_nothing_else(machine: Machine) -> None:
    """The generated CHECK holds in a real database for each state, and for no other text or NULL-like one."""
    database = sqlite3.connect(":memory:")
    database.execute(f"CREATE TABLE t (state TEXT NOT NULL CHECK ({machine.check_constraint()}))")
    for state in machine.states:
        database.execute("INSERT INTO t VALUES (?)", (state.value,))
    for wrong in ("", "nonsense", *(state.value.swapcase() for state in machine.states)):
        with pytest.raises(sqlite3.IntegrityError):
            database.execute("INSERT INTO t VALUES (?)", (wrong,))
    database.close()


@every_machine
def test_the_diagram_draws_each_edge_once_with_its_triggers(machine: Machine) -> None:
    """The mermaid text has one arrow an edge, one start, and one end for each terminal state."""
    lines = machine.mermaid().splitlines()
    assert lines[:2] == ["stateDiagram-v2", f"    [*] --> {machine.initial}"]
    arrows = [
        f"    {state} --> {edge.target}: {', '.join(edge.triggers)}"
        for state, edges in machine.table.items()
        for edge in edges
    ]
    assert lines[2 : -len(machine.terminal) or None] == arrows
    assert set(lines[2 + len(arrows) :]) == {f"    {state} --> [*]" for state in machine.terminal}


@every_machine
def test_an_unknown_state_or_trigger_is_told_with_the_known_ones(machine: Machine) -> None:
    """A name that does not exist is refused with a list of those that do; an unknown target is no edge."""
    with pytest.raises(UnknownName, match=f"unknown {machine.entity} state 'zz'.*{machine.initial}"):
        machine.state("zz")
    with pytest.raises(UnknownName, match=f"unknown {machine.entity} trigger 'zz'.*{next(iter(machine.triggers))}"):
        machine.candidates("id", machine.initial, "zz")
    assert machine.edge(machine.initial, "zz") is None


@every_machine
def test_an_illegal_transition_names_the_legal_ones(machine: Machine) -> None:
    """From an ending the refusal says that nothing is legal, elsewhere it lists every trigger and target."""
    for state, edges in machine.table.items():
        legal = {trigger for edge in edges for trigger in edge.triggers}
        for trigger in set(machine.triggers) - legal:
            with pytest.raises(InvalidTransition) as refused:
                machine.candidates("x_1", state, trigger)
            assert refused.value.facts["id"] == "x_1"
            assert refused.value.facts["legal"] == (
                [f"{t} -> {edge.target}" for edge in edges for t in edge.triggers] or ["nothing"]
            )


def test_the_lamp_is_a_machine() -> None:
    """The table that the next test breaks is right before it is broken."""
    assert lamp().terminal == {BROKEN}
    assert lamp().initial == OFF
    assert lamp().reachable("on") == {OFF, ON, BROKEN}


WRONG: dict[str, tuple[Table, StrEnum | None, str]] = {
    "no row": ({}, BROKEN, r"states without a row: \['broken'\]"),
    "foreign state": ({Stranger.SWITCH: ()}, None, "is not one of its states"),
    "same target twice": (
        {OFF: (Edge.to(ON, Press.SWITCH), Edge.to(ON, Press.KICK))},
        None,
        "off lists a target twice",
    ),
    "unknown target": ({OFF: (Edge.to(Stranger.SWITCH, Press.SWITCH),)}, None, "off -> switch leads to an unknown"),
    "loop": ({OFF: (Edge.to(OFF, Press.SWITCH),)}, None, "off -> off is a loop"),
    "no trigger": ({OFF: (Edge.to(ON),)}, None, "off -> on needs triggers of its own machine"),
    "foreign trigger": ({OFF: (Edge.to(ON, Stranger.SWITCH),)}, None, "off -> on needs triggers of its own machine"),
    "trigger twice": ({OFF: (Edge.to(ON, Press.SWITCH, Press.SWITCH),)}, None, "off -> on lists a trigger twice"),
    "operator without its trigger": (
        {OFF: (Edge.to(ON, Press.SWITCH, operator=(Press.KICK,)),)},
        None,
        "off -> on asks an operator for a trigger it lacks",
    ),
    "undecidable": (
        {ON: (Edge.to(OFF, Press.SWITCH, guard=NEVER), Edge.to(BROKEN, Press.SWITCH, Press.KICK))},
        None,
        r"on leaves by \['switch'\] to several targets",
    ),
    "unused trigger": ({ON: (Edge.to(BROKEN, Press.SWITCH),)}, None, r"triggers without an edge: \['kick'\]"),
    "unreachable": (
        {ON: (Edge.to(OFF, Press.SWITCH, Press.KICK),)},
        None,
        r"\['broken'\] can't be reached",
    ),
}


@pytest.mark.parametrize(("changes", "without", "problem"), WRONG.values(), ids=WRONG)
def test_a_wrong_table_does_not_import(changes: Table, without: StrEnum | None, problem: str) -> None:
    """A table that contradicts itself raises InvalidMachine as it is built, with the place."""
    with pytest.raises(InvalidMachine, match=f"the lamp machine is wrong: .*{problem}"):
        lamp(changes, without=without)


def test_a_row_under_a_name_of_another_enumeration_is_refused() -> None:
    """Equal spelling is not enough: the key of a row is a state of this machine."""
    with pytest.raises(InvalidMachine, match="is not one of its states"):
        Machine("lamp", Lamp, Press, {Stranger.OFF: GOOD[OFF], ON: GOOD[ON], BROKEN: ()})


def test_two_names_for_one_state_or_trigger_are_refused() -> None:
    """An alias in an enumeration would make two states one."""
    with pytest.raises(InvalidMachine, match="Alias has two names for one value"):
        Machine("lamp", Alias, Press, {})
    with pytest.raises(InvalidMachine, match="Alias has two names for one value"):
        Machine("lamp", Lamp, Alias, {})


def test_a_guard_decides_and_a_missing_fact_refuses() -> None:
    """An edge is taken when its guard agrees; no, and no answer, both refuse with the guard's sentence."""
    machine = lamp()
    edges = machine.candidates("lamp_1", "off", "switch")
    assert machine.decide("lamp_1", "off", edges, {"wet": False}, operator=None, trigger="switch").target is ON
    for facts in ({"wet": True}, {}):
        with pytest.raises(GuardRefused, match="lamp lamp_1 may not go from off to on: needed is that it is dry"):
            machine.decide("lamp_1", "off", edges, facts, operator=None, trigger="switch")


def test_an_operator_is_asked_for_after_the_guard() -> None:
    """The edge that only a person may take is refused without a name, an empty one included."""
    machine = lamp()
    edges = machine.candidates("lamp_1", "on", "kick")
    for nobody in (None, ""):
        with pytest.raises(OperatorRequired, match="only by a named operator"):
            machine.decide("lamp_1", "on", edges, {}, operator=nobody, trigger="kick")
    assert machine.decide("lamp_1", "on", edges, {}, operator="ada", trigger="kick").target is BROKEN


def test_a_target_narrows_the_candidates() -> None:
    """Naming the target picks among the edges of a trigger, and refuses one that the trigger does not lead to."""
    task = MACHINES["task"]
    assert [e.target for e in task.candidates("t", "running", "execution_failed")] == ["retrying", "failed"]
    assert [e.target for e in task.candidates("t", "running", "execution_failed", "failed")] == ["failed"]
    with pytest.raises(InvalidTransition, match="it can't take execution_failed to completed, legal from here: "):
        task.candidates("t", "running", "execution_failed", "completed")


def test_columns_are_filled_as_the_edge_says() -> None:
    """The words of the tables stand for the five ways to fill a column, and an edge can't be changed afterwards."""
    sets = now("a") | given("b") | cleared("c") | plus_one("d") | zero("e")
    assert list(sets.values()) == [Fill.NOW, Fill.GIVEN, Fill.CLEARED, Fill.PLUS_ONE, Fill.ZERO]
    edge = Edge.to(ON, Press.SWITCH, sets=sets)
    assert (edge.severity, dict(edge.sets), edge.admits({})) == (Severity.INFO, sets, True)
    sets["f"] = Fill.NOW
    assert "f" not in edge.sets
