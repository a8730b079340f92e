"""Gaps of the run before that somebody has fixed meanwhile: who, and by which commit, as exactly as git can tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.tasks.discovery import DiscoveryResult
from prefect_acms.tasks.driving import COMPLETED, Drive
from prefect_acms.tasks.fingerprints import compare
from prefect_acms.tasks.gap_rows import gap_of
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.recurring import FixedMeanwhile

MOST = 100
"""How many are kept."""

LOOKED_FOR = ("sources", "reports", "sarif", "ruff_select", "mypy_strict", "coverage_threshold")
"""The settings that decide what is found."""


def fixed_meanwhile(drive: Drive, result: DiscoveryResult) -> tuple[FixedMeanwhile, ...]:
    """The gaps of the last comparable run that are gone from the code, where commits since then have touched it.

    Comparable is a run that looked for the same, in a commit that this one builds on; only sources that worked in both
    count.
    """
    with drive.reading() as dao:
        before = _run_before(dao, drive)
        if before is None:
            return ()
        worked = working_sources(dao, before) & {source.name for source in result.sources if source.ok}
        gaps = [gap for row in dao.gaps.of_run(before.id) if (gap := gap_of(row)).source in worked]
    present = frozenset(drive.repository.files(drive.base_commit))
    found = [gap for gap in result.gaps if gap.source in worked]
    gone = compare(gaps, found, is_there=present.__contains__).gone
    return tuple(islice(_told(drive, before, gone), MOST))


def _run_before(dao: UnitOfWork, drive: Drive) -> RunRow | None:
    wanted = _looked_for(drive.config.model_dump(mode="json"))
    for run in dao.runs.latest(MOST, repo_root=str(drive.repository.top)):
        if run.id == drive.run_id or _looked_for(run.config) != wanted or not working_sources(dao, run):
            continue
        if run.base_commit is not None and drive.repository.is_ancestor(run.base_commit, drive.base_commit):
            return run if run.base_commit != drive.base_commit else None
    return None


def _looked_for(config: dict[str, Any]) -> list[Any]:
    discovery = config.get("discovery", {})
    return [discovery.get(name) for name in LOOKED_FOR]


def working_sources(dao: UnitOfWork, run: RunRow) -> frozenset[str]:
    """The sources that worked in that run."""
    phases = [row for row in dao.phases.of_run(run.id) if row.name == "discovery" and row.outcome == COMPLETED]
    sources = phases[-1].artifacts.get("sources", ()) if phases else ()
    return frozenset(source["name"] for source in sources if source["ok"])


def _told(drive: Drive, before: RunRow, gone: Sequence[Gap]) -> Iterator[FixedMeanwhile]:
    repository, old, new = drive.repository, str(before.base_commit), drive.base_commit
    ours = repository.trailers(old, new, "ACMS-Gap") if gone else {}
    for gap in gone:
        commits = repository.authors(old, new, gap.file_paths) if gap.file_paths else ()
        if not commits:
            # What finds it has changed, not the code.
            continue
        own = ours.get(gap.fingerprint)
        commit, author = commits[0]
        yield FixedMeanwhile(
            fingerprint=gap.fingerprint,
            rule_id=gap.rule_id,
            title=gap.title,
            path=gap.file_paths[0],
            run_id=before.id,
            commit=own or commit,
            author=author,
            commits=len(commits),
            is_ours=own is not None,
        )
