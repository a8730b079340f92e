"""Any other route to a `state` column, or to the trail, is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, insert, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import Executable

from prefect_acms.canonical.errors import StateAssignmentRefused
from prefect_acms.dao.circuit_breakers import BreakerRow
from prefect_acms.dao.gaps import GapRow
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.refusals import forbidden_table
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.schema import StateRow
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.dao.test_gates import TestGateRow
from prefect_acms.dao.transitions import ChainHeadRow, TransitionRow
from prefect_acms.dao.uet_workers import UetWorkerRow
from prefect_acms.dao.workers import WorkerRow
from prefect_acms.dao.workstreams import WorkstreamRow

if TYPE_CHECKING:
    from tests.dao.conftest import World

ROWS = (
    RunRow,
    WorkstreamRow,
    TaskRow,
    GapRow,
    WorkerRow,
    UetWorkerRow,
    LedgerRow,
    TestGateRow,
    BreakerRow,
)


@pytest.mark.parametrize("row", ROWS)
def test_state_is_not_assigned(row: type[StateRow]) -> None:
    """Neither on a row that exists nor on a new one."""
    with pytest.raises(StateAssignmentRefused, match="transition service only"):
        row().state = row.machine.initial.value
    with pytest.raises(StateAssignmentRefused):
        row(state=row.machine.initial.value)


def test_state_of_a_stored_row_is_not_assigned(world: World) -> None:
    """A row that was read is detached and refuses it."""
    run = world.run()
    with pytest.raises(StateAssignmentRefused, match=r"run.* 'succeeded' was refused"):
        run.state = "succeeded"
    assert run.state == "running"


def test_state_is_no_column_that_a_dao_takes(world: World) -> None:
    """The service takes triggers, not states."""
    run = world.run()
    with world.store.begin() as dao:
        with pytest.raises(StateAssignmentRefused):
            dao.runs.create(repo_root="/r", state="succeeded")
        with pytest.raises(StateAssignmentRefused):
            dao.runs.advance(run.id, "user_cancelled", state="succeeded")
        with pytest.raises(StateAssignmentRefused):
            dao.runs.change(run.id, state="succeeded")


def statements(row: type[StateRow]) -> list[Executable]:
    """Every way to write the state of a row by SQLAlchemy."""
    table, state = row.__tablename__, row.machine.initial.value
    return [
        insert(row).values(id="x"),
        update(row).values(state=state),
        delete(row),
        text(f"UPDATE {table} SET state = '{state}'"),  # noqa: S608 - the point of the test
        text(f'update "{table}" set version = 3, "state" = 1'),  # noqa: S608
        text(f"UPDATE {table} SET (version, state) = (1, 'x')"),  # noqa: S608
        text(f"WITH x AS (SELECT 1) UPDATE {table} SET state = 'x'"),  # noqa: S608
        text(f"INSERT OR REPLACE INTO {table} (id) VALUES ('x')"),  # noqa: S608
        text(f"REPLACE INTO {table} (id) VALUES ('x')"),  # noqa: S608
        text(f"/* harmless */ DELETE FROM main.{table}"),  # noqa: S608
        text(f"SELECT 1; DELETE FROM {table}"),  # noqa: S608
        text(f"DROP TABLE {table}"),
    ]


@pytest.mark.parametrize("row", ROWS)
def test_sql_that_writes_state_is_refused(world: World, row: type[StateRow]) -> None:
    """INSERT, UPDATE, DELETE, REPLACE: as expressions and as text, on the engine's every connection."""
    with world.store.begin() as dao:
        for statement in statements(row):
            with pytest.raises(StateAssignmentRefused, match=row.__tablename__):
                dao.session.execute(statement)


def test_a_session_that_was_given_a_new_row_can_not_flush_it(world: World) -> None:
    """The unit of work of SQLAlchemy goes by the same door."""
    with world.store.begin() as dao:
        dao.session.add(RunRow(id="run_x", repo_root="/r"))
        with pytest.raises(StateAssignmentRefused, match="runs"):
            dao.session.flush()
        dao.session.expunge_all()
        dao.session.rollback()


@pytest.mark.parametrize("row", [TransitionRow, ChainHeadRow])
def test_nobody_writes_to_the_trail(world: World, row: Any) -> None:
    """Rows are added by the service, and never changed or deleted."""
    with world.store.begin() as dao:
        for statement in (insert(row).values(run_id="x"), update(row).values(hash="0" * 64), delete(row)):
            with pytest.raises(StateAssignmentRefused):
                dao.session.execute(statement)


def test_the_database_itself_keeps_the_trail(any_world: World) -> None:
    """A trigger refuses UPDATE and DELETE of audit rows, whoever asks, and REPLACE with them."""
    run = any_world.run()
    store = any_world.store
    with store.begin() as dao:
        error = dao.connection.dialect.loaded_dbapi.Error
    wrong = [
        f"UPDATE state_transitions SET reason = 'mine' WHERE run_id = '{run.id}'",  # noqa: S608 - the point
        f"DELETE FROM state_transitions WHERE run_id = '{run.id}'",  # noqa: S608
        "REPLACE INTO state_transitions SELECT * FROM state_transitions LIMIT 1"
        if not store.locks
        else "TRUNCATE state_transitions",
    ]
    before = [row.hash for row in any_world.trail(run.id)]
    for sql in wrong:
        with store.begin() as dao:
            driver = dao.desk.cursor
            with pytest.raises(error, match="append-only"):
                driver.execute(sql)
            dao.desk.driver.rollback()
    assert [row.hash for row in any_world.trail(run.id)] == before


def test_other_tables_and_reading_are_free(world: World) -> None:
    """The guard at the door lets everything else through."""
    allowed = [
        "SELECT state FROM tasks WHERE state = 'running'",
        "SELECT replace(state, 'a', 'b') FROM tasks",
        "SELECT tasks.state FROM tasks FOR UPDATE",
        "WITH x AS (SELECT state FROM tasks) SELECT * FROM x FOR NO KEY UPDATE",
        "INSERT INTO task_dependencies (task_id, depends_on_id) VALUES (?, ?)",
        "UPDATE tasks SET description = 'update the state' WHERE id = ?",
        "UPDATE phases SET outcome = ?",
        "PRAGMA foreign_keys",
        "",
    ]
    assert {sql: forbidden_table(sql) for sql in allowed} == dict.fromkeys(allowed)
    with world.store.begin() as dao:
        dao.tool_metrics.record("ruff", success=True, latency_ms=12.5)
        assert dao.session.execute(text("SELECT count(*) FROM tasks")).scalar() == 0


def test_errors_of_the_driver_stay_errors_of_the_driver_for_plain_reads(world: World) -> None:
    """A wrong query of one's own is no fault of the store."""
    with world.store.begin(read_only=True) as dao, pytest.raises(DBAPIError, match="no such table"):
        dao.session.execute(text("SELECT 1 FROM nowhere"))
