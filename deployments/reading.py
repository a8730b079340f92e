"""What reading commands need: the summary of the run that a person means."""

from __future__ import annotations

from pathlib import Path

from prefect_acms.canonical.errors import NotARepository, RepositoryUnfit
from prefect_acms.deployments.existing import existing_store
from prefect_acms.deployments.lookup import find_run
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.summary import build_summary
from prefect_acms.tasks.summary_model import Summary


def summary_of(run: str, database_url: str | None) -> Summary:
    """The summary of a run by its id, a part of it, or `latest`; raises NotFound, InvalidValue or StoreUnavailable."""
    store = existing_store(database_url)
    row = find_run(store, run)
    return build_summary(store, row.id, _repository(Path(row.repo_root)))


def _repository(path: Path) -> Repository | None:
    """The repository of a stored run, or None once it was moved or removed."""
    try:
        return Repository.open(path)
    except (NotARepository, RepositoryUnfit):
        return None
