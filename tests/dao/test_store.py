"""The unit of work: the only way in, and the only commit."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from prefect_acms.canonical.errors import StoreUnavailable
from prefect_acms.canonical.events import Event
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.dao.ids import Ids
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store, UnitOfWork, open_store
from prefect_acms.dao.transitions import ChainHeadRow

if TYPE_CHECKING:
    from tests.dao.conftest import World


def runs(store: Store) -> list[RunRow]:
    """All runs of a store."""
    with store.begin(read_only=True) as dao:
        return dao.runs.latest(100)


class UndoneError(Exception):
    """Lets a unit of work fail."""


def undo(store: Store, work: Callable[[UnitOfWork], object]) -> None:
    """Do the work in a unit that fails at its end."""

    def unit() -> None:
        with store.begin() as dao:
            work(dao)
            raise UndoneError

    with pytest.raises(UndoneError):
        unit()


def test_what_is_done_in_a_block_is_stored_together_at_its_end(world: World) -> None:
    """Nobody else sees a half of it."""
    other = open_store(world.store.url)
    with world.store.begin() as dao:
        dao.runs.create(repo_root="/a")
        dao.runs.create(repo_root="/b")
        assert runs(other) == []
    assert [run.repo_root for run in runs(other)] == ["/b", "/a"]
    other.close()


def test_an_error_in_the_block_undoes_all_of_it(world: World) -> None:
    """Rows, trail, chain heads: as if it had never begun."""

    def work(dao: UnitOfWork) -> None:
        dao.runs.create(repo_root="/a", id="run_a")
        dao.tool_metrics.record("ruff", success=True, latency_ms=1.0)

    undo(world.store, work)
    with world.store.begin(read_only=True) as dao:
        assert dao.runs.find("run_a") is None
        assert dao.tool_metrics.find("ruff") is None
        assert dao.transitions.of_run("run_a") == []
        assert dao.session.scalars(select(ChainHeadRow.run_id)).all() == []


def test_units_of_one_thread_do_not_nest(world: World) -> None:
    """The inner one is refused; the outer one goes on."""
    with world.store.begin() as dao:
        with pytest.raises(StoreUnavailable, match="units don't nest"), world.store.begin(read_only=True):
            pass
        dao.runs.create(repo_root="/a")
    assert len(runs(world.store)) == 1


def test_a_unit_that_only_reads_refuses_to_write(world: World) -> None:
    """By the service, by the other DAOs, and by the database itself."""
    run = world.run()
    with world.store.begin(read_only=True) as dao:
        with pytest.raises(StoreUnavailable, match="only reads"):
            dao.runs.create(repo_root="/a")
        with pytest.raises(StoreUnavailable, match="only reads"):
            dao.runs.advance(run.id, RunTrigger.USER_CANCELLED)
        with pytest.raises(StoreUnavailable, match="only reads"):
            dao.tool_metrics.record("ruff", success=True, latency_ms=1.0)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            dao.desk.cursor.execute("DELETE FROM tool_metrics")
    world.run()


def test_a_unit_that_has_ended_does_nothing_any_more(world: World) -> None:
    """A leaked unit neither reads nor writes."""
    with world.store.begin() as dao:
        run = dao.runs.create(repo_root="/a")
    for touch in (lambda: dao.runs.get(run.id), lambda: dao.runs.advance(run.id, RunTrigger.RUN_STARTED)):
        with pytest.raises(StoreUnavailable, match="has ended"):
            touch()


def test_a_reader_does_not_wait_for_a_writer(world: World) -> None:
    """WAL: reading goes on beside a unit that writes, and sees what was committed before."""
    run = world.run()
    seen: list[str] = []
    with world.store.begin() as dao:
        dao.runs.change(run.id, base_commit="c0ffee")
        reader = threading.Thread(target=lambda: seen.append(str(runs(world.store)[0].base_commit)))
        reader.start()
        reader.join(timeout=10)
    assert seen == ["None"]


def test_a_database_locked_by_another_program_is_one_clear_sentence(world: World) -> None:
    """The wait has an end, and nothing was changed."""
    patient = open_store(world.store.url, busy_timeout_sec=0.05)
    stranger = sqlite3.connect(world.store.url.removeprefix("sqlite:///"), isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="held its lock for too long") as refused, patient.begin():
        pass
    stranger.rollback()
    assert "\n" not in str(refused.value)
    with patient.begin() as dao:
        dao.runs.create(repo_root="/a")
    stranger.close()
    patient.close()


def test_a_thread_that_waits_too_long_for_another_is_told_so(world: World) -> None:
    """Writers of one process queue for the same time as for another process."""
    impatient = open_store(world.store.url, busy_timeout_sec=0.05)
    problems: list[str] = []

    def write() -> None:
        try:
            with impatient.begin():
                problems.append("got in")
        except StoreUnavailable as problem:
            problems.append(str(problem))

    with impatient.begin():
        thread = threading.Thread(target=write)
        thread.start()
        thread.join(timeout=10)
    assert len(problems) == 1
    assert "another thread has held its lock" in problems[0]
    impatient.close()


def test_a_connection_is_set_up_so_that_nothing_reported_is_lost(tmp_path: Path) -> None:
    """WAL, foreign keys, FULL unless told otherwise."""
    for synchronous, number in (("FULL", 2), ("NORMAL", 1)):
        store = open_store(f"sqlite:///{tmp_path / synchronous}.db", synchronous=synchronous)  # type: ignore[arg-type]
        with store.begin() as dao:
            pragmas = ("journal_mode", "synchronous", "foreign_keys", "recursive_triggers")
            found = [dao.desk.cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
        assert found == ["wal", number, 1, 1]
        store.close()
    default = open_store(f"sqlite:///{tmp_path}/default.db")
    with default.begin() as dao:
        assert dao.desk.cursor.execute("PRAGMA synchronous").fetchone()[0] == 2
    default.close()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("sqlite://", "in memory keeps nothing"),
        ("sqlite:///:memory:", "in memory keeps nothing"),
        ("nonsense", "not a database URL"),
        ("mysql://root:hunter22@localhost/acms", "mysql is not supported"),
        ("sqlite:////proc/nowhere/canonical.db", "."),
        ("postgresql://acms:hunter22@127.0.0.1:1/acms?connect_timeout=2", "(?i)connection"),
    ],
)
def test_a_database_that_can_not_be_used_is_one_sentence_without_its_password(url: str, problem: str) -> None:
    """Bad input: exit code 2, no traceback of a driver, no secret."""
    with pytest.raises(StoreUnavailable, match=problem) as refused:
        open_store(url)
    assert refused.value.exit_code == 2
    assert "hunter22" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Nothing is written to what is not ours."""
    file = tmp_path / "canonical.db"
    file.write_bytes(b"this is not a database, it is a letter to a friend\n" * 100)
    before = file.read_bytes()
    with pytest.raises(StoreUnavailable, match="not a database"):
        open_store(f"sqlite:///{file}")
    assert file.read_bytes() == before


def test_a_full_disk_stops_the_unit_and_leaves_the_store_as_it_was(world: World) -> None:
    """One sentence, nothing stored, and with room again it goes on."""
    run = world.run()
    before = [row.hash for row in world.trail(run.id)]

    def fill() -> None:
        with world.store.begin() as dao:
            (pages,) = dao.desk.cursor.execute("PRAGMA page_count").fetchone()
            dao.desk.cursor.execute(f"PRAGMA max_page_count = {pages + 2}")
            for number in range(500):
                dao.workstreams.create(run_id=run.id, name="w" * 500, branch=str(number))

    with pytest.raises(StoreUnavailable, match="full"):
        fill()
    assert [row.hash for row in world.trail(run.id)] == before
    with world.store.begin() as dao:
        dao.desk.cursor.execute("PRAGMA max_page_count = 1000000")
        dao.runs.advance(run.id, RunTrigger.USER_CANCELLED)


def test_the_folder_of_the_home_is_made(acms_home: Path) -> None:
    """Without any setting the store is `$ACMS_HOME/canonical.db`."""
    store = open_store()
    store.close()
    assert (acms_home / "canonical.db").exists()
    assert store.url == f"sqlite:///{acms_home / 'canonical.db'}"


def test_a_closed_store_says_so(world: World) -> None:
    """Closing is final, and closing twice is nothing."""
    world.store.close()
    world.store.close()
    with pytest.raises(StoreUnavailable, match="it was closed"), world.store.begin():
        pass


def test_listeners_are_told_after_the_commit_and_in_order(world: World) -> None:
    """Each commit once, its events in the order of the chain; what is rolled back is never told."""
    told: list[list[str]] = []

    def listen(events: Sequence[Event]) -> None:
        with world.store.begin(read_only=True) as dao:
            assert dao.transitions.of_entity("run", events[0].entity_id) != []
        told.append([event.trigger for event in events])

    unsubscribe = world.store.subscribe(listen)
    with world.store.begin() as dao:
        run = dao.runs.create(repo_root="/a")
        dao.runs.advance(run.id, RunTrigger.RUN_STARTED)
        assert told == []
    undo(world.store, lambda dao: dao.runs.create(repo_root="/b"))
    with world.store.begin() as dao:
        dao.runs.advance(run.id, RunTrigger.USER_CANCELLED)
        dao.tool_metrics.record("ruff", success=True, latency_ms=1.0)
    with world.store.begin() as dao:
        dao.runs.change(run.id, base_commit="c0ffee")
    unsubscribe()
    world.run()
    assert told == [["created", "run_started"], ["user_cancelled"]]


def test_a_listener_that_fails_breaks_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The commit stands, the next listener is told, the failure is in the log."""
    told: list[int] = []

    def fail(_events: Sequence[Event]) -> None:
        raise UndoneError

    world.store.subscribe(fail)
    world.store.subscribe(lambda events: told.append(len(events)))
    with caplog.at_level(logging.ERROR), world.store.begin() as dao:
        dao.runs.create(repo_root="/a")
    assert told == [1]
    assert "a listener failed" in caplog.text
    assert len(runs(world.store)) == 1


def test_a_listener_may_write(world: World) -> None:
    """What it does is told after what it was told, without going round in circles."""
    told: list[str] = []

    def listen(events: Sequence[Event]) -> None:
        told.extend(event.trigger for event in events)
        for event in events:
            if event.trigger == "created":
                with world.store.begin() as dao:
                    dao.runs.advance(event.entity_id, RunTrigger.RUN_STARTED)

    world.store.subscribe(listen)
    with world.store.begin() as dao:
        dao.runs.create(repo_root="/a")
        dao.runs.create(repo_root="/b")
    assert told == ["created", "created", "run_started", "run_started"]


def test_events_of_many_threads_are_told_in_the_order_of_their_commits(world: World) -> None:
    """The order of the chain is the order in which listeners hear of it."""
    run = world.run()
    told: list[str] = []
    world.store.subscribe(lambda events: told.extend(event.event_id for event in events))

    def note() -> None:
        for number in range(15):
            with world.store.begin() as dao:
                dao.runs.note(run.id, "drift_detected", reason=str(number))  # type: ignore[arg-type]

    threads = [threading.Thread(target=note) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.run()  # whoever tells last has told everything by then
    chain = [row.event_id for row in world.trail(run.id) if row.trigger == "drift_detected"]
    assert [event for event in told if event in set(chain)] == chain


def test_connections_of_threads_that_ended_are_closed(world: World) -> None:
    """A pool that makes many threads doesn't eat up file handles."""
    world.run()

    def read() -> None:
        runs(world.store)

    for _ in range(20):
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    file = world.store.url.removeprefix("sqlite:///")
    handles = [link for link in Path("/proc/self/fd").iterdir() if _points_to(link, file)]
    assert len(handles) <= 4


def _points_to(link: Path, name: str) -> bool:
    try:
        return name in str(link.readlink())
    except OSError:
        return False


def test_one_seed_and_one_clock_give_one_database(tmp_path: Path) -> None:
    """Ids come from one generator, time is handed in: two runs of the same thing write the same trail."""

    def clock() -> datetime:
        return datetime(2026, 1, 31, tzinfo=UTC)

    trails = []
    for name in ("one", "two"):
        store = open_store(f"sqlite:///{tmp_path / name}.db", clock=clock, ids=Ids(seed=7, clock=clock))
        with store.begin() as dao:
            run = dao.runs.create(repo_root="/a")
            dao.runs.advance(run.id, RunTrigger.RUN_STARTED)
            trails.append([(row.event_id, row.entity_id, row.hash) for row in dao.transitions.of_run(run.id)])
        store.close()
    assert trails[0] == trails[1]
