"""What a look at watched branches has found, merge by merge."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from prefect_acms.tasks.regressions import Regression
from prefect_acms.tasks.reports.text import count


class Verdict(StrEnum):
    """What became of a branch after a run was merged into it."""

    GOOD = "good"
    BROKEN = "broken"
    """By a patch of the run, or by the run as a whole."""
    BROKEN_BY_OTHERS = "broken_by_others"
    """By a commit that is not of the run."""
    RED_BEFORE = "red_before"
    """The test failed before the merge already, so it says nothing of it."""
    UNCLEAR = "unclear"
    """There was no answer."""


class Watched(BaseModel):
    """One merge that was looked at: `merge` brought the run's commits, `head` is where the branch was."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    branch: str
    merge: str
    head: str
    verdict: Verdict
    sentence: str
    regression: Regression | None = None
    target: str | None = Field(default=None, description="what is to be rolled back")
    command: str | None = Field(default=None, description="what a person calls to have it")
    rollback_branch: str | None = Field(default=None, description="branch on which it was rolled back by policy")


class Watching(BaseModel):
    """One pass over the merges; those that were judged before at the same head are only counted."""

    model_config = ConfigDict(frozen=True)

    found: tuple[Watched, ...] = ()
    known: int = 0
    problems: dict[str, str] = Field(default_factory=dict, description="why a run could not be looked at, by its id")

    @property
    def broken(self) -> tuple[Watched, ...]:
        """The merges that broke something."""
        return tuple(watched for watched in self.found if watched.verdict is Verdict.BROKEN)

    @property
    def exit_code(self) -> int:
        """0 when no merge broke anything that was not told before, else 1."""
        return int(bool(self.broken or self.problems))

    @property
    def sentence(self) -> str:
        """What was found, counted."""
        parts = [
            f"{count(len(self.found), 'merge')} looked at",
            f"{len(self.broken)} broke something" if self.broken else "none broke anything",
            f"{self.known} known at the same head" if self.known else "",
            f"{count(len(self.problems), 'run')} could not be looked at" if self.problems else "",
        ]
        return "; ".join(part for part in parts if part)
