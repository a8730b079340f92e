"""Gap sources: what they are asked, what they answer, and how they are found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from prefect_acms.blocks.ai import AiSettings
from prefect_acms.blocks.config import DiscoverySettings
from prefect_acms.canonical.errors import UnknownName
from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.tasks.environment import Environment
from prefect_acms.tasks.gaps import Gap

if TYPE_CHECKING:
    from prefect_acms.tasks.budgets import Reservation

GROUP = "prefect_acms.gap_sources"
"""The entry-point group in which any package may offer a gap source."""


class Reserving(Protocol):
    """The budget of a run, for a source that asks a model."""

    def reserved(
        self, *, tool_id: str, model: str | None, input_tokens: int, output_tokens: int, wall_sec: float
    ) -> AbstractContextManager[Reservation]:
        """Set so much aside for a block; raises BudgetExceeded before anything is spent."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What a source is asked: which tree, with which programs, for how long.

    `files` limits the answer to gaps of these files, as the proof of a patch needs it; a source must then say all it
    would say of them otherwise, with the same fingerprints. `known` are the gaps that such a proof is about, for a
    source that would not find the same twice, and `patched` the files that the patch has changed; `ai` and `budget` are
    for one that asks a model. `learnt` is a folder of the run, which may not be there yet: what a source leaves in it
    while it looks at the base commit may make its proofs faster. A proof only reads it, since what it looks at is not
    trusted yet. `answers` are what was paid for already, by a key that names all that the answer is about.
    """

    root: Path
    environment: Environment
    settings: DiscoverySettings
    timeout_sec: float
    files: tuple[str, ...] | None = None
    known: tuple[Gap, ...] = ()
    patched: frozenset[str] = frozenset()
    ai: AiSettings = field(default_factory=AiSettings)
    budget: Reserving | None = None
    learnt: Path | None = None
    answers: MutableMapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Discovered:
    """What a source answers: its gaps, and the version and the command that found them."""

    gaps: tuple[Gap, ...]
    version: str = ""
    command: tuple[str, ...] = ()
    records: Mapping[str, Any] = field(default_factory=dict)
    """What else is to be kept with the run, as JSON."""
    problem: str | None = None
    """Why these are not all gaps; the source counts as failed then, and its gaps are kept."""


class GapSource(Protocol):
    """Finds gaps and changes nothing in the tree; raises SourceFailed when it can't do its work."""

    @property
    def name(self) -> str:
        """Name of the entry point."""

    def discover(self, scan: Scan) -> Discovered:
        """Every gap that it knows of in the tree, in any order."""


@dataclass(frozen=True, slots=True)
class Unloadable:
    """Stands for a source whose package can't be imported, so that only this one fails."""

    name: str
    problem: str

    def discover(self, _scan: Scan) -> Discovered:
        """Fail with the reason."""
        raise SourceFailed(source=self.name, problem=self.problem)


def load_sources(names: Iterable[str]) -> tuple[GapSource, ...]:
    """The sources of these names, each once, in this order; raises UnknownName that lists the known ones."""
    known = offered_sources()
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in known:
            raise UnknownName(kind="gap source", name=name, known=sorted(known))
    return tuple(_loaded(known[name]) for name in wanted)


def offered_sources() -> dict[str, EntryPoint]:
    """Every offered source; where two packages offer the same name, ours stands, else the first by module."""
    offered = sorted(entry_points(group=GROUP), key=lambda entry: entry.value)
    ours = [entry for entry in offered if entry.value.startswith("prefect_acms.")]
    return {entry.name: entry for entry in (*reversed(offered), *ours)}


def _loaded(entry: EntryPoint) -> GapSource:
    try:
        found = entry.load()
        source: GapSource = found() if isinstance(found, type) else found
    except Exception as error:  # noqa: BLE001 - a foreign package may raise anything while it is imported
        return Unloadable(entry.name, f"{entry.value} can't be loaded: {type(error).__name__}: {error}")
    return source
