"""Databases for the tests of the memory: PostgreSQL where its programs are found."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

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


def _program(name: str) -> str | None:
    places = [os.environ.get("PATH", ""), *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))]
    return shutil.which(name, path=os.pathsep.join(places))


def _somebody() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then it runs as the user `nobody`."""
    if os.geteuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The socket folder of a PostgreSQL server of our own, stopped at the end of the session."""
    initdb, pg_ctl = _program("initdb"), _program("pg_ctl")
    if initdb is None or pg_ctl is None:
        pytest.skip("PostgreSQL's programs are not installed")
    home = tempfile.mkdtemp(prefix="acms-pg-")  # short: the path of a socket has at most 107 characters
    somebody = _somebody()
    if somebody:
        os.chown(home, somebody["user"], somebody["group"])
    data, log = f"{home}/data", f"{home}/log"
    quietly: dict[str, Any] = {"cwd": home, "stdout": subprocess.DEVNULL, **somebody}
    cluster = [initdb, "-D", data, "-A", "trust", "-U", "acms", "-E", "UTF8", "--no-locale", "--no-sync"]
    subprocess.run(cluster, check=True, **quietly)
    options = f"-k {home} -c listen_addresses='' -c fsync=off -c max_connections=60"
    try:
        subprocess.run([pg_ctl, "-D", data, "-l", log, "-o", options, "-w", "start"], check=True, **quietly)
        yield home
    finally:
        subprocess.run([pg_ctl, "-D", data, "-m", "immediate", "-w", "stop"], check=False, **quietly)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """The address of a PostgreSQL database in which nothing is yet."""
    import psycopg  # noqa: PLC0415 - an optional dependency

    name = f"acms_{next(_NUMBERS)}"
    with psycopg.connect(f"host={postgresql_server} user=acms dbname=postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        yield f"postgresql://acms@/{name}?host={postgresql_server}"
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


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
