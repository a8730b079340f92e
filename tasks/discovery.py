"""Asking every gap source, and telling which of them worked."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from prefect_acms.canonical.errors import BadInput
from prefect_acms.canonical.outside_errors import EverySourceFailed, SourceFailed
from prefect_acms.tasks.gaps import Gap, gap_order
from prefect_acms.tasks.sources import Discovered, GapSource, Scan, load_sources


class SourceOutcome(BaseModel):
    """How one source did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    ok: bool
    count: int = Field(default=0, description="gaps that it found, also those that another had found already")
    version: str = ""
    command: tuple[str, ...] = Field(default=(), description="how it was asked")
    problem: str | None = Field(default=None, description="why it failed")
    duration: float = Field(default=0.0, description="seconds")


class DiscoveryResult(BaseModel):
    """What all sources found, each gap once, in the order of the files; and how each source did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gaps: tuple[Gap, ...]
    sources: tuple[SourceOutcome, ...]
    records: dict[str, dict[str, Any]] = Field(default={}, description="what sources want kept with the run, by name")


def discover(scan: Scan, names: Iterable[str]) -> DiscoveryResult:
    """Ask the sources of these names one after the other; one that fails does not hide the others.

    Raises EverySourceFailed when none worked and none has found anything before it failed, and BadInput (an unknown
    name, a broken report) as it is.
    """
    return discover_from(load_sources(names), scan)


def discover_from(sources: Iterable[GapSource], scan: Scan) -> DiscoveryResult:
    """Ask these sources; where two know the same fingerprint, the first one's gap stands."""
    told: dict[str, tuple[Gap, ...]] = {}
    outcomes: list[SourceOutcome] = []
    records: dict[str, dict[str, Any]] = {}
    for source in sources:
        outcome, found = _asked(source, scan)
        outcomes.append(outcome)
        if found.records:
            records[source.name] = dict(found.records)
        told[source.name] = found.gaps
    gaps: dict[str, Gap] = {}
    for gap in _attributed(told, {outcome.name for outcome in outcomes if outcome.ok}):
        gaps.setdefault(gap.fingerprint, gap)
    if outcomes and not gaps and not any(outcome.ok for outcome in outcomes):
        problem = "; ".join(f"{outcome.name}: {outcome.problem}" for outcome in outcomes)
        raise EverySourceFailed(source="all", problem=problem)
    return DiscoveryResult(gaps=tuple(sorted(gaps.values(), key=gap_order)), sources=tuple(outcomes), records=records)


def _attributed(told: Mapping[str, Iterable[Gap]], worked: Collection[str]) -> Iterator[Gap]:
    """Every gap, of the source that can say whether it is gone.

    A file may tell a gap of a source that is asked too, and does not tell it: by other rules, of tests. What was asked
    again would always say that it is gone, so it stays with the source that has read the file.
    """
    own = {(name, gap.fingerprint) for name, gaps in told.items() for gap in gaps if gap.source == name}
    for name, gaps in told.items():
        for gap in gaps:
            is_known = gap.source not in worked or (gap.source, gap.fingerprint) in own
            yield gap if is_known else gap.model_copy(update={"source": name})


def _asked(source: GapSource, scan: Scan) -> tuple[SourceOutcome, Discovered]:
    began = time.monotonic()
    found, problem = Discovered(()), None
    try:
        found = source.discover(scan)
        problem = found.problem
    except BadInput:
        raise
    except SourceFailed as error:
        problem = str(error.facts["problem"])
    except Exception as error:  # noqa: BLE001 - a foreign source may raise anything, and must not hide the others
        problem = f"{type(error).__name__}: {error}"
    outcome = SourceOutcome(
        name=source.name,
        ok=problem is None,
        count=len(found.gaps),
        version=found.version,
        command=found.command,
        problem=problem,
        duration=time.monotonic() - began,
    )
    return outcome, found
