"""What a scrape of the metrics costs on a large store: `python benchmarks/scrapes.py`.

A run is made by the transition service and then copied, row by row with ids of its own, until the trail has a million
rows. Told are: the first read, which counts the whole trail; one when nothing has come; and one after a run's worth of
new rows. The store is a SQLite file.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from prefect_acms.canonical.gap import GapTrigger
from prefect_acms.canonical.patch import PatchTrigger
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.canonical.task import TaskTrigger
from prefect_acms.canonical.test_gate import TestGateTrigger
from prefect_acms.canonical.uet_worker import UetWorkerTrigger
from prefect_acms.canonical.worker import WorkerTrigger
from prefect_acms.canonical.workstream import WorkstreamTrigger
from prefect_acms.dao.store import UnitOfWork, open_store
from prefect_acms.tasks.metrics_collector import StoreCollector

TABLES = (
    *("runs", "workstreams", "gaps", "workers", "uet_workers", "tasks", "patches", "patch_ledger_entries"),
    *("test_gates", "chain_heads", "state_transitions"),
)
IDS = {"id", "run_id", "workstream_id", "task_id", "patch_id", "worker_id", "entity_id", "event_id"}
TASKS, GAPS_A_TASK, GATES_A_TASK, WORKERS = 60, 3, 2, 4
FIRST_SEC, NEXT_SEC = 60.0, 0.5
"""How long a scrape may take: the first one counts in the background, the next ones every few seconds."""


def make_run(dao: UnitOfWork) -> str:
    """A run that has ended, with its tasks and what belongs to them."""
    run = dao.runs.create(repo_root="/repository", base_commit="c0ffee").id
    dao.runs.advance(run, RunTrigger.RUN_STARTED)
    workers = [dao.workers.create(run_id=run, worker_type="slot").id for _ in range(WORKERS)]
    for worker in workers:
        dao.workers.advance(worker, WorkerTrigger.REGISTERED)
    stream = dao.workstreams.create(run_id=run, name="style").id
    for number in range(TASKS):
        make_task(dao, run, stream, workers[number % WORKERS], number)
    for worker in workers:
        dao.workers.advance(worker, WorkerTrigger.SHUTDOWN_REQUESTED)
    dao.workstreams.advance(stream, WorkstreamTrigger.DISABLED)
    dao.runs.advance(run, RunTrigger.ALL_WORKSTREAMS_COMPLETE)
    return run


def make_task(dao: UnitOfWork, run: str, stream: str, worker: str, number: int) -> None:
    """A task with its gaps, its process, its gates and its patch, all done."""
    gap: dict[str, Any] = {"run_id": run, "source": "ruff", "rule_id": "F401", "title": "unused import"}
    gaps = [dao.gaps.create(**gap, fingerprint=f"{number}.{n}", file_paths=["a.py"]).id for n in range(GAPS_A_TASK)]
    dao.gaps.advance_many(gaps, GapTrigger.CLUSTERED, workstream_id=stream)
    for trigger in (GapTrigger.PLAN_COMPILED, GapTrigger.TASK_STARTED):
        dao.gaps.advance_many(gaps, trigger)
    task = dao.tasks.create(workstream_id=stream, kind="implementation", tool_id="ruff-fix").id
    dao.tasks.advance(task, TaskTrigger.SCHEDULER_ASSIGNED)
    dao.tasks.claim(task, worker)
    process = dao.uet_workers.create(run_id=run, worker_type="ruff-fix").id
    for step in ("SPAWNED", "TASK_ASSIGNED", "TASK_FINISHED", "SHUTDOWN_REQUESTED"):
        dao.uet_workers.advance(process, UetWorkerTrigger[step])
    dao.tasks.advance(task, TaskTrigger.EXECUTION_COMPLETED, exit_code=0, facts={"expected_exit_codes": [0]})
    dao.workers.advance(worker, WorkerTrigger.TASK_FINISHED)
    for kind in ("LINT", "UNIT")[:GATES_A_TASK]:
        gate = dao.test_gates.create(run_id=run, task_id=task, gate_type=kind, command=["true"]).id
        dao.test_gates.advance(gate, TestGateTrigger.GATE_STARTED)
        said: dict[str, Any] = {"exit_code": 0, "stdout": "fine\n" * 20, "stderr": "", "duration_sec": 1.5}
        dao.test_gates.advance(gate, TestGateTrigger.EXPECTED_EXIT_CODE, **said)
    patch = dao.patches.create(task_id=task, content=b"+x\n" * 50, files=["a.py"], lines_added=50, lines_removed=0).id
    entry = dao.ledger.create(patch_id=patch).id
    flags: dict[str, Any] = dict.fromkeys(("validation_format", "validation_scope", "validation_constraints"), True)
    dao.ledger.advance(entry, PatchTrigger.VALIDATION_PASSED, **flags)
    dao.ledger.advance(entry, PatchTrigger.ACCEPTED, facts={"review_required": False})
    dao.ledger.advance(entry, PatchTrigger.APPLY_SUCCEEDED)
    dao.ledger.advance(entry, PatchTrigger.GATES_PASSED, validation_tests_passed=True)
    dao.ledger.advance(entry, PatchTrigger.COMMIT_SUCCEEDED, commit_sha="c0ffee")
    dao.tasks.advance(task, TaskTrigger.VALIDATION_PASSED)
    dao.gaps.advance_many(gaps, GapTrigger.RESCAN_CLEAN, facts={"rescan_fingerprints": frozenset()})


def copy_run(connection: sqlite3.Connection, run: str, suffix: str) -> int:
    """The same rows with other ids; gives how many rows the trail has got by that."""
    connection.execute("BEGIN")
    for table in TABLES:
        columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})") if name != "transition_id"]
        chosen = [f"{name} || '{suffix}'" if name in IDS else name for name in columns]
        owner = {"runs": "id", "patches": "task_id"}.get(table, "run_id")
        mine = f"SELECT id FROM tasks WHERE run_id = '{run}'" if table == "patches" else f"'{run}'"
        wanted = f"SELECT {', '.join(chosen)} FROM {table} WHERE {owner} IN ({mine})"
        copied = connection.execute(f"INSERT INTO {table} ({', '.join(columns)}) {wanted}").rowcount
    connection.execute("COMMIT")
    return copied


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> int:
    """Print the times; the exit code says whether they are short enough."""
    options = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    options.add_argument("--rows", type=int, default=1_000_000, help="rows of the trail")
    options.add_argument("--folder", type=Path, default=None, help="where the database is made")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        path = Path(folder) / "canonical.db"
        store = open_store(f"sqlite:///{path}", synchronous="NORMAL")
        with store.begin() as dao:
            run = make_run(dao)
        store.close()
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA synchronous = OFF")
        rows = copies = 0
        while rows < chosen.rows:
            copies += 1
            rows += copy_run(connection, run, f"-{copies}")
        registry = CollectorRegistry()
        registry.register(StoreCollector(f"sqlite:///{path}", within_sec=600))
        first = timed(lambda: generate_latest(registry))
        nothing_new = median(timed(lambda: generate_latest(registry)) for _ in range(9))
        new = copy_run(connection, run, "-new")
        a_run = timed(lambda: generate_latest(registry))
        size = len(generate_latest(registry))
        connection.close()
    print(f"{rows:,} rows of {copies} runs; an answer has {size / 1000:.0f} kB")
    print(f"first read      {first:8.2f} s  {first / rows * 1e6:6.1f} us a row")
    print(f"nothing is new  {nothing_new * 1000:8.1f} ms")
    print(f"{new:,} new rows  {a_run * 1000:8.1f} ms")
    return 0 if first < FIRST_SEC and max(nothing_new, a_run) < NEXT_SEC else 1


if __name__ == "__main__":
    sys.exit(main())
