"""What builds on the patches of a rollback: later tasks of the plan, and later patches on the same lines."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from prefect_acms.canonical.errors import RollbackRefused
from prefect_acms.canonical.outside_errors import RevertConflict
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.reverts import first_in_the_way, in_order, reverted_trees

ASKED = "asked for"


@dataclass(frozen=True)
class Dependents:
    """The committed patches of a run, with what ties them to each other.

    `later` are the tasks that come after an entry's own task; `tip` is where the run's commits are as they were made,
    if that is still known; `passing` are its commits that were taken back already, and what took them back.
    """

    repository: Repository
    committed: Sequence[LedgerRow]
    later: Mapping[str, Collection[str]]
    base: str
    tip: str | None
    passing: Collection[str]
    now: datetime

    def reasons(self, asked: Sequence[LedgerRow]) -> dict[str, str]:
        """Every entry that has to go, by its id, with the reason; raises RollbackRefused when one of them can't go."""
        found = {entry.id: ASKED for entry in asked}
        while added := self._by_plan(found) or self._by_lines(found):
            found |= added
        return found

    def _by_plan(self, found: Mapping[str, str]) -> dict[str, str]:
        """The entries of tasks that come after those of what was found."""
        gone = [entry for entry in self.committed if entry.id in found]
        added = {}
        for entry in self.committed:
            first = next((one for one in gone if entry.task_id in self.later[one.id]), None)
            if first is not None and entry.id not in found:
                added[entry.id] = f"its task comes after that of {first.patch_id}"
        return added

    def _by_lines(self, found: Mapping[str, str]) -> dict[str, str]:
        """The first entry without which what was found can be taken back, and with which it can't."""
        if self.tip is None:
            return {}
        entries = {str(entry.commit_sha): entry for entry in self.committed}
        gone = [commit for commit, entry in entries.items() if entry.id in found and commit not in self.passing]
        ordered = in_order(self.repository, gone, self.base)
        try:
            reverted_trees(self.repository, ordered, self.tip, self.now)
        except RevertConflict as conflict:
            stuck, files = str(conflict.facts["commit"]), conflict.facts["files"]
            blamed = first_in_the_way(self.repository, ordered, stuck, self.tip, self.now, passing=self.passing)
            patch_id = entries[stuck].patch_id
            if blamed not in entries:
                what = f"commit {blamed[:10]}" if blamed else "what was put on its branch later"
                problem = f"{what}, which is of no patch of the run, changes the same lines of {files}"
                raise RollbackRefused(what=f"patch {patch_id}", problem=problem) from conflict
            return {entries[blamed].id: f"it changes the same lines of {files} as {patch_id}"}
        return {}
