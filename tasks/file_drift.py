"""Where the files of an ended run are not what the database says."""

from __future__ import annotations

from datetime import datetime
from itertools import zip_longest
from pathlib import Path

from prefect_acms.dao.lines import line, trail
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.tasks.drift import Drift, DriftKind
from prefect_acms.tasks.health import age_sec

TRAIL = "transitions.jsonl"
_SHORT = "it ended before"

WRITING_SEC = 10.0
"""Seconds in which whoever has added to the trail of a run that has ended writes it into the file."""

REPORTS = ("summary.json", "summary.md", "report.html", "report.sarif")


def strange_trail(dao: UnitOfWork, run: RunRow, folder: Path, now: datetime) -> Drift | None:
    """A transitions.jsonl that has other lines than the database, or lacks some that are not about to be written."""
    problem = _problem(dao, run.id, folder / TRAIL)
    if problem is None or (problem.startswith(_SHORT) and age_sec(run.updated_at, now) < WRITING_SEC):
        return None
    sentence = f"{TRAIL} of the run was not what the database says: {problem}"
    repair = "written from the database; lines that it did not know are kept beside it"
    return Drift.of(DriftKind.TRAIL, run.id, str(folder / TRAIL), sentence, repair=repair)


def _problem(dao: UnitOfWork, run_id: str, path: Path) -> str | None:
    if not path.exists():
        return "it was missing"
    with path.open("rb") as file:
        lines = (line(row) for row in trail(dao.connection, run_id))
        for number, (found, known) in enumerate(zip_longest(file, lines), start=1):
            if found is None:
                return f"{_SHORT} line {number}"
            if found != known:
                return f"line {number} was another one"
    return None


def missing_reports(run_id: str, folder: Path) -> Drift | None:
    """Reports that whoever ended the run had no time to write."""
    missing = [name for name in REPORTS if not (folder / name).is_file()]
    if not missing:
        return None
    told = ", ".join(missing)
    sentence = f"the folder of the run had no {told}"
    return Drift.of(DriftKind.REPORTS, run_id, str(folder), sentence, repair="written from the store")
