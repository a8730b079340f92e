"""Databases for the tests of the memory: PostgreSQL where its programs are found."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from postgresql import database

from prefect_acms.canonical.run import RunTrigger
from prefect_acms.canonical.task import TaskTrigger
from prefect_acms.canonical.test_gate import TestGateTrigger
from prefect_acms.canonical.worker import WorkerTrigger
from prefect_acms.dao.gaps import GapRow
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store, open_store
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.dao.test_gates import TestGateRow
from prefect_acms.dao.transitions import TransitionRow
from prefect_acms.dao.workers import WorkerRow
from prefect_acms.dao.workstreams import WorkstreamRow

_NUMBERS = count(1)


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """The address of a PostgreSQL database in which nothing is yet."""
    with database(postgresql_server, f"acms_{next(_NUMBERS)}") as url:
        yield url


class World:
    """A store and the shortest way to rows in it."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def run(self, **columns: Any) -> RunRow:
        """A run that has started."""
        with self.store.begin() as dao:
            row = dao.runs.create(repo_root="/repository", **columns)
            dao.runs.advance(row.id, RunTrigger.RUN_STARTED)
            return dao.runs.get(row.id)

    def stream(self, run_id: str, **columns: Any) -> WorkstreamRow:
        """A planned workstream."""
        with self.store.begin() as dao:
            return dao.workstreams.create(run_id=run_id, name="style", **columns)

    def task(self, workstream_id: str, *, queued: bool = False, **columns: Any) -> TaskRow:
        """A task, pending or queued."""
        with self.store.begin() as dao:
            row = dao.tasks.create(workstream_id=workstream_id, kind="implementation", **columns)
            if queued:
                dao.tasks.advance(row.id, TaskTrigger.SCHEDULER_ASSIGNED)
            return dao.tasks.get(row.id)

    def worker(self, run_id: str | None = None, **columns: Any) -> WorkerRow:
        """An idle worker."""
        with self.store.begin() as dao:
            row = dao.workers.create(worker_type="thread", run_id=run_id, **columns)
            dao.workers.advance(row.id, WorkerTrigger.REGISTERED)
            return dao.workers.get(row.id)

    def gap(self, run_id: str, **columns: Any) -> GapRow:
        """A gap as it was found."""
        found = {"source": "ruff", "rule_id": "F401", "fingerprint": "f00d", "title": "unused import", **columns}
        with self.store.begin() as dao:
            return dao.gaps.create(run_id=run_id, **found)

    def entry(self, task_id: str, **columns: Any) -> LedgerRow:
        """A ledger entry with its patch."""
        with self.store.begin() as dao:
            patch = dao.patches.create(task_id=task_id, content=b"--- a\n+++ b\n", files=["a.py"])
            return dao.ledger.create(patch_id=patch.id, **columns)

    def gate(self, run_id: str, outcome: str | None = None, **columns: Any) -> TestGateRow:
        """A gate: PENDING, or with its outcome."""
        with self.store.begin() as dao:
            row = dao.test_gates.create(run_id=run_id, gate_type="UNIT", **columns)
            if outcome:
                code = 0 if outcome == "PASSED" else 1
                said: dict[str, Any] = {"exit_code": code, "stdout": "", "stderr": "", "duration_sec": 0.1}
                dao.test_gates.advance(row.id, TestGateTrigger.GATE_STARTED)
                if outcome == "PASSED":
                    dao.test_gates.advance(row.id, TestGateTrigger.EXPECTED_EXIT_CODE, **said)
                else:
                    dao.test_gates.advance(row.id, TestGateTrigger.UNEXPECTED_EXIT_CODE, **said, timed_out=False)
            return dao.test_gates.get(row.id)

    def trail(self, run_id: str) -> list[TransitionRow]:
        """What the database tells of a run."""
        with self.store.begin(read_only=True) as dao:
            return dao.transitions.of_run(run_id)


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all tables and no row, to be copied: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("new") / "canonical.db"
    open_store(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def world(tmp_path: Path, new_database: Path) -> Iterator[World]:
    """A new SQLite store of one test."""
    shutil.copy(new_database, tmp_path / "canonical.db")
    store = open_store(f"sqlite:///{tmp_path / 'canonical.db'}", synchronous="NORMAL", busy_timeout_sec=10)
    yield World(store)
    store.close()


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def any_world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A store on each database, shared by all tests of the session: each test makes rows of its own."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('shared') / 'canonical.db'}"
    else:
        home = request.getfixturevalue("postgresql_server")
        url = f"postgresql://acms@/postgres?host={home}"
    store = open_store(url, synchronous="NORMAL", busy_timeout_sec=10)
    yield World(store)
    store.close()
