"""The files of a run, after something was done to it that is not the work of its driver."""

from __future__ import annotations

import logging
from pathlib import Path

from prefect_acms.canonical.errors import AcmsError, NotARepository, RepositoryUnfit
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.dao.outbox import Outbox
from prefect_acms.dao.store import Store
from prefect_acms.tasks.reports import write_reports
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.summary import build_summary

_log = logging.getLogger(__name__)


def refresh_files(store: Store, run_id: str) -> None:
    """Bring `transitions.jsonl` up to the database, and the reports of a run that has ended.

    The database is the truth: trouble with the files is told in the log, and a folder that is gone stays gone.
    """
    with store.begin(read_only=True) as dao:
        run = dao.runs.get(run_id)
    folder = Path(run.repo_root) / ".acms_runs" / run_id
    if not folder.is_dir():
        return
    try:
        Outbox(store, run_id, folder / "transitions.jsonl").drain()
        if run.state in MACHINES["run"].terminal:
            write_reports(build_summary(store, run_id, repository_at(run.repo_root)), folder)
    except (AcmsError, OSError) as problem:
        _log.warning("the files of run %s are behind the database: %s", run_id, problem)


def repository_at(top: str) -> Repository | None:
    """The repository at this path; None where there is none any more."""
    try:
        return Repository.open(Path(top))
    except (NotARepository, RepositoryUnfit):
        return None
