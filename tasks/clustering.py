"""From gaps to workstreams: what belongs together, how much it matters, how much work it is, what comes first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from posixpath import commonpath
from statistics import fmean

from prefect_acms.blocks.config import ClusterBy, ClusteringSettings
from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.tasks.gaps import Gap, gap_order
from prefect_acms.tasks.grouping import Group, by_category, by_proximity
from prefect_acms.tasks.linking import TESTING, Links, linked, untangled
from prefect_acms.tasks.plans import Effort, Workstream
from prefect_acms.tasks.selection import Deferred, Selection, select

__all__ = ["Deferred", "Selection", "cluster", "effort_of", "priority_of", "select", "workstream_of"]

WEIGHTS = {
    GapSeverity.CRITICAL: 10,
    GapSeverity.HIGH: 7,
    GapSeverity.MEDIUM: 5,
    GapSeverity.LOW: 3,
    GapSeverity.INFO: 1,
}

HIGHEST_PRIORITY = 10.0

MORE_THAN = ((Effort.HIGH, 15, 10), (Effort.MEDIUM, 5, 5))
"""An effort, the files and the gaps beyond which it is that; else it is low."""


def cluster(gaps: Iterable[Gap], settings: ClusteringSettings | None = None) -> tuple[Workstream, ...]:
    """Every gap in exactly one workstream, in an order in which they can be worked off; same gaps, same workstreams.

    Failing tests are never mixed with other gaps, because they are judged when the others are done. Raises
    InvalidDocument when gaps depend on each other in a circle.
    """
    chosen = settings or ClusteringSettings()
    group = by_category if chosen.by is ClusterBy.CATEGORY else by_proximity
    everything = sorted(gaps, key=gap_order)
    tests = [gap for gap in everything if gap.category == TESTING]
    others = [gap for gap in everything if gap.category != TESTING]
    groups = untangled([*group(others, chosen.max_files), *group(tests, chosen.max_files)])
    return _named({str(position): found for position, found in enumerate(groups)})


def workstream_of(key: str, gaps: Sequence[Gap], links: Links) -> Workstream:
    """The workstream of these gaps; everything but its key and its links follows from them."""
    files = tuple(sorted({path for gap in gaps for path in gap.file_paths}))
    category = _category(gaps)
    return Workstream(
        key=key,
        name=f"{category} in {_place(files)}",
        category=category,
        priority_score=priority_of(gaps),
        effort=effort_of(len(files), len(gaps)),
        file_scope=files,
        gaps=tuple(gap.fingerprint for gap in gaps),
        depends_on=links.depends_on,
        order_only=links.order_only,
    )


def priority_of(gaps: Iterable[Gap]) -> float:
    """The mean weight of the severities, at most 10, to two places."""
    return round(min(HIGHEST_PRIORITY, fmean(WEIGHTS[gap.severity] for gap in gaps)), 2)


def effort_of(files: int, gaps: int) -> Effort:
    """How much work so many files and gaps are."""
    return next((effort for effort, most, count in MORE_THAN if files > most or gaps > count), Effort.LOW)


def _named(groups: dict[str, Group]) -> tuple[Workstream, ...]:
    def rank(key: str) -> tuple[object, ...]:
        return -priority_of(groups[key]), _category(groups[key]), gap_order(groups[key][0])

    links = linked(groups, rank)
    width = max(2, len(str(len(links))))
    names = {key: f"ws-{number:0{width}}-{_slug(_category(groups[key]))}" for number, key in enumerate(links, start=1)}
    return tuple(
        workstream_of(
            names[key],
            groups[key],
            Links(*(tuple(names[other] for other in others) for others in (link.depends_on, link.order_only))),
        )
        for key, link in links.items()
    )


def _category(gaps: Iterable[Gap]) -> str:
    """The category of most gaps, the first by name where several have as many."""
    return min(Counter(gap.category for gap in gaps).items(), key=lambda found: (-found[1], found[0]))[0]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:40].strip("-") or "gaps"


def _place(files: Sequence[str]) -> str:
    if not files:
        return "no file"
    if len(files) == 1:
        return files[0]
    folder = commonpath(files)
    return f"{len(files)} files of {folder}" if folder else f"{len(files)} files"
