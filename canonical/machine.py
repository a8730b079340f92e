"""What a lifecycle is: a table of edges, from which everything else is derived."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Self

from prefect_acms.canonical.errors import GuardRefused, InvalidMachine, InvalidTransition, OperatorRequired, UnknownName

Facts = Mapping[str, Any]
"""What a guard may look at: the row's columns, what the store gathered, what the caller stated."""


class Severity(StrEnum):
    """How loud the event of a transition is."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class Fill(StrEnum):
    """How a column that an edge sets gets its value."""

    NOW = "the moment of the transition"
    GIVEN = "handed in by the caller"
    CLEARED = "NULL"
    PLUS_ONE = "one more than before"
    ZERO = "0"


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition over facts; `needs` are the facts without which it refuses."""

    sentence: str
    needs: tuple[str, ...]
    allows: Callable[[Facts], bool]


Sets = Mapping[str, Fill]


def now(*columns: str) -> dict[str, Fill]:
    """Columns that are stamped with the moment of the transition."""
    return dict.fromkeys(columns, Fill.NOW)


def given(*columns: str) -> dict[str, Fill]:
    """Columns whose values the caller must hand in."""
    return dict.fromkeys(columns, Fill.GIVEN)


def cleared(*columns: str) -> dict[str, Fill]:
    """Columns that become NULL."""
    return dict.fromkeys(columns, Fill.CLEARED)


def plus_one(*columns: str) -> dict[str, Fill]:
    """Columns that count one up."""
    return dict.fromkeys(columns, Fill.PLUS_ONE)


def zero(*columns: str) -> dict[str, Fill]:
    """Columns that go back to 0."""
    return dict.fromkeys(columns, Fill.ZERO)


@dataclass(frozen=True, slots=True)
class Edge:
    """One legal change: where to, what may cause it, how loud it is, what else it writes."""

    target: StrEnum
    triggers: tuple[StrEnum, ...]
    severity: Severity
    sets: Sets = field(default_factory=lambda: MappingProxyType({}))
    guard: Guard | None = None
    operator: tuple[StrEnum, ...] = ()

    @classmethod
    def to(
        cls,
        target: StrEnum,
        *triggers: StrEnum,
        severity: Severity = Severity.INFO,
        sets: Sets | None = None,
        guard: Guard | None = None,
        operator: Sequence[StrEnum] = (),
    ) -> Self:
        """Write an edge the way it is read: to where, by what."""
        return cls(target, triggers, severity, MappingProxyType(dict(sets or {})), guard, tuple(operator))

    def admits(self, facts: Facts) -> bool:
        """Whether the guard agrees; a fact that is missing is a no."""
        if self.guard is None:
            return True
        return all(name in facts for name in self.guard.needs) and self.guard.allows(facts)


Table = Mapping[StrEnum, Sequence[Edge]]


class Machine:
    """A lifecycle: `table[state]` lists the edges that leave it, an empty row is an ending.

    Raises InvalidMachine when it is built from a table that contradicts itself, so a wrong table does not import.
    """

    def __init__(self, entity: str, states: type[StrEnum], triggers: type[StrEnum], table: Table) -> None:
        self.entity = entity
        self.states = states
        self.triggers = triggers
        self.table: Mapping[StrEnum, tuple[Edge, ...]] = MappingProxyType({s: tuple(e) for s, e in table.items()})
        problem = next(self._problems(), None)
        if problem is not None:
            raise InvalidMachine(entity=entity, problem=problem)
        self.initial = next(iter(self.table))
        self.terminal = frozenset(state for state, edges in self.table.items() if not edges)
        self._by_trigger = {
            (state, trigger): tuple(edge for edge in edges if trigger in edge.triggers)
            for state, edges in self.table.items()
            for trigger in self.triggers
        }

    def _problems(self) -> Iterator[str]:
        """What is wrong with the table; each check may rely on those before it."""
        for names in (self.states, self.triggers):
            if len(names.__members__) != len(names):
                yield f"{names.__name__} has two names for one value"
        missing = [state.value for state in self.states if state not in self.table]
        if missing:
            yield f"states without a row: {missing}"
        for state, edges in self.table.items():
            yield from self._problems_of_row(state, edges)
        unused = set(self.triggers) - {t for edges in self.table.values() for e in edges for t in e.triggers}
        if unused:
            yield f"triggers without an edge: {sorted(t.value for t in unused)}"
        unreached = set(self.states) - self.reachable(next(iter(self.table))) - {next(iter(self.table))}
        if unreached:
            yield f"{sorted(s.value for s in unreached)} can't be reached"

    def _problems_of_row(self, state: StrEnum, edges: tuple[Edge, ...]) -> Iterator[str]:
        if not isinstance(state, self.states):
            yield f"{state!r} is not one of its states"
        if len({edge.target for edge in edges}) != len(edges):
            yield f"{state.value} lists a target twice"
        for edge in edges:
            yield from self._problems_of_edge(f"{state.value} -> {edge.target}", state, edge)
        unguarded = {trigger for edge in edges if edge.guard is None for trigger in edge.triggers}
        torn = sorted(trigger.value for trigger in unguarded if sum(trigger in edge.triggers for edge in edges) > 1)
        if torn:
            yield f"{state.value} leaves by {torn} to several targets, and not every edge has a guard"

    def _problems_of_edge(self, where: str, state: StrEnum, edge: Edge) -> Iterator[str]:
        if not isinstance(edge.target, self.states):
            yield f"{where} leads to an unknown state"
        if edge.target is state:
            yield f"{where} is a loop"
        if not edge.triggers or not all(isinstance(trigger, self.triggers) for trigger in edge.triggers):
            yield f"{where} needs triggers of its own machine"
        if len(set(edge.triggers)) != len(edge.triggers):
            yield f"{where} lists a trigger twice"
        if not set(edge.operator) <= set(edge.triggers):
            yield f"{where} asks an operator for a trigger it lacks"

    def state(self, name: str) -> StrEnum:
        """The state of that exact name; raises UnknownName."""
        try:
            return self.states(name)
        except ValueError:
            raise UnknownName(kind=f"{self.entity} state", name=name, known=[s.value for s in self.states]) from None

    def edge(self, source: str, target: str) -> Edge | None:
        """The edge between two states, or None where there is none."""
        return next((edge for edge in self.table[self.state(source)] if edge.target == target), None)

    def candidates(self, entity_id: str, source: str, trigger: str, target: str | None = None) -> tuple[Edge, ...]:
        """The edges that the trigger may take from here, in the order of the table; raises InvalidTransition."""
        state = self.state(source)
        edges = self._by_trigger.get((state, self._trigger(trigger)), ())
        if target is not None:
            edges = tuple(edge for edge in edges if edge.target == target)
        if not edges:
            legal = [f"{t} -> {edge.target}" for edge in self.table[state] for t in edge.triggers] or ["nothing"]
            wanted = f"take {trigger}" + (f" to {target}" if target else "")
            raise InvalidTransition(entity=self.entity, id=entity_id, state=source, wanted=wanted, legal=legal)
        return edges

    def decide(
        self, entity_id: str, source: str, edges: tuple[Edge, ...], facts: Facts, *, operator: str | None, trigger: str
    ) -> Edge:
        """The first edge whose guard agrees; raises GuardRefused or OperatorRequired, in that order of the table."""
        for edge in edges:
            if edge.admits(facts):
                if trigger in edge.operator and not operator:
                    raise OperatorRequired(entity=self.entity, id=entity_id, state=source, target=edge.target)
                return edge
        refusing = edges[0]
        sentence = refusing.guard.sentence if refusing.guard else ""
        raise GuardRefused(entity=self.entity, id=entity_id, state=source, target=refusing.target, guard=sentence)

    def _trigger(self, name: str) -> StrEnum:
        try:
            return self.triggers(name)
        except ValueError:
            known = [trigger.value for trigger in self.triggers]
            raise UnknownName(kind=f"{self.entity} trigger", name=name, known=known) from None

    def reachable(self, source: str) -> frozenset[StrEnum]:
        """Every state that can come after this one, at any distance."""
        found: set[StrEnum] = set()
        ahead = [self.state(source)]
        while ahead:
            for edge in self.table[ahead.pop()]:
                if edge.target not in found:
                    found.add(edge.target)
                    ahead.append(edge.target)
        return frozenset(found)

    def check_constraint(self, column: str = "state") -> str:
        """The SQL condition that only states of this machine satisfy."""
        names = ", ".join(f"'{state.value}'" for state in self.states)
        return f"{column} IN ({names})"

    def mermaid(self) -> str:
        """The machine as a mermaid state diagram, triggers on the arrows."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.initial}"]
        for state, edges in self.table.items():
            lines += [f"    {state} --> {edge.target}: {', '.join(edge.triggers)}" for edge in edges]
        lines += [f"    {state} --> [*]" for state in self.states if state in self.terminal]
        return "\n".join(lines) + "\n"
