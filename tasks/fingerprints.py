"""The identity of a gap: what it is about, not where its lines happen to be."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from prefect_acms.tasks.gaps import Gap, gap_order

CONTEXT_LINES = 3
"""Lines of code that count: enough to tell two `try:` apart, so few that work deep in a block doesn't show."""


def fingerprint(rule: str, path: str, code_lines: Sequence[str], occurrence: int = 1) -> str:
    """The identity of the n-th gap with this rule, file and code; white space doesn't count.

    Its first part is the file's, the second one says what the gap is about, whatever the file is called.
    """
    code = [" ".join(line.split()) for line in code_lines[:CONTEXT_LINES]]
    return f"{_digest(path)[:8]}-{_digest(rule, str(occurrence), *code)[:16]}"


def content_of(name: str) -> str | None:
    """The part of a fingerprint that stays when the file is renamed; None where somebody else has made it."""
    found = _OURS.fullmatch(name)
    return found["content"] if found else None


_OURS = re.compile(r"[0-9a-f]{8}-(?P<content>[0-9a-f]{16})")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", errors="surrogatepass")).hexdigest()


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


def compare(
    before: Iterable[Gap], after: Iterable[Gap], *, is_there: Callable[[str], bool] = lambda _path: True
) -> Comparison:
    """Tell gaps that are gone from gaps whose code was edited or whose file was renamed, and those from new ones.

    A fix may edit a line that holds another gap, which then has another fingerprint. So what equal fingerprints leave
    over is paired by rule, file and message (numbers in it don't count), and counts as kept: nothing is called
    resolved because its line was touched, and nothing new because its neighbour was mended. What that leaves over is
    paired by rule and code, where `is_there` says that the file of the earlier gap is not there any more.
    """
    found = {gap.fingerprint: gap for gap in after}
    earlier = {gap.fingerprint: gap for gap in before}
    kept = [gap for name, gap in earlier.items() if name in found]
    missing = [gap for name, gap in earlier.items() if name not in found]
    strangers = [gap for name, gap in found.items() if name not in earlier]
    edited, missing, strangers = _paired(missing, strangers, _likeness)
    pairs, strangers = _renamed(missing, strangers, is_there)
    renamed = [gap for gap, _ in pairs]
    kept += [gap for gap, _ in edited] + renamed
    gone = [gap for gap in missing if gap not in renamed]
    return Comparison(*(tuple(sorted(part, key=gap_order)) for part in (gone, kept, strangers)))


def renamed(
    before: Iterable[Gap], after: Iterable[Gap], *, is_there: Callable[[str], bool]
) -> tuple[tuple[Gap, Gap], ...]:
    """The gaps whose file was renamed, each with what it is now: the same rule and code, and the old file is gone."""
    return tuple(_renamed(before, after, is_there)[0])


def _renamed(
    before: Iterable[Gap], after: Iterable[Gap], is_there: Callable[[str], bool]
) -> tuple[list[tuple[Gap, Gap]], list[Gap]]:
    lost = [gap for gap in before if gap.file_paths and not any(map(is_there, gap.file_paths))]
    pairs, _, strangers = _paired(lost, after, _content)
    return pairs, strangers


def _paired(
    earlier: Iterable[Gap], later: Iterable[Gap], alike: Callable[[Gap], tuple[object, ...] | None]
) -> tuple[list[tuple[Gap, Gap]], list[Gap], list[Gap]]:
    """Earlier gaps with the later ones that are alike, one to one; and those of either side that are left over."""
    waiting: dict[tuple[object, ...] | None, list[Gap]] = defaultdict(list)
    for gap in sorted(later, key=gap_order, reverse=True):
        waiting[alike(gap)].append(gap)
    met: list[tuple[Gap, Gap]] = []
    left: list[Gap] = []
    for gap in sorted(earlier, key=gap_order):
        likeness = alike(gap)
        if likeness is not None and waiting[likeness]:
            met.append((gap, waiting[likeness].pop()))
        else:
            left.append(gap)
    return met, left, [gap for gaps in waiting.values() for gap in gaps]


def _likeness(gap: Gap) -> tuple[object, ...]:
    return gap.source, gap.rule_id, gap.file_paths, re.sub(r"\d+", "0", gap.title)


def _content(gap: Gap) -> tuple[object, ...] | None:
    content = content_of(gap.fingerprint)
    return None if content is None else (gap.source, gap.rule_id, content)
