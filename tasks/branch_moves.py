"""Moves of a branch that belong to a change of rows: both are made, or neither."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from prefect_acms.canonical.outside_errors import RefMoved
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.tasks.driving import Drive


@dataclass(frozen=True, slots=True)
class BranchMove:
    """A move of one of our branches that goes with the next state of a patch."""

    drive: Drive
    entry: LedgerRow
    """The patch's entry as it was before: while its state is that one, the rows have not followed."""
    ref: str
    old: str | None
    new: str | None
    """Where the branch is to be; None deletes it, as None before makes it."""

    def make(self, dao: UnitOfWork) -> None:
        """Move the branch, in the unit of work that keeps a take-over waiting; raises Superseded or RefMoved."""
        dao.check_epoch(self.drive.run_id, self.drive.epoch)
        self._swap(self.old, self.new)

    def undo(self) -> None:
        """Put the branch back where it was, unless the rows were stored after all, or it was never moved."""
        with self.drive.reading() as dao:
            stored = dao.ledger.get(self.entry.id).state
        if stored == self.entry.state:
            with suppress(RefMoved):
                self._swap(self.new, self.old)

    def _swap(self, old: str | None, new: str | None) -> None:
        repository = self.drive.repository
        if new is not None:
            repository.move_ref(self.ref, new, old)
        elif old is not None:
            repository.delete_ref(self.ref, old)


@contextmanager
def back_without_rows(moves: Sequence[BranchMove]) -> Iterator[None]:
    """A block around the unit of work that makes these moves: if it fails, the branches go back."""
    try:
        yield
    except BaseException:
        for move in reversed(moves):
            move.undo()
        raise
