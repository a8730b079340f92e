"""The gaps that a run found and the run before did not."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from prefect_acms.canonical.errors import AcmsError
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.tasks.fingerprints import compare
from prefect_acms.tasks.gap_rows import gap_of
from prefect_acms.tasks.meanwhile import working_sources
from prefect_acms.tasks.repository import Repository

FURTHEST = 1000
"""Runs of the repository that are looked through for one to compare with."""


class NewGaps(NamedTuple):
    """The fingerprints of what is new, and the run without it; none where no earlier run asked all of its sources."""

    fingerprints: frozenset[str]
    since: str | None


def new_gaps(store: Store, run: RunRow) -> NewGaps:
    """What is new in a run: everything, where there is no run to compare it with."""
    with store.begin(read_only=True) as dao:
        found = [gap_of(row) for row in dao.gaps.of_run(run.id)]
        before = _run_before(dao, run)
        known = [gap_of(row) for row in dao.gaps.of_run(before.id)] if before is not None else []
    files = _files(run)
    new = compare(known, found, is_there=lambda path: files is None or path in files).new
    return NewGaps(frozenset(gap.fingerprint for gap in new), before.id if before is not None else None)


def _run_before(dao: UnitOfWork, run: RunRow) -> RunRow | None:
    asked = working_sources(dao, run)
    earlier = (one for one in dao.runs.latest(FURTHEST, repo_root=run.repo_root) if one.id < run.id)
    return next((one for one in earlier if working_sources(dao, one) and asked <= working_sources(dao, one)), None)


def _files(run: RunRow) -> frozenset[str] | None:
    """The files at the run's base commit; None where the repository is no longer there."""
    with suppress(AcmsError):
        return frozenset(Repository.open(Path(run.repo_root)).files(run.base_commit or ""))
    return None
