"""Asking the gaps' own sources again: what is still there, and what has come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from prefect_acms.tasks.anchors import COMPARED, still_there
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.environment import Environment
from prefect_acms.tasks.fingerprints import Comparison, compare
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.source_budgets import SourceBudget
from prefect_acms.tasks.sources import Scan, load_sources, offered_sources
from prefect_acms.tasks.worktrees import Worktree


class Rescan(NamedTuple):
    """What the sources find, and for each by name its version and the command that asked it."""

    gaps: tuple[Gap, ...]
    versions: dict[str, str]
    commands: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Rescanner:
    """Asks the sources of some gaps about the files of a worktree."""

    drive: Drive
    worktree: Worktree
    environment: Environment
    sources: tuple[str, ...]
    known: tuple[Gap, ...] = ()

    @classmethod
    def of(cls, drive: Drive, worktree: Worktree, environment: Environment, gaps: Iterable[Gap]) -> Rescanner:
        """The rescanner for these gaps' own sources; one that only a report speaks of can't be asked."""
        known = tuple(gaps)
        sources = tuple(sorted({gap.source for gap in known} & offered_sources().keys()))
        return cls(drive, worktree, environment, sources, known)

    def found(self, files: Iterable[str]) -> tuple[Gap, ...]:
        """What the sources find in these files as they are now; raises SourceFailed."""
        return self.asked(files).gaps

    def asked(self, files: Iterable[str], *, patched: Iterable[str] = ()) -> Rescan:
        """What the sources find in these files as they are now, and how they were asked; raises SourceFailed.

        `patched` are the files that a patch has changed, of which is asked what it is worth.
        """
        scan = Scan(
            root=self.worktree.path,
            environment=self.environment,
            settings=self.drive.config.discovery,
            timeout_sec=self.drive.config.gates.timeout_sec,
            files=tuple(sorted(files)),
            known=self.known,
            patched=frozenset(patched),
            ai=self.drive.config.ai,
            budget=SourceBudget(self.drive.budgets, self.drive.run_id),
            learnt=self.drive.learnt,
            answers=self.drive.answers,
        )
        with self.drive.watching():
            answers = {source.name: source.discover(scan) for source in load_sources(self.sources)}
        return Rescan(
            tuple(gap for answer in answers.values() for gap in answer.gaps),
            {name: answer.version for name, answer in answers.items()},
            {name: list(answer.command) for name, answer in answers.items()},
        )

    def can_tell(self, gap: Gap) -> bool:
        """Whether a source looks for the gap itself; of others only their code is known, which a fix may leave."""
        return gap.source in self.sources and gap.source not in COMPARED

    def compared(self, before: Sequence[Gap], files: Iterable[str]) -> Comparison:
        """What became of earlier findings in these files."""
        wanted = frozenset(files)
        return self.between([gap for gap in before if wanted.intersection(gap.file_paths)], self.found(wanted))

    def between(self, before: Iterable[Gap], after: Iterable[Gap]) -> Comparison:
        """What became of earlier findings, by later ones; one that no source can be asked about is told by its code."""
        earlier = tuple(before)
        untold = [gap for gap in earlier if gap.source not in self.sources]
        later = (*after, *still_there(untold, self.worktree.path))
        return compare(earlier, later, is_there=lambda path: (self.worktree.path / path).is_file())
