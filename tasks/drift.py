"""Drifts: where the store, Prefect, git and the files of a run told different stories, and what was done about it."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, computed_field

from prefect_acms.tasks.reports.text import count


class DriftKind(StrEnum):
    """What kinds of drift there are."""

    PREFECT_STATE = "prefect_state"
    """The run has ended, and Prefect calls it otherwise."""
    PREFECT_DEAD = "prefect_dead"
    """Nobody drives the run, and Prefect calls it running or ended."""
    PREFECT_SUPERSEDED = "prefect_superseded"
    """Prefect calls an attempt running that was taken over by another."""
    PREFECT_CANCELLED = "prefect_cancelled"
    """Prefect was told to cancel the run, and ours goes on."""
    PREFECT_SUSPENDED = "prefect_suspended"
    """Prefect still has the run suspended, though somebody has answered, or nobody in time."""
    PREFECT_ENDED = "prefect_ended"
    """Prefect calls an attempt ended that a living process drives."""
    PREFECT_OPEN = "prefect_open"
    """Phases and tasks of an attempt that is over are not ended in Prefect."""
    PREFECT_LOST = "prefect_lost"
    """Prefect does not know the attempt."""
    PREFECT_TASKS_LOST = "prefect_tasks_lost"
    """Prefect does not know task runs of the run."""
    WORKTREES = "worktrees"
    """Worktrees that nobody works in."""
    WORKTREE_ENTRIES = "worktree_entries"
    """git's entries of worktrees of ours that are gone."""
    BRANCHES = "branches"
    """Branches of workstreams that were merged."""
    LOCKS = "locks"
    """Lock files that a killed git has left beside refs of ours."""
    PROCESSES = "processes"
    """Processes of a run that nobody drives."""
    TRAIL = "trail"
    """transitions.jsonl is not what the database says."""
    REPORTS = "reports"
    """Reports of an ended run are missing."""
    REPOSITORY_GONE = "repository_gone"
    """The repository of a run can't be opened."""
    COMMITS_LOST = "commits_lost"
    """Commits of committed patches are on no branch."""
    COMMITS_UNMARKED = "commits_unmarked"
    """Commits of committed patches do not name them any more."""
    COMMITS_UNKNOWN = "commits_unknown"
    """Commits name patches that the ledger does not call committed."""
    ROLLBACK = "rollback"
    """Patches were taken back on a branch, and the ledger calls them committed."""
    UNKNOWN_RUN = "unknown_run"
    """Worktrees of a run that this store does not know."""
    NOT_REPAIRED = "not_repaired"
    """Something could not be looked at or repaired this time."""


class Drift(BaseModel):
    """One drift in one sentence; `needs_person` says that no rule allows its repair."""

    model_config = ConfigDict(frozen=True)

    kind: DriftKind
    run_id: str | None
    entity: str
    sentence: str
    repair: str | None = None
    needs_person: bool = False

    @classmethod
    def of(
        cls,
        kind: DriftKind,
        run_id: str | None,
        entity: str,
        sentence: str,
        *,
        repair: str | None = None,
        needs_person: bool = False,
    ) -> Self:
        """A drift of that kind."""
        return cls(kind=kind, run_id=run_id, entity=entity, sentence=sentence, repair=repair, needs_person=needs_person)

    @computed_field  # type: ignore[prop-decorator]  # pydantic's documented form
    @property
    def repaired(self) -> bool:
        """Whether it is gone now."""
        return self.repair is not None


class Reconciliation(BaseModel):
    """What a pass has found: new drifts, what it left alone, and the runs that can be resumed."""

    model_config = ConfigDict(frozen=True)

    looked_at: int = 0
    drifts: tuple[Drift, ...] = ()
    left_alone: tuple[Drift, ...] = ()
    resumable: tuple[str, ...] = ()
    server: str | None = None
    """Why Prefect could not be asked; none when it was."""

    @property
    def exit_code(self) -> int:
        """0 when nothing is left that a person or a later pass has to see to, else 1."""
        return int(self.server is not None or any(drift.needs_person for drift in (*self.drifts, *self.left_alone)))

    @property
    def sentence(self) -> str:
        """What was found, counted."""
        repaired = sum(drift.repaired for drift in self.drifts)
        parts = [
            f"{count(self.looked_at, 'run')} looked at",
            f"{count(len(self.drifts), 'drift')} found, {repaired} repaired" if self.drifts else "no drift found",
            f"{len(self.left_alone)} left alone" if self.left_alone else "",
            f"{count(len(self.resumable), 'run')} can be resumed" if self.resumable else "",
            f"the Prefect server could not be asked: {self.server}" if self.server else "",
        ]
        return "; ".join(part for part in parts if part)
