"""What a recurring run has to tell: that it found nothing new, and what others have fixed since the run before."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from prefect_acms.dao.runs import RunRow

NEWS = "news"
"""Where a run that found nothing new keeps that, as a sentence in its metadata."""

MEANWHILE = "meanwhile"
"""Where a run keeps what others have fixed."""


class FixedMeanwhile(BaseModel):
    """A gap that the run before has found, and this one does not: the last commit since then that touched its file."""

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    rule_id: str
    title: str
    path: str
    run_id: str
    """The run that had found it."""
    commit: str
    author: str
    commits: int
    """How many commits have touched the file since: with one, it is certain which it was."""
    is_ours: bool = False
    """Whether the commit is a fix of ours that was merged, as its message says."""

    @property
    def sentence(self) -> str:
        """Who fixed what, in one sentence that says no more than is known."""
        what, commit = f"{self.rule_id} in {self.path} ({self.title})", self.commit[:10]
        if self.is_ours:
            return f"{what}: fixed by commit {commit} of ACMS, which was merged"
        if self.commits == 1:
            return f"{what}: fixed by {self.author} in commit {commit}"
        return f"{what}: fixed in one of {self.commits} commits, the last of which is {commit} by {self.author}"


def meanwhile_of(run: RunRow) -> tuple[FixedMeanwhile, ...]:
    """What was found to be fixed meanwhile, as the run has kept it."""
    return tuple(map(FixedMeanwhile.model_validate, run.info.get(MEANWHILE, ())))
