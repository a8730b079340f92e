"""The CHECKs of the database: what holds in each state holds whoever writes.

Rows are written here by a plain connection that knows nothing of the service and has foreign keys off, so that a
refusal can only come from a CHECK.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from legal_rows import TABLES, WITH_STATES, WITHOUT_STATE, Row

from prefect_acms.canonical.machines import MACHINES


@pytest.fixture(scope="module")
def plain(new_database: Path) -> Iterator[sqlite3.Connection]:
    """A connection that knows nothing of our rules; what is tried over it is undone."""
    path = new_database.with_name("checks.db")
    path.write_bytes(new_database.read_bytes())
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


def put(connection: sqlite3.Connection, table: str, row: Row) -> None:
    """Insert a row, and undo it."""
    connection.execute("BEGIN")
    try:
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))  # noqa: S608
    finally:
        connection.execute("ROLLBACK")


def refused(connection: sqlite3.Connection, table: str, row: Row, change: Row) -> str:
    """The name of the CHECK that refuses a row because of that change; the row itself is legal."""
    put(connection, table, row)
    with pytest.raises(sqlite3.IntegrityError, match="CHECK constraint failed") as problem:
        put(connection, table, {**row, **change})
    return str(problem.value).rpartition(" ")[2]


@pytest.mark.parametrize("name", TABLES)
def test_only_states_of_the_machine_are_stored(plain: sqlite3.Connection, name: str) -> None:
    """Every other spelling is refused: older names, another case, states of other machines."""
    table = TABLES[name]
    strange = {state.value for machine in MACHINES.values() for state in machine.states} | {"", "SUCCESS", "ready "}
    row = table.row(table.states[0])
    for state in sorted(strange - set(table.states)):
        with pytest.raises(sqlite3.IntegrityError):
            put(plain, name, {**row, "state": state})


@pytest.mark.parametrize(("name", "state"), WITH_STATES)
def test_each_state_needs_its_columns_and_bans_others(plain: sqlite3.Connection, name: str, state: str) -> None:
    """The barest legal row stands; without a needed column, or with a banned one, it falls."""
    table = TABLES[name]
    row = table.row(state)
    put(plain, name, row)
    for column, states in table.needs.items():
        if state in states:
            assert column in refused(plain, name, row, {column: None})
    for column, states in table.bans.items():
        if state in states:
            assert column in refused(plain, name, row, {column: table.values[column]})
    free = {c: v for c, v in table.values.items() if state not in table.bans.get(c, set())}
    put(plain, name, {**row, **free})


@pytest.mark.parametrize(("name", "state"), WITH_STATES)
def test_no_state_allows_a_value_out_of_range(plain: sqlite3.Connection, name: str, state: str) -> None:
    """Counters, limits, severities, self-reference: in every state."""
    table = TABLES[name]
    for change in table.wrong:
        if not (state == "FAILED" and "timed_out" in change):
            refused(plain, name, table.row(state), change)
    for where, change in table.wrong_in:
        if where == state:
            refused(plain, name, table.row(state), change)


@pytest.mark.parametrize("name", WITHOUT_STATE)
def test_tables_without_a_lifecycle_have_checks_too(plain: sqlite3.Connection, name: str) -> None:
    """A legal row stands, each wrong value falls."""
    row, wrong = WITHOUT_STATE[name]
    for change in wrong:
        refused(plain, name, row, change)


def test_a_gate_that_timed_out_failed_with_124(plain: sqlite3.Connection) -> None:
    """That one combination is legal."""
    put(plain, "test_gates", {**TABLES["test_gates"].row("FAILED"), "timed_out": 1, "exit_code": 124})


def test_every_check_of_every_table_has_refused_something(plain: sqlite3.Connection) -> None:
    """A CHECK that no test above can make say no is one that nobody has tried."""
    names = {row[0] for row in plain.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    tried: set[str] = set()
    for name, table in TABLES.items():
        for state in table.states:
            row = table.row(state)
            changes = [{column: None} for column, states in table.needs.items() if state in states]
            changes += [{c: table.values[c]} for c, states in table.bans.items() if state in states]
            changes += [change for where, change in table.wrong_in if where == state]
            changes += [c for c in table.wrong if not (state == "FAILED" and "timed_out" in c)]
            tried |= {refused(plain, name, row, change) for change in changes}
        tried.add(refused(plain, name, table.row(table.states[0]), {"state": "?"}))
    for name, (row, wrong) in WITHOUT_STATE.items():
        tried |= {refused(plain, name, row, change) for change in wrong}
    stored = {
        word.strip('",')
        for (sql,) in plain.execute("SELECT sql FROM sqlite_master WHERE sql LIKE '%CHECK%'")
        for word in sql.split()
        if word.startswith("ck_")
    }
    assert tried == stored
    assert {"runs", "tasks", "state_transitions"} <= names
