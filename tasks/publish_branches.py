"""The branches that a run can be published as: its own, or one for each workstream that stands alone on the base."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from prefect_acms.canonical.errors import NotPublishable
from prefect_acms.canonical.outside_errors import MergeConflict
from prefect_acms.canonical.patch import PatchState
from prefect_acms.canonical.workstream import WorkstreamState
from prefect_acms.dao.workstreams import WorkstreamRow
from prefect_acms.tasks.bisection import Answer
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.gate_tests import GateTest
from prefect_acms.tasks.git import run_git, text_of
from prefect_acms.tasks.publish_marks import digest_of
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.reverts import carried_tree


@dataclass(frozen=True, slots=True)
class Branch:
    """What is to be published: a branch, the commit it is at, and the gaps that its commits fix, by their digests.

    Without a head it can't be, for the reason in `problem`.
    """

    branch: str
    head: str | None
    gaps: frozenset[str] = frozenset()
    workstream_id: str | None = None
    key: str | None = None
    name: str | None = None
    problem: str = ""


def run_branch(repository: Repository, run_id: str, base: str) -> Branch:
    """The run's own branch; raises NotPublishable when there is none, or nothing on it."""
    name = f"acms/{run_id}"
    head = repository.ref(f"refs/heads/{name}")
    if head is None or head == base:
        raise NotPublishable(run_id=run_id, problem=f"there is no branch {name}: nothing was kept, or it was deleted")
    return Branch(name, head, _gaps(repository, base, head))


def _gaps(repository: Repository, base: str, head: str) -> frozenset[str]:
    return frozenset(map(digest_of, repository.trailers(base, head, "ACMS-Gap")))


def workstream_branches(drive: Drive, known: Collection[str]) -> Iterator[Branch]:
    """A branch for each workstream that was merged: its commits alone on the base, judged there by the gates.

    One whose patches need what another workstream did comes with no head, and the reason. `known` are the commits that
    were judged so before. The worktrees that this takes are the drive's.
    """
    test = GateTest(drive, drive.base_commit)
    with drive.reading() as dao:
        streams = dao.workstreams.of_run(drive.run_id)
    for stream in streams:
        commits = _commits(drive, stream)
        if commits and stream.state == WorkstreamState.COMPLETED:
            yield _alone(drive, test, stream, commits, known)


def _commits(drive: Drive, stream: WorkstreamRow) -> list[str]:
    """The commits of the workstream's patches that stand, the oldest first."""
    with drive.reading() as dao:
        entries = dao.ledger.of_workstream(stream.id)
    own = {entry.commit_sha for entry in entries if entry.state == PatchState.COMMITTED}
    return [commit for commit in drive.repository.log(drive.base_commit, drive.result_head()) if commit in own]


def _alone(drive: Drive, test: GateTest, stream: WorkstreamRow, commits: list[str], known: Collection[str]) -> Branch:
    key = str(stream.info.get("key", stream.name))
    name = f"acms/work/{drive.run_id}/{key}"
    fixed = drive.repository.trailers(drive.base_commit, drive.result_head(), "ACMS-Gap")
    gaps = frozenset(digest_of(gap) for gap, commit in fixed.items() if commit in commits)
    facts: dict[str, Any] = {"gaps": gaps, "workstream_id": stream.id, "key": key, "name": stream.name}
    try:
        head = _carried(drive, commits)
    except MergeConflict as conflict:
        problem = f"it needs what another workstream did to {conflict.facts['files']}"
        return Branch(name, None, **facts, problem=problem)
    if head not in known:
        answer = test(head)
        if answer is not Answer.GOOD:
            said = test.outputs.get(head) or "no gate can judge it"
            return Branch(name, None, **facts, problem=f"alone on the base commit it does not pass: {said}")
    return Branch(name, head, **facts)


def _carried(drive: Drive, commits: list[str]) -> str:
    """The last of these commits as they are on the base alone; what is there already stays the same commit."""
    repository, tip = drive.repository, drive.base_commit
    for commit in commits:
        before = repository.resolve(f"{commit}^")
        if before == tip:
            tip = commit
            continue
        when = _moment(repository, commit)
        tree = carried_tree(repository, before, commit, tip, when)
        tip = repository.commit_tree(tree, [tip], repository.message(commit), when)
    return tip


def _moment(repository: Repository, commit: str) -> datetime:
    """When a commit was made, so that the same commit comes of it each time."""
    seconds = text_of(run_git(["log", "-1", "--format=%ct", commit], cwd=repository.top))
    return datetime.fromtimestamp(int(seconds), UTC)
