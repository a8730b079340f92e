"""What a commit of a run is: the patch, task, tool and gaps behind it, and the command that takes it back."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.rollback_sites import TRAILER
from prefect_acms.tasks.whereabouts import NAMED

GAP = "ACMS-Gap"
"""Trailer of a patch's commit: the fingerprint of a gap that it fixes."""


class SuspectGap(BaseModel):
    """A gap that a commit fixes, or that the task of its patch was about."""

    model_config = ConfigDict(frozen=True)

    id: str
    rule_id: str
    title: str
    file_paths: tuple[str, ...] = ()


class Suspect(BaseModel):
    """A commit, and what of the run is behind it: a patch, the merge of a workstream, a rollback, or nothing."""

    model_config = ConfigDict(frozen=True)

    commit: str
    title: str
    patch_id: str | None = Field(default=None, description="patch that it holds; none: it is no patch of the run")
    workstream_id: str | None = Field(default=None, description="workstream of the patch, or that it has merged")
    task_id: str | None = None
    task: str | None = Field(default=None, description="short name of the task, as in the plan")
    tool_id: str | None = None
    gaps: tuple[SuspectGap, ...] = ()
    rolls_back: str | None = Field(default=None, description="patch that it has taken back")

    @property
    def target(self) -> str | None:
        """What `acms rollback` takes to have it gone."""
        return None if self.rolls_back else self.patch_id or self.workstream_id

    @property
    def sentence(self) -> str:
        """What it is, in a few words."""
        if self.patch_id:
            return f"patch {self.patch_id} of task {self.task}, made by {self.tool_id or 'no tool'}"
        if self.rolls_back:
            return f"the rollback of patch {self.rolls_back}"
        if self.workstream_id:
            return f"the merge of workstream {self.workstream_id}: it and what the branch had are good alone only"
        return "no commit of the run"


def suspect_of(dao: UnitOfWork, repository: Repository, run_id: str, commit: str) -> Suspect:
    """What the ledger, or else its own trailers, say of a commit."""
    title = repository.message(commit).partition("\n")[0]
    named = set(NAMED.findall(repository.message(commit)))
    for entry in dao.ledger.of_run(run_id):
        if entry.commit_sha == commit or named == {entry.patch_id}:
            fixed = repository.trailers(f"{commit}^@", commit, GAP)
            return _of_patch(dao, commit, title, entry, set(fixed))
    back = repository.trailers(f"{commit}^@", commit, TRAILER)
    if back:
        return Suspect(commit=commit, title=title, rolls_back=next(iter(back)))
    merged = (row.id for row in dao.workstreams.of_run(run_id) if row.info.get("merge") == commit)
    return Suspect(commit=commit, title=title, workstream_id=next(merged, None))


def _of_patch(dao: UnitOfWork, commit: str, title: str, entry: LedgerRow, fixed: set[str]) -> Suspect:
    task = dao.tasks.get(entry.task_id)
    names = fixed or set(task.info.get("gaps", ()))
    gaps = (row for row in dao.gaps.of_workstream(entry.workstream_id) if row.fingerprint in names)
    return Suspect(
        commit=commit,
        title=title,
        patch_id=entry.patch_id,
        workstream_id=entry.workstream_id,
        task_id=task.id,
        task=str(task.info.get("key", task.description or task.id)),
        tool_id=task.tool_id,
        gaps=tuple(
            SuspectGap(id=row.id, rule_id=row.rule_id, title=row.title, file_paths=tuple(row.file_paths))
            for row in gaps
        ),
    )
