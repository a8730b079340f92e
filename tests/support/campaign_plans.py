"""What a kill does, drawn from its seed and number alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from campaign_points import Blow, Kind, Reach, When
from campaign_repositories import SHAPES, Shape

_KINDS = {Kind.INSTANT: 25, Kind.COMMIT: 27, Kind.GIT: 27, Kind.OUTBOX: 14, Kind.TOOL: 7}
_BLOWS = {1: 65, 2: 25, 3: 10}
_WITHOUT_DATABASE = 0.05
_TREE = 0.3
_EARLY = 30
"""A resumed driver is killed at one of its first points half of the time: there it puts right what it found."""

_GIT_SEC = 0.008
_TOOL_SEC = 0.2


@dataclass(frozen=True, slots=True)
class Draw:
    """What chance says of one blow, before it is known how many points there are."""

    kind: Kind
    when: When
    share: float
    early: bool
    delay: float
    reach: Reach

    def blow(self, counts: Mapping[Kind, int], seconds: float, *, resumed: bool) -> Blow:
        """The blow, by the points and the time that a run without kills has."""
        if self.kind is Kind.INSTANT:
            return Blow(self.kind, delay_sec=self.share * seconds, reach=self.reach)
        points = min(_EARLY, counts[self.kind]) if resumed and self.early else counts[self.kind]
        longest = _TOOL_SEC if self.kind is Kind.TOOL else _GIT_SEC
        return Blow(self.kind, self.when, 1 + int(self.share * points), self.delay * longest, self.reach)


@dataclass(frozen=True, slots=True)
class Plan:
    """A kill as it is drawn: all of it follows from the seed and the number."""

    seed: str
    number: int
    shape: Shape
    has_database: bool
    draws: tuple[Draw, ...]


def drawn(seed: str, number: int, shapes: tuple[Shape, ...] = SHAPES) -> Plan:
    """The kill of that number; the same each time, on every machine."""
    chance = Random(f"{seed}/{number}")  # noqa: S311 - no secret, but the same again
    shape = chance.choices(shapes, [shape.weight for shape in shapes])[0]
    has_database = chance.random() >= _WITHOUT_DATABASE
    blows = chance.choices([*_BLOWS], [*_BLOWS.values()])[0]
    return Plan(seed, number, shape, has_database, tuple(_draw(chance) for _ in range(blows)))


def _draw(chance: Random) -> Draw:
    kind = chance.choices([*_KINDS], [*_KINDS.values()])[0]
    whens = {Kind.COMMIT: [When.BEFORE, When.AFTER]}.get(kind, [*When])
    when = chance.choice(whens)
    share, early, delay = chance.random(), chance.random() < 0.5, chance.random()
    tree = chance.random() < _TREE or (kind is Kind.GIT and when is When.DURING)
    return Draw(kind, when, share, early, delay, Reach.TREE if tree else Reach.GROUP)
