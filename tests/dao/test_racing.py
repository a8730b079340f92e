"""Many at once: exactly one wins a task, and the chain is whole."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from racing import at_once, in_processes

from prefect_acms.canonical.errors import GuardRefused, InvalidTransition, LostRace, StoreUnavailable, Superseded
from prefect_acms.canonical.events import Notice
from prefect_acms.dao.chain import GENESIS, HASHED, row_hash
from prefect_acms.dao.store import Fence, Store, UnitOfWork, open_store

if TYPE_CHECKING:
    from tests.dao.conftest import World

CLAIM = """
import sys
from prefect_acms.canonical.errors import GuardRefused, InvalidTransition
from prefect_acms.dao.store import open_store
url, workers, tasks = sys.argv[1], sys.argv[2].split(","), sys.argv[3].split(",")
store = open_store(url, synchronous="NORMAL")
print("ready", flush=True)
sys.stdin.readline()
for worker, task in zip(workers, tasks):
    try:
        with store.begin() as dao:
            dao.tasks.claim(task, worker)
        print("won", task, flush=True)
    except (GuardRefused, InvalidTransition) as refusal:
        print("lost", type(refusal).__name__, flush=True)
"""
NOTE = """
import sys
from prefect_acms.canonical.events import Notice
from prefect_acms.dao.store import open_store
store = open_store(sys.argv[1], synchronous="NORMAL")
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    with store.begin() as dao:
        dao.runs.note(sys.argv[2], Notice.DRIFT_DETECTED, reason=f"{number}")
print("done", flush=True)
"""


def is_whole(store: Store, run_id: str) -> int:
    """The length of a run's chain, after each of its hashes was computed anew."""
    with store.begin(read_only=True) as dao:
        rows = dao.transitions.of_run(run_id)
    before = GENESIS
    for seq, row in enumerate(rows, start=1):
        values = {name: getattr(row, "info" if name == "metadata" else name) for name in HASHED}
        assert (row.chain_seq, row.prev_hash, row.hash) == (seq, before, row_hash(before, values))
        before = row.hash
    return len(rows)


def test_of_eight_threads_that_claim_a_task_exactly_one_wins(any_world: World) -> None:
    """Each with a worker of its own; the others are told that the task is taken."""
    run = any_world.run()
    stream = any_world.stream(run.id)
    workers = [any_world.worker(run.id).id for _ in range(8)]
    for _ in range(4):
        task = any_world.task(stream.id, queued=True)
        won: list[str] = []
        lost: list[str] = []

        def claim(number: int, task_id: str = task.id, won: list[str] = won, lost: list[str] = lost) -> None:
            try:
                with any_world.store.begin() as dao:
                    won.append(dao.tasks.claim(task_id, workers[number]).id)
            except (InvalidTransition, GuardRefused) as refusal:
                lost.append(type(refusal).__name__)

        at_once(claim)
        assert len(won) == 1
        assert lost == ["InvalidTransition"] * 7
        with any_world.store.begin() as dao:
            assert dao.tasks.get(task.id).worker_id == won[0]
            assert [w.id for w in dao.workers.of_run(run.id) if w.state == "busy"] == won
            dao.tasks.advance(task.id, "user_cancelled")
            dao.workers.advance(won[0], "task_finished")


def test_of_four_processes_that_claim_the_same_tasks_each_task_has_one_winner(world: World) -> None:
    """Every process tries every task, with a worker of its own for each."""
    run = world.run()
    stream = world.stream(run.id)
    tasks = [world.task(stream.id, queued=True).id for _ in range(10)]
    arguments = [[world.store.url, ",".join(world.worker(run.id).id for _ in tasks), ",".join(tasks)] for _ in range(4)]
    said = in_processes(CLAIM, arguments)
    assert sorted(line.removeprefix("won ") for line in said if line.startswith("won")) == sorted(tasks)
    assert [line for line in said if line.startswith("lost")] == ["lost InvalidTransition"] * 30
    is_whole(world.store, run.id)


def test_eight_threads_write_one_chain(any_world: World) -> None:
    """No number twice, none missing, every hash right."""
    run = any_world.run()

    def note(number: int) -> None:
        for count in range(10):
            with any_world.store.begin() as dao:
                dao.runs.note(run.id, Notice.DRIFT_DETECTED, reason=f"{number}.{count}")

    at_once(note)
    assert is_whole(any_world.store, run.id) == 82


def test_four_processes_write_one_chain(any_world: World) -> None:
    """The same, with nothing in common but the database."""
    run = any_world.run()
    said = in_processes(NOTE, [[any_world.store.url, run.id, "25"]] * 4)
    assert said == ["done"] * 4
    assert is_whole(any_world.store, run.id) == 102


def test_many_runs_begin_at_once(any_world: World) -> None:
    """Each opens a chain and anchors it in the one that all share."""
    made: list[str] = []

    def begin(_number: int) -> None:
        made.extend(any_world.run().id for _ in range(3))

    at_once(begin)
    assert len(set(made)) == 24
    for run_id in made:
        assert is_whole(any_world.store, run_id) == 2


def test_the_first_writers_of_a_new_postgresql_database_open_the_global_chain_once(postgresql_url: str) -> None:
    """There is no row to lock yet, and still nobody writes twice at one place."""
    store = open_store(postgresql_url)

    def begin(_number: int) -> None:
        with store.begin() as dao:
            dao.runs.create(repo_root="/r")

    at_once(begin)
    with store.begin(read_only=True) as dao:
        places = [int(row[0]) for row in dao.connection.exec_driver_sql(
            "SELECT chain_seq FROM state_transitions WHERE run_id IS NULL ORDER BY 1"
        )]  # fmt: skip
    store.close()
    assert places == list(range(1, 9))


def test_eight_threads_ask_whose_turn_it_is(any_world: World) -> None:
    """A round-robin rule gives each number once; counters of a tool miss nothing."""
    rule = any_world.store.ids.new("rule")
    turns: list[int] = []

    def ask(_number: int) -> None:
        for _ in range(5):
            with any_world.store.begin() as dao:
                turns.append(dao.tool_metrics.next_index(rule))
                dao.tool_metrics.record(rule, success=len(turns) % 2 == 0, latency_ms=2.0)

    at_once(ask)
    with any_world.store.begin(read_only=True) as dao:
        record = dao.tool_metrics.get(rule)
    assert sorted(turns) == list(range(40))
    assert (record.call_count, record.total_latency_ms) == (40, 80.0)


def test_a_newer_driver_wins_whatever_the_order(any_world: World) -> None:
    """Two drivers race for one run: after a take-over the older one changes nothing."""
    run = any_world.run()
    with any_world.store.begin() as dao:
        old = Fence(run.id, dao.runs.take_over(run.id))
    taken = threading.Event()
    late: list[bool] = []

    def drive(number: int) -> None:
        if number == 0:
            with any_world.store.begin() as dao:
                dao.runs.take_over(run.id)
            taken.set()
            return
        for _ in range(10):
            was_taken = taken.is_set()
            try:
                with any_world.store.begin(fence=old) as dao:
                    dao.runs.note(run.id, Notice.DRIFT_DETECTED, reason="old")
            except Superseded:
                continue
            late.append(was_taken)

    at_once(drive, 4)
    assert not any(late)


def test_a_child_that_was_forked_opens_a_connection_of_its_own(world: World) -> None:
    """A connection is never shared over a fork; both go on writing."""
    run = world.run()
    program = (
        "import os, sys\n"
        "from prefect_acms.canonical.events import Notice\n"
        "from prefect_acms.dao.store import open_store\n"
        "store = open_store(sys.argv[1])\n"
        "def note(who):\n"
        "    for _ in range(10):\n"
        "        with store.begin() as dao:\n"
        "            dao.runs.note(sys.argv[2], Notice.DRIFT_DETECTED, reason=who)\n"
        "note('before')\n"
        "child = os.fork()\n"
        "note('child' if child == 0 else 'parent')\n"
        "if child == 0:\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "note('after')\n"
    )
    subprocess.run([sys.executable, "-c", program, world.store.url, run.id], check=True, timeout=60)
    assert is_whole(world.store, run.id) == 42


@pytest.mark.parametrize("version", [1, 2])
def test_of_two_that_decided_on_one_version_the_second_has_lost(any_world: World, version: int) -> None:
    """Optimistic: who hands in the version it read is told when the row has moved on."""
    gap = any_world.gap(any_world.run().id)
    with any_world.store.begin() as dao:
        dao.gaps.change(gap.id, metadata={"seen": version})
    outcomes: list[str] = []

    def defer(_number: int) -> None:
        try:
            with any_world.store.begin() as dao:
                dao.gaps.advance(gap.id, "filtered", deferred_reason="later", version=version)
            outcomes.append("won")
        except LostRace:
            outcomes.append("lost")

    at_once(defer, 3)
    assert outcomes.count("won") == (1 if version == 2 else 0)
    assert outcomes.count("lost") == 3 - outcomes.count("won")


def test_two_who_lock_each_other_out_on_postgresql_are_parted(postgresql_url: str) -> None:
    """One of them has lost the race and may try again; the other goes on."""
    store = open_store(postgresql_url)
    with store.begin() as dao:
        run = dao.runs.create(repo_root="/r")
        breaker = dao.circuit_breakers.create(tool_id="ruff")
    both = threading.Barrier(2)
    outcomes: list[str] = []

    def work(number: int) -> None:
        def run_first(dao: UnitOfWork) -> None:
            dao.runs.note(run.id, Notice.DRIFT_DETECTED, reason="?")

        def breaker_first(dao: UnitOfWork) -> None:
            dao.circuit_breakers.note(breaker.id, Notice.DRIFT_DETECTED, reason="?")

        steps = [run_first, breaker_first][:: 1 if number else -1]
        try:
            with store.begin() as dao:
                steps[0](dao)
                both.wait(timeout=10)
                steps[1](dao)
            outcomes.append("done")
        except LostRace:
            outcomes.append("lost")

    at_once(work, 2)
    assert sorted(outcomes) == ["done", "lost"]
    is_whole(store, run.id)
    store.close()


def test_a_lost_connection_to_postgresql_is_replaced(postgresql_url: str) -> None:
    """The unit in which it broke fails with one sentence; the next one has a new connection."""
    store, other = open_store(postgresql_url), open_store(postgresql_url)
    with store.begin() as dao:
        run_id = dao.runs.create(repo_root="/r").id
        (pid,) = dao.desk.cursor.execute("SELECT pg_backend_pid()").fetchone()
    with other.begin() as dao:
        dao.desk.cursor.execute("SELECT pg_terminate_backend(%s)", (pid,))
    with pytest.raises(StoreUnavailable, match=r"terminat|closed|lost"), store.begin() as dao:
        dao.runs.advance(run_id, "run_started")
    with store.begin() as dao:
        dao.runs.advance(run_id, "run_started")
    for one in (store, other):
        one.close()
