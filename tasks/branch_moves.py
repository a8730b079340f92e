"""Moves of a branch that belong to a change of rows: both are made, or neither."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from prefect_acms.canonical.errors import RefMoved
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
    old: str
    new: str | None
    """Where the branch is to be; None deletes it."""

    def make(self, dao: UnitOfWork) -> None:
        """Move the branch, in the unit of work that keeps a take-over waiting; raises Superseded or RefMoved."""
        dao.check_epoch(self.drive.run_id, self.drive.epoch)
        if self.new is None:
            self.drive.repository.delete_ref(self.ref, self.old)
        else:
            self.drive.repository.move_ref(self.ref, self.new, self.old)

    def undo(self) -> None:
        """Put the branch back where it was, unless the rows were stored after all, or it was never moved."""
        with self.drive.reading() as dao:
            stored = dao.ledger.get(self.entry.id).state
        if stored == self.entry.state:
            with suppress(RefMoved):
                self.drive.repository.move_ref(self.ref, self.old, self.new)


@contextmanager
def back_without_rows(moves: Sequence[BranchMove]) -> Iterator[None]:
    """A block around the unit of work that makes these moves: if it fails, the branches go back."""
    try:
        yield
    except BaseException:
        for move in reversed(moves):
            move.undo()
        raise
