"""Repairs of what a run has left on this machine, each found first, then done while nobody else works there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.canonical.clock import utc_text
from prefect_acms.dao.home import acms_home
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store
from prefect_acms.tasks.closing import close_run, put_away
from prefect_acms.tasks.drift import Drift, DriftKind
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.ending import put_worktree_away
from prefect_acms.tasks.file_drift import missing_reports, strange_trail
from prefect_acms.tasks.git_drift import (
    PUT_AWAY,
    left_branches,
    left_locks,
    left_worktrees,
    refs_of,
    stale_entries,
    worktrees_home,
)
from prefect_acms.tasks.leases import recorded_driver
from prefect_acms.tasks.locks import repository_lock
from prefect_acms.tasks.reports.text import count
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.rollback_drift import cut_off_rollbacks, record_cut_off
from prefect_acms.tasks.standing import Standing
from prefect_acms.tasks.survivors import processes_of_runs, stop_survivors
from prefect_acms.tasks.telling import Found

ABANDONED_SEC = 60.0
"""Seconds without a change after which the worktrees of a driver that was superseded are nobody's."""


def places_of(store: Store, run: RunRow, repository: Repository, epoch: int | None = None) -> Drive:
    """What drives nothing, but knows where everything of the run is: by default of the driver it had last."""
    config = PipelineConfig.model_validate(run.config)
    return Drive(store, run.id, run.epoch if epoch is None else epoch, config, repository, run.base_commit or "")


class Repairs:
    """Each repair is told as a drift of its run; RepositoryBusy is raised when somebody else is at work."""

    def __init__(self, store: Store, found: Found, now: datetime) -> None:
        self._store = store
        self._found = found
        self._now = now
        self._processes: Mapping[str, Sequence[tuple[int, int]]] = processes_of_runs()

    def stop_processes(self, run: RunRow, standing: Standing) -> None:
        """Stop what still works for a run that nobody drives; a driver that only hangs may go on with its own."""
        driver = recorded_driver(run)
        hangs = standing is Standing.LEFT and driver is not None and driver.is_here and not driver.is_dead
        if hangs or not any(epoch <= run.epoch for epoch, _ in self._processes.get(run.id, ())):
            return
        stopped = stop_survivors(run.id, run.epoch + 1)
        told = f"{count(len(stopped), 'process', 'processes')} still worked for the run, which nobody drives"
        self._tell(Drift.of(DriftKind.PROCESSES, run.id, ", ".join(map(str, stopped)), told, repair="killed"))

    def close(self, run: RunRow, places: Drive) -> None:
        """Put away and write what whoever ended the run had no time to."""

        def put_right() -> None:
            # A folder of reports that its owner has deleted stays deleted.
            close_run(places) if places.folder.is_dir() else put_away(places)

        self._alone(run, places.repository, lambda: self._left_by(run, places), put_right)

    def _left_by(self, run: RunRow, places: Drive) -> Iterable[Drift | None]:
        yield from (left_worktrees(places), left_branches(places), left_locks(places, self._now))
        if places.folder.is_dir():
            with self._store.begin(read_only=True) as dao:
                yield strange_trail(dao, run, places.folder, self._now)
            yield missing_reports(run.id, places.folder)

    def record_rollbacks(self, run: RunRow, places: Drive) -> list[Drift]:
        """Record the rollbacks of the run that were cut off after git had them; those that need a person are given."""

        def look() -> list[Drift]:
            with self._store.begin(read_only=True) as dao:
                return [found.drift(places) for found in cut_off_rollbacks(dao, places)]

        self._alone(
            run,
            places.repository,
            lambda: [drift for drift in look() if drift.repaired],
            lambda: record_cut_off(self._store, places),
        )
        return [drift for drift in look() if drift.needs_person]

    def clear_locks(self, run: RunRow, places: Drive) -> None:
        """Remove the locks that a killed git has left of a run that nobody drives."""
        repository = places.repository
        self._alone(
            run, repository, lambda: [left_locks(places, self._now)], lambda: repository.clear_locks(refs_of(places))
        )

    def _alone(
        self,
        run: RunRow,
        repository: Repository,
        look: Callable[[], Iterable[Drift | None]],
        put_right: Callable[[], object],
    ) -> None:
        """Look, and if something is left, look again and put it right while nobody else works in the repository.

        A last look says what could not be put right.
        """
        if not any(look()):
            return
        with self._held(repository):
            with self._store.begin(read_only=True) as dao:
                current = dao.runs.get(run.id)
            moved_on = (current.epoch, current.state) != (run.epoch, run.state)
            drifts = [] if moved_on else [drift for drift in look() if drift is not None]
            if drifts:
                put_right()
            still = {(drift.kind, drift.entity) for drift in look() if drift is not None} if drifts else set()
        for drift in drifts:
            if (drift.kind, drift.entity) in still:
                self._found.leave(run.id, drift.entity, f"{drift.sentence}; that could not be put right")
            else:
                self._tell(drift)

    @staticmethod
    def _held(repository: Repository) -> AbstractContextManager[None]:
        return repository_lock(acms_home(), repository.top, f"acms reconcile, process {os.getpid()}")

    def put_superseded_away(self, run: RunRow, places: Drive) -> None:
        """Worktrees of drivers before the one that lives, if they have no process and nothing moves there for long."""
        at_work = {epoch for epoch, _ in self._processes.get(run.id, ())}
        for folder in sorted(places.worktrees.glob("*/")):
            epoch = int(folder.name) if folder.name.isdecimal() else run.epoch
            paths = sorted(folder.glob("*/"))
            changed = max(path.stat().st_mtime for path in (folder, *paths))
            if epoch >= run.epoch or epoch in at_work or self._now.timestamp() - changed < ABANDONED_SEC:
                continue
            before = places_of(self._store, run, places.repository, epoch)
            for path in paths:
                put_worktree_away(before, path)
            shutil.rmtree(folder, ignore_errors=True)
            told = (
                f"{count(len(paths), 'worktree')} of driver {epoch} lay in {folder}, and driver {run.epoch} works now"
            )
            self._tell(Drift.of(DriftKind.WORKTREES, run.id, str(folder), told, repair=PUT_AWAY))

    def prune(self, repository: Repository, runs: Sequence[RunRow]) -> None:
        """Remove git's entries of worktrees of ours that are gone; told of the run in whose folder they lay."""
        if not stale_entries(repository):
            return
        with self._held(repository):
            entries = stale_entries(repository)
            repository.prune(lambda link: link.is_relative_to(worktrees_home()))
        own: dict[str, list[str]] = {}
        for path in entries.values():
            owner = next((run.id for run in runs if str(worktrees_home() / run.id) in path), runs[-1].id)
            own.setdefault(owner, []).append(path)
        for run_id, paths in own.items():
            told = f"git had {count(len(paths), 'entry', 'entries')} of worktrees of ours that are gone"
            self._tell(Drift.of(DriftKind.WORKTREE_ENTRIES, run_id, ", ".join(paths), told, repair="removed"))

    def _tell(self, drift: Drift) -> None:
        self._found.tell(drift, f"{drift.kind}:{utc_text(self._now)}:{drift.entity}")
