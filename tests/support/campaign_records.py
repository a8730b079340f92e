"""The record of each kill that was carried out, and the figures of a campaign."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign_inspection import Problem
from campaign_plans import Plan
from campaign_sites import Attempt


@dataclass(frozen=True, slots=True)
class Record:
    """A kill that was carried out."""

    plan: Plan
    attempts: tuple[Attempt, ...]
    problems: tuple[Problem, ...]
    seconds: float
    folder: Path

    @property
    def hits(self) -> list[Attempt]:
        """The drivers that were killed."""
        return [attempt for attempt in self.attempts if attempt.killed]

    def as_dict(self) -> dict[str, Any]:
        """The record as it is written, a line a kill."""
        return {
            "seed": self.plan.seed,
            "number": self.plan.number,
            "shape": self.plan.shape.name,
            "seconds": round(self.seconds, 3),
            "attempts": [
                {
                    "verb": attempt.verb,
                    "blow": None if attempt.blow is None else str(attempt.blow),
                    "killed": attempt.killed,
                    "phase": attempt.seen.phase,
                    "seconds": round(attempt.seconds, 3),
                }
                for attempt in self.attempts
            ],
            "problems": [{"check": problem.check, "details": problem.details} for problem in self.problems],
            "folder": str(self.folder) if self.problems else None,
        }

    def __str__(self) -> str:
        """What somebody who has to mend it needs to know."""
        lines = [f"kill {self.plan.number} of seed {self.plan.seed} ({self.plan.shape.name}), in {self.folder}"]
        lines += [
            f"  {attempt.verb}: {attempt.blow or 'not killed'}, "
            f"{'hit in ' if attempt.killed else 'came to '}{attempt.seen.phase}"
            for attempt in self.attempts
        ]
        lines += [f"  FAILED {problem.check}: {problem.details}" for problem in self.problems]
        lines.append(f"  again: python tests/campaigns/kills.py --seed {self.plan.seed} --only {self.plan.number}")
        return "\n".join(lines)

    @property
    def short(self) -> str:
        """The record in one line."""
        blows = ", ".join(f"{hit.blow} in {hit.seen.phase}" for hit in self.hits) or "no blow has hit"
        return f"{self.plan.number} {self.plan.shape.name}: {blows}; {self.seconds:.1f} s"


def figures(records: Sequence[Record], seconds: float) -> Iterator[str]:
    """A line each: totals first, then a table for each question."""
    hits = [hit for record in records for hit in record.hits]
    failed = [record for record in records if record.problems]
    resumes = sum(attempt.verb == "the resume" for record in records for attempt in record.attempts)
    each = sum(record.seconds for record in records) / max(1, len(records))
    yield f"{len(hits)} kills in {len(records)} cases, {resumes} resumes, {len(failed)} cases failed"
    yield f"{seconds:.0f} s in all, {each:.1f} s a case"
    blows = [hit.blow for hit in hits if hit.blow is not None]
    yield from _table("kills by point", Counter(blow.place for blow in blows))
    yield from _table("kills by reach", Counter(f"the process {blow.reach}" for blow in blows))
    yield from _table("kills by the phase that they hit", Counter(hit.seen.phase for hit in hits))
    yield from _table("cases by kills", Counter(f"killed {len(record.hits)} times" for record in records))
    yield from _table("cases by repository", Counter(record.plan.shape.name for record in records))
    yield from _table("failed checks", Counter(problem.check for record in failed for problem in record.problems))


def _table(title: str, rows: Counter[str]) -> Iterator[str]:
    yield f"\n{title}"
    yield from (f"  {number:5}  {name}" for name, number in sorted(rows.items()))
