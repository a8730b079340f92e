"""Where git and the store tell different stories of a run: leftovers, and commits that are not as recorded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from prefect_acms.canonical.patch import PatchState
from prefect_acms.dao.home import acms_home
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.tasks.drift import Drift, DriftKind
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.git import run_git, text_of
from prefect_acms.tasks.reports.text import count
from prefect_acms.tasks.repository import OUR_MARK, Repository

STALE_SEC = 10.0
"""Seconds after which a lock file is not that of a git command that just runs."""

PUT_AWAY = "put away; what was unsaved is under refs/acms/kept/"

_NAMED = 3


def worktrees_home() -> Path:
    """Where the worktrees of all runs lie, a folder each."""
    return acms_home() / "worktrees"


def left_worktrees(drive: Drive) -> Drift | None:
    """Worktrees of a run that nobody works on any more."""
    found = sorted(drive.worktrees.glob("*/*"))
    if not found and not drive.worktrees.is_dir():
        return None
    told = count(len(found), "worktree")
    return Drift.of(
        DriftKind.WORKTREES,
        drive.run_id,
        str(drive.worktrees),
        f"{told} of the run still lay in {drive.worktrees}, and nobody works in them",
        repair=PUT_AWAY,
    )


def left_branches(drive: Drive) -> Drift | None:
    """Branches of workstreams that are on the run's branch, and so are not needed any more."""
    repository, result = drive.repository, drive.repository.ref(drive.result_ref)
    refs = repository.refs(drive.workstream_ref("")) if result is not None else {}
    merged = [ref.removeprefix("refs/heads/") for ref, tip in refs.items() if repository.is_ancestor(tip, str(result))]
    if not merged:
        return None
    return Drift.of(
        DriftKind.BRANCHES,
        drive.run_id,
        _named(merged),
        f"{count(len(merged), 'branch', 'branches')} of merged workstreams still existed: {_named(merged)}",
        repair="deleted: their commits are on the run's branch",
    )


def left_locks(drive: Drive, now: datetime) -> Drift | None:
    """Lock files of git beside refs of the run that are too old to belong to a command that runs."""
    common = drive.repository.common_dir
    locks = [lock for ref in refs_of(drive) for lock in _locks(common, ref) if _is_stale(lock, now)]
    if not locks:
        return None
    named = _named(sorted(str(lock.relative_to(common)) for lock in locks))
    return Drift.of(
        DriftKind.LOCKS,
        drive.run_id,
        named,
        f"a killed git had left {count(len(locks), 'lock file')} beside refs of the run: {named}",
        repair="removed",
    )


def refs_of(drive: Drive) -> tuple[str, ...]:
    """The run's branch, and the folders of its other refs."""
    return drive.result_ref, drive.workstream_ref(""), f"refs/acms/kept/{drive.run_id}/"


def _locks(common: Path, ref: str) -> Iterable[Path]:
    place = common / ref
    return place.rglob("*.lock") if ref.endswith("/") else [place.with_name(f"{place.name}.lock")]


def _is_stale(lock: Path, now: datetime) -> bool:
    try:
        return lock.is_file() and now.timestamp() - lock.stat().st_mtime > STALE_SEC
    except FileNotFoundError:
        return False


def stale_entries(repository: Repository) -> dict[str, str]:
    """The entries that git has of worktrees of ours whose folder is gone, by name; the path where each was."""
    found: dict[str, str] = {}
    for entry in sorted((repository.common_dir / "worktrees").glob("*/")):
        with suppress(OSError):
            link = Path(os.fsdecode((entry / "gitdir").read_bytes().rstrip(b"\n")))
            if not link.exists() and ((entry / OUR_MARK).exists() or link.is_relative_to(worktrees_home())):
                found[entry.name] = str(link.parent)
    return found


# commits


@dataclass(frozen=True)
class Commits:
    """The commits of a run as its branch has them."""

    shas: frozenset[str]
    by_patch: Mapping[str, str]

    @classmethod
    def of(cls, drive: Drive) -> Commits:
        """What the run's branch has that its base has not; nothing when there is no such branch."""
        result = drive.repository.ref(drive.result_ref)
        if result is None:
            return cls(frozenset(), {})
        shas = frozenset(drive.repository.log(drive.base_commit, result))
        return cls(shas, drive.repository.trailers(drive.base_commit, result, "ACMS-Patch"))


def strange_commits(dao: UnitOfWork, drive: Drive) -> Iterator[Drift]:
    """What the branch of an ended run has, or lacks, that the ledger says otherwise: no rule allows its repair."""
    entries = [entry for entry in dao.ledger.of_run(drive.run_id) if entry.state == PatchState.COMMITTED]
    commits = Commits.of(drive)
    missing = [entry for entry in entries if entry.commit_sha not in commits.shas]
    if lost := [entry for entry in missing if not _is_on_some_branch(drive.repository, str(entry.commit_sha))]:
        named = _named([f"{entry.patch_id} ({str(entry.commit_sha)[:12]})" for entry in lost])
        there = "is not there" if drive.repository.ref(drive.result_ref) is None else "was moved"
        said = f"{drive.result_ref.removeprefix('refs/heads/')} {there}"
        told = f"{said}, and the commits of {count(len(lost), 'committed patch', 'committed patches')} are on no branch"
        yield _of_commits(drive, DriftKind.COMMITS_LOST, lost, f"{told}: {named}")
    if unmarked := [entry for entry in entries if entry not in missing and entry.patch_id not in commits.by_patch]:
        named = _named([f"{entry.patch_id} ({str(entry.commit_sha)[:12]})" for entry in unmarked])
        told = f"{count(len(unmarked), 'commit')} of committed patches have no trailer that names them: {named}"
        yield _of_commits(drive, DriftKind.COMMITS_UNMARKED, unmarked, told)
    if unknown := sorted(patch for patch in commits.by_patch if not _was_committed(dao.ledger.of_patch(patch))):
        named = _named([f"{patch} ({commits.by_patch[patch][:12]})" for patch in unknown])
        told = f"the run's branch has {count(len(unknown), 'patch', 'patches')} that were never committed: {named}"
        yield Drift.of(DriftKind.COMMITS_UNKNOWN, drive.run_id, named, told, needs_person=True)


def _of_commits(drive: Drive, kind: DriftKind, entries: Sequence[LedgerRow], told: str) -> Drift:
    ids = _named([entry.id for entry in entries])
    return Drift.of(kind, drive.run_id, ids, told, needs_person=True)


def _was_committed(entries: Iterable[LedgerRow]) -> bool:
    return any(entry.state in {PatchState.COMMITTED, PatchState.ROLLED_BACK} for entry in entries)


def _is_on_some_branch(repository: Repository, commit: str) -> bool:
    """Whether the user has the commit somewhere else, say after having merged the run's branch and deleted it."""
    if repository.find(commit) is None:
        return False
    places = ("refs/heads/", "refs/remotes/", "refs/tags/")
    asked = ["for-each-ref", "--count=1", "--format=%(refname)", f"--contains={commit}", *places]
    return bool(text_of(run_git(asked, cwd=repository.top)))


def _named(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
