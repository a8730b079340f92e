"""The client: ask the canonical store from Python what the commands ask it, and get typed records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from prefect_acms.canonical.errors import InvalidValue, NotARepository, RepositoryUnfit
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.dao import audit
from prefect_acms.dao.store import Store
from prefect_acms.dao.stuck import open_processes, open_workers
from prefect_acms.deployments.existing import existing_store
from prefect_acms.deployments.lookup import LATEST, find_entry, find_patch, find_run
from prefect_acms.deployments.records import (
    Audit,
    BreakerRecord,
    EventRecord,
    ProcessRecord,
    Snapshot,
    WorkerRecord,
    breaker_record,
    event_record,
    process_record,
    worker_record,
)
from prefect_acms.deployments.snapshot import take_snapshot
from prefect_acms.tasks.dossiers import (
    Dossier,
    QuarantineDossier,
    dossier_of,
    quarantine_dossier_of,
    quarantine_dossiers,
    waiting_dossiers,
)
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.summary import build_summary
from prefect_acms.tasks.summary_model import (
    GapRecord,
    GateRecord,
    ListedRun,
    PatchRecord,
    Record,
    Summary,
    TaskRecord,
    WorkstreamRecord,
)
from prefect_acms.tasks.summary_records import listed_run

MOST_EVENTS = 1000

R = TypeVar("R", bound=Record)


class AcmsClient:
    """Reads one canonical store, and never writes to it; usable from any thread, and as a context manager.

    A run is meant by its id, a unique part of it, or `latest`; a patch by its id or that of its ledger entry, or a part
    of one. What is not there raises NotFound; a part that fits several, or a state that there is not, raises
    InvalidValue or UnknownName. All of them are `AcmsError`, and say in one sentence what is wrong.

    Methods block while they ask the database (and git, for what is on a branch): in async code call them by
    `await asyncio.to_thread(client.gaps, "latest")`.

    Without arguments it is the store that `acms` would use: `$ACMS_DATABASE_URL`, or the file in `$ACMS_HOME`. Raises
    StoreUnavailable where there is none yet. A store that is handed in stays open when the client is closed.
    """

    def __init__(self, database_url: str | None = None, *, store: Store | None = None) -> None:
        self._store = store or existing_store(database_url)
        self._is_own = store is None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        if self._is_own:
            self._store.close()

    # runs

    def runs(
        self,
        *,
        state: str | None = None,
        repository: str | Path | None = None,
        limit: int = 20,
        before: str | None = None,
    ) -> list[ListedRun]:
        """The newest runs first; `before` is the run that the page before ended with."""
        last = find_run(self._store, before) if before else None
        top = str(Repository.open(Path(repository)).top) if repository else None
        with self._store.begin(read_only=True) as dao:
            rows = dao.runs.latest(_at_least("limit", limit, 1), top, state=state, before=last)
        return [listed_run(row, self._store.clock()) for row in rows]

    def run(self, run: str = LATEST) -> ListedRun:
        """One run, with who drives it now; its branch is told by `summary` only."""
        return listed_run(find_run(self._store, run), self._store.clock())

    def summary(self, run: str = LATEST) -> Summary:
        """Everything about one run, as in its summary.json: the store's word, and what git shows on its branch."""
        row = find_run(self._store, run)
        return build_summary(self._store, row.id, _repository(Path(row.repo_root)))

    def snapshot(self, run: str = LATEST) -> Snapshot:
        """Where a run stands, by the store alone: a few milliseconds, so that it can be asked every second."""
        run_id = find_run(self._store, run).id
        with self._store.begin(read_only=True) as dao:
            return take_snapshot(dao, run_id)

    # what is in a run; who asks for several of these asks `summary` once

    def gaps(
        self,
        run: str = LATEST,
        *,
        state: str | None = None,
        source: str | None = None,
        rule: str | None = None,
        severity: str | None = None,
        path: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[GapRecord]:
        """The gaps of a run, the most severe first."""
        wanted = {"state": _state("gap", state), "source": source, "rule_id": rule, "severity": severity}
        found = _chosen(self.summary(run).gaps, wanted)
        return _page([gap for gap in found if path is None or path in gap.file_paths], limit, offset)

    def workstreams(self, run: str = LATEST, *, state: str | None = None) -> list[WorkstreamRecord]:
        """The workstreams of a run in the order they were made."""
        return _chosen(self.summary(run).workstreams, {"state": _state("workstream", state)})

    def tasks(
        self,
        run: str = LATEST,
        *,
        state: str | None = None,
        workstream_id: str | None = None,
        tool_id: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[TaskRecord]:
        """The tasks of a run in the order they were made, each with those that it waits for."""
        wanted = {"state": _state("task", state), "workstream_id": workstream_id, "tool_id": tool_id}
        return _page(_chosen(self.summary(run).tasks, wanted), limit, offset)

    def patches(
        self,
        run: str = LATEST,
        *,
        state: str | None = None,
        task_id: str | None = None,
        path: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[PatchRecord]:
        """The patches of a run in the order they were made, with their fate and their evidence."""
        wanted = {"state": _state("patch_ledger", state), "task_id": task_id}
        found = _chosen(self.summary(run).patches, wanted)
        return _page([patch for patch in found if path is None or path in patch.files], limit, offset)

    def gates(
        self,
        run: str = LATEST,
        *,
        state: str | None = None,
        type: str | None = None,  # noqa: A002 - the name of the field
        task_id: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[GateRecord]:
        """The gates of a run in the order they were made, with what they said."""
        wanted = {"state": _state("test_gate", state), "type": type, "task_id": task_id}
        return _page(_chosen(self.summary(run).gates, wanted), limit, offset)

    # patches of any run

    def patch(self, patch: str) -> Dossier:
        """One patch with its review and its diff."""
        entry = find_entry(self._store, patch)
        with self._store.begin(read_only=True) as dao:
            return dossier_of(dao, entry)

    def diff(self, patch: str) -> bytes:
        """The diff of a patch, byte for byte as it was stored."""
        return find_patch(self._store, patch).content

    def waiting(self, run: str | None = None) -> list[Dossier]:
        """The patches that wait for a person, of one run or of all."""
        run_id = find_run(self._store, run).id if run else None
        with self._store.begin(read_only=True) as dao:
            return waiting_dossiers(dao, run_id)

    def quarantined(self, run: str = LATEST) -> list[QuarantineDossier]:
        """The patches of a run that were put aside, with all that was found against them."""
        run_id = find_run(self._store, run).id
        with self._store.begin(read_only=True) as dao:
            return quarantine_dossiers(dao, run_id)

    def evidence(self, patch: str) -> QuarantineDossier:
        """One patch with all that was found against it, quarantined or not."""
        entry = find_entry(self._store, patch)
        with self._store.begin(read_only=True) as dao:
            return quarantine_dossier_of(dao, entry)

    # what serves all runs

    def workers(self, run: str | None = None) -> list[WorkerRecord]:
        """The workers of a run; without one, those of every run that are not shut down."""
        run_id = find_run(self._store, run).id if run else None
        with self._store.begin(read_only=True) as dao:
            rows = dao.workers.of_run(run_id) if run_id else open_workers(dao)
            claims = dao.tasks.claims()
        return [worker_record(row, claims.get(row.id)) for row in rows]

    def processes(self, run: str | None = None) -> list[ProcessRecord]:
        """The processes of tools of a run; without one, those of every run that are not known to have ended."""
        run_id = find_run(self._store, run).id if run else None
        with self._store.begin(read_only=True) as dao:
            return [process_record(row) for row in (dao.uet_workers.of_run(run_id) if run_id else open_processes(dao))]

    def breakers(self) -> list[BreakerRecord]:
        """The circuit breakers, by the names of their tools."""
        with self._store.begin(read_only=True) as dao:
            return [breaker_record(row) for row in dao.circuit_breakers.all()]

    # the audit trail

    def events(self, after: int = 0, *, run: str | None = None, limit: int = MOST_EVENTS) -> list[EventRecord]:
        """What happened after the row of that number, oldest first: ask again with the last `transition_id`."""
        run_id = find_run(self._store, run).id if run else None
        with self._store.begin(read_only=True) as dao:
            return [event_record(row) for row in dao.transitions.after(after, run_id=run_id, limit=limit)]

    def last_event(self) -> int:
        """The number of the last row of the trail; 0 where there is none."""
        with self._store.begin(read_only=True) as dao:
            return dao.transitions.last_id()

    def verify(self, run: str | None = None) -> Audit:
        """Recompute the hash chain of a run, or every chain, and compare it with all that depends on it."""
        found = audit.verify(self._store, find_run(self._store, run).id if run else None)
        return Audit(ok=found.ok, chains=found.chains, rows=found.rows, first_bad=found.first_bad)


def _repository(path: Path) -> Repository | None:
    """The repository of a stored run, or None once it was moved or removed."""
    try:
        return Repository.open(path)
    except (NotARepository, RepositoryUnfit):
        return None


def _state(entity: str, name: str | None) -> str | None:
    """The state of that name, or None for any; raises UnknownName."""
    return None if name is None else str(MACHINES[entity].state(name))


def _at_least(field: str, value: int, lowest: int) -> int:
    if value < lowest:
        raise InvalidValue(field=field, value=value, expected=f"at least {lowest}")
    return value


def _chosen(records: Iterable[R], wanted: Mapping[str, str | None]) -> list[R]:
    """The records whose fields are as wanted; None wants nothing."""
    asked = {name: value for name, value in wanted.items() if value is not None}
    return [record for record in records if all(getattr(record, name) == value for name, value in asked.items())]


def _page(records: Sequence[R], limit: int | None, offset: int) -> list[R]:
    start = _at_least("offset", offset, 0)
    return list(records[start : None if limit is None else start + _at_least("limit", limit, 0)])
