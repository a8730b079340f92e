"""A look at this machine: what runs have left, and where their commits and files are not as recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from prefect_acms.canonical.errors import AcmsError, NotARepository, RepositoryBusy, RepositoryUnfit
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store
from prefect_acms.tasks.drift import Drift, DriftKind
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.git_drift import strange_commits, worktrees_home
from prefect_acms.tasks.leases import recorded_driver
from prefect_acms.tasks.repairs import Repairs, places_of
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.standing import Standing, standing_of
from prefect_acms.tasks.telling import Found


class Leavings:
    """One look: the processes of the machine are gone through once, and each repository is opened once."""

    def __init__(self, store: Store, found: Found) -> None:
        self._store = store
        self._found = found
        self._now = store.clock()
        self._repairs = Repairs(store, found, self._now)
        self._repositories: dict[str, Repository | None] = {}
        self._driven: set[str] = set()

    def look(self, runs: Iterable[RunRow]) -> None:
        """Look after each of these runs, then at git's own lists of worktrees in their repositories."""
        looked_at = list(runs)
        for run in looked_at:
            self._try(run, partial(self._look_at, run))
        for root, repository in self._repositories.items():
            if repository is not None and root not in self._driven:
                own = [run for run in looked_at if run.repo_root == root]
                self._try(own[-1], partial(self._repairs.prune, repository, own))

    def look_for_unknown(self) -> None:
        """Say which worktrees belong to runs that this store does not know: they may be another store's."""
        home = worktrees_home()
        for folder in sorted(home.iterdir()) if home.is_dir() else []:
            with self._store.begin(read_only=True) as dao:
                known = dao.runs.find(folder.name)
            if known is None:
                told = f"{folder} belongs to a run that this store does not know: it may be another store's"
                self._found.left_alone.append(Drift.of(DriftKind.UNKNOWN_RUN, None, str(folder), told))

    def _try(self, run: RunRow, look: Callable[[], None]) -> None:
        """What goes wrong with one run keeps nobody from looking at the others."""
        try:
            look()
        except RepositoryBusy as busy:
            self._found.leave(run.id, run.repo_root, f"{busy}; it is looked at next time", needs_person=False)
        except (AcmsError, OSError) as problem:
            self._found.leave(run.id, run.repo_root, f"it could not be put right: {problem}")
        except ValidationError as problem:
            where = ", ".join(".".join(map(str, error["loc"])) for error in problem.errors())
            told = f"its stored configuration is not of this version: {where}"
            self._found.leave(run.id, run.repo_root, told, needs_person=False)

    def _look_at(self, run: RunRow) -> None:
        driver = recorded_driver(run)
        if driver is not None and not driver.is_here:
            told = f"what it has left is on the machine {driver.host}: `acms reconcile` there looks at it"
            self._found.leave(run.id, run.repo_root, told, needs_person=False)
            return
        standing = standing_of(run, self._now)
        if standing is Standing.DRIVEN:
            self._driven.add(run.repo_root)
        else:
            self._repairs.stop_processes(run, standing)
        repository = self._opened(run)
        if repository is None:
            return
        places = places_of(self._store, run, repository)
        match standing:
            case Standing.DRIVEN:
                self._repairs.put_superseded_away(run, places)
            case Standing.LEFT:
                self._repairs.clear_locks(run, places)
                self._record_rollbacks(run, places)
            case Standing.ENDED:
                self._record_rollbacks(run, places)
                self._repairs.close(run, places)
                self._tell_commits(places)

    def _opened(self, run: RunRow) -> Repository | None:
        root = run.repo_root
        if root not in self._repositories:
            try:
                self._repositories[root] = Repository.open(Path(root))
            except (NotARepository, RepositoryUnfit):
                self._repositories[root] = None
        repository = self._repositories[root]
        if repository is None:
            kind = DriftKind.REPOSITORY_GONE
            told = f"its repository {root} can't be opened any more: what the run has left is left alone"
            self._found.tell(Drift.of(kind, run.id, root, told, needs_person=True), kind)
        return repository

    def _record_rollbacks(self, run: RunRow, places: Drive) -> None:
        """First of all, so that the files of the run tell it."""
        for drift in self._repairs.record_rollbacks(run, places):
            self._found.tell(drift, f"{drift.kind}:{drift.entity}")

    def _tell_commits(self, places: Drive) -> None:
        with self._store.begin(read_only=True) as dao:
            strange = list(strange_commits(dao, places))
        for drift in strange:
            self._found.tell(drift, f"{drift.kind}:{hashlib.sha256(drift.sentence.encode()).hexdigest()[:16]}")
