"""The identity of a gap: what it is about, not where its lines happen to be."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prefect_acms.tasks.gaps import Gap, gap_order

CONTEXT_LINES = 3
"""Lines of code that count: enough to tell two `try:` apart, so few that work deep in a block doesn't show."""


def fingerprint(rule: str, path: str, code_lines: Sequence[str], occurrence: int = 1) -> str:
    """The identity of the n-th gap with this rule, file and code: 16 hexadecimal digits, white space doesn't count."""
    code = [" ".join(line.split()) for line in code_lines[:CONTEXT_LINES]]
    text = "\0".join([rule, path, str(occurrence), *code])
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()[:16]


class Fingerprinter:
    """Numbers equal findings in the order in which they come; one a scan, fed in the order of the lines."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def next(self, rule: str, path: str, code_lines: Sequence[str]) -> str:
        """The fingerprint of a finding, its number among equal ones counted in."""
        first = fingerprint(rule, path, code_lines)
        self._seen[first] += 1
        return fingerprint(rule, path, code_lines, self._seen[first])


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of the gaps of one scan in a later one; `kept` are gaps of the earlier scan."""

    gone: tuple[Gap, ...]
    kept: tuple[Gap, ...]
    new: tuple[Gap, ...]


def compare(before: Iterable[Gap], after: Iterable[Gap]) -> Comparison:
    """Tell gaps that are gone from gaps whose code was edited, and those from new ones.

    A fix may edit a line that holds another gap, which then has another fingerprint. So what equal fingerprints leave
    over is paired by rule, file and message (numbers in it don't count), and counts as kept: nothing is called
    resolved because its line was touched, and nothing new because its neighbour was mended.
    """
    found = {gap.fingerprint: gap for gap in after}
    earlier = {gap.fingerprint: gap for gap in before}
    kept = [gap for name, gap in earlier.items() if name in found]
    strangers: dict[tuple[object, ...], list[Gap]] = defaultdict(list)
    for gap in sorted((gap for name, gap in found.items() if name not in earlier), key=gap_order, reverse=True):
        strangers[_likeness(gap)].append(gap)
    gone = []
    for gap in sorted((gap for name, gap in earlier.items() if name not in found), key=gap_order):
        alike = strangers[_likeness(gap)]
        if alike:
            alike.pop()
            kept.append(gap)
        else:
            gone.append(gap)
    new = [gap for alike in strangers.values() for gap in alike]
    return Comparison(*(tuple(sorted(part, key=gap_order)) for part in (gone, kept, new)))


def _likeness(gap: Gap) -> tuple[object, ...]:
    return gap.source, gap.rule_id, gap.file_paths, re.sub(r"\d+", "0", gap.title)
