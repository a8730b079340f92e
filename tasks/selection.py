"""Which gaps are taken up now, and why the others are not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pathspec import GitIgnoreSpec

from prefect_acms.blocks.config import DiscoverySettings
from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.canonical.gap import GapTrigger
from prefect_acms.tasks.fingerprints import compare
from prefect_acms.tasks.gaps import Gap, gap_order, severity_order

BASELINED = "the baseline knows it"

KNOWN = "known: "
"""How the reasons begin that are the word of an earlier run."""


class Deferred(NamedTuple):
    """A gap that is held back, the trigger that says so, and the reason for people."""

    gap: Gap
    trigger: GapTrigger
    reason: str


@dataclass(frozen=True, slots=True)
class Selection:
    """The gaps that are taken up, and those that are not; together every gap once."""

    taken: tuple[Gap, ...]
    deferred: tuple[Deferred, ...]


def select(
    gaps: Iterable[Gap],
    settings: DiscoverySettings,
    baseline: Sequence[Gap] = (),
    known: Mapping[str, str] | None = None,
    *,
    is_there: Callable[[str], bool] = lambda _path: True,
) -> Selection:
    """Hold back what the baseline knows, what `only` does not name, what is `known`, and what is beyond `max_gaps`.

    In that order; `known` are reasons by fingerprint. The baseline knows a gap also after its line was edited, and
    after its file was renamed, where `is_there` says that the old file is gone.
    """
    found = tuple(gaps)
    named, reasons = _Named(settings.only), known or {}
    strangers = {gap.fingerprint for gap in compare(baseline, found, is_there=is_there).new} if baseline else None
    taken: list[Gap] = []
    deferred: list[Deferred] = []
    for gap in sorted(found, key=gap_order):
        if strangers is not None and gap.fingerprint not in strangers:
            deferred.append(Deferred(gap, GapTrigger.BASELINED, BASELINED))
        elif not named.holds(gap):
            reason = f"not among what was asked for: {', '.join(settings.only)}"
            deferred.append(Deferred(gap, GapTrigger.FILTERED, reason))
        elif gap.fingerprint in reasons:
            deferred.append(Deferred(gap, GapTrigger.BASELINED, f"{KNOWN}{reasons[gap.fingerprint]}"))
        else:
            taken.append(gap)
    kept, beyond = _most_severe(taken, settings.max_gaps)
    deferred += [Deferred(gap, GapTrigger.FILTERED, f"beyond max_gaps = {settings.max_gaps}") for gap in beyond]
    return Selection(tuple(kept), tuple(sorted(deferred, key=lambda held: gap_order(held.gap))))


def _most_severe(gaps: list[Gap], limit: int | None) -> tuple[list[Gap], list[Gap]]:
    if limit is None:
        return gaps, []
    ranked = sorted(gaps, key=lambda gap: (severity_order(gap.severity), gap_order(gap)))
    return sorted(ranked[:limit], key=gap_order), ranked[limit:]


class _Named:
    """The `only` filter: each entry is a source, a rule, a category or a gitwildmatch path glob."""

    def __init__(self, only: Sequence[str]) -> None:
        self._everything = not only
        self._names = frozenset(only)
        try:
            self._globs = GitIgnoreSpec.from_lines(only)
        except ValueError as error:
            raise InvalidValue(
                field="discovery.only", value=list(only), expected=f"names or path globs ({error})"
            ) from error

    def holds(self, gap: Gap) -> bool:
        if self._everything or self._names & {gap.source, gap.rule_id, gap.category}:
            return True
        return any(self._globs.match_file(path) for path in gap.file_paths)
