"""Proof of a patch: what the gaps' own sources find in its files, with it and without it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from prefect_acms.canonical.errors import BudgetExceeded
from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.tasks.bench import Bench
from prefect_acms.tasks.fingerprints import Comparison
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.rescans import Rescan

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Proof:
    """What the sources found before and after a patch; without an answer of theirs nothing is proved."""

    tree: str
    files: tuple[str, ...]
    before: tuple[Gap, ...]
    rescan: Rescan | None = None
    comparison: Comparison | None = None
    problem: str | None = None
    unmended: tuple[Gap, ...] = ()
    """The gaps that the patch was made for, where each of them is still found with it."""

    @property
    def objection(self) -> str | None:
        """What keeps the patch out: that it can't be proved, brings something new, or mends nothing."""
        if self.problem is not None:
            return f"it can't be proved: {self.problem}"
        new = self.comparison.new if self.comparison else ()
        if new:
            return f"it brings something new: {_titles(new)}"
        return f"it mends nothing, still there: {_titles(self.unmended)}" if self.unmended else None

    @property
    def record(self) -> dict[str, Any]:
        """What is stored with the patch: fingerprints, and the commands and versions of the sources by their names.

        `gone` and `new` are what differs once a gap whose line was only edited is known again.
        """
        gone, new = (self.comparison.gone, self.comparison.new) if self.comparison else ((), ())
        return {
            "tree": self.tree,
            "files": list(self.files),
            "before": _names(self.before),
            "after": _names(self.rescan.gaps) if self.rescan else [],
            "gone": _names(gone),
            "new": _names(new),
            "command": self.rescan.commands if self.rescan else {},
            "versions": self.rescan.versions if self.rescan else {},
            "problem": self.objection,
        }


def prove(
    bench: Bench, before: Sequence[Gap], files: Sequence[str], tree: str, *, to_mend: Sequence[Gap] = ()
) -> Proof:
    """Ask the sources about the patched files, and compare with what they said `before` the patch.

    Of the gaps `to_mend` at least one has to be gone, wherever it was. Where a source fails, or there is no budget to
    ask it, the patch is not proved, and is kept as any such patch.
    """
    touched = frozenset(files).union(*(gap.file_paths for gap in to_mend))
    earlier = tuple(gap for gap in before if touched.intersection(gap.file_paths))
    rescanner = bench.rescanner
    try:
        rescan = rescanner.asked(touched, patched=files)
    except (SourceFailed, BudgetExceeded) as error:
        return Proof(tree, tuple(files), earlier, problem=str(error))
    still = rescanner.between(to_mend, rescan.gaps).kept
    unmended = still if len(still) == len(to_mend) and all(map(rescanner.can_tell, still)) else ()
    return Proof(tree, tuple(files), earlier, rescan, rescanner.between(earlier, rescan.gaps), unmended=unmended)


def _titles(gaps: Sequence[Gap]) -> str:
    return "; ".join(gap.title for gap in gaps[:_SHOWN])


def _names(gaps: Iterable[Gap]) -> list[str]:
    return sorted(gap.fingerprint for gap in gaps)
