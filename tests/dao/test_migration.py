"""The migrations: up and down, with rows in every table, whole or not at all, on SQLite and PostgreSQL."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, NullPool, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError

from prefect_acms.canonical.errors import StoreUnavailable
from prefect_acms.dao.connections import address
from prefect_acms.dao.migration import HEAD, VERSIONS, current, downgrade, head, upgrade

STEPS = list(pairwise(VERSIONS))
NOW, LATER = "2026-01-31T09:05:00.000000Z", "2026-01-31T10:05:00.000000Z"
HASH = "0" * 64


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database in which nothing is yet, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'canonical.db'}"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    """A plain connection that knows nothing of our rules."""
    engine = create_engine(address(url), poolclass=NullPool)
    with engine.connect() as opened:
        yield opened


class Filler:
    """Puts one row or more into every table that the version has."""

    def __init__(self, connection: Connection, version: str) -> None:
        self.connection = connection
        self.version = version

    def row(self, table: str, **columns: Any) -> None:
        """Insert one row; columns that nobody mentions get something that fits."""
        given = {"metadata" if name == "info" else name: value for name, value in columns.items()}
        values = {column["name"]: given.get(column["name"], self._something(column)) for column in self._columns(table)}
        names = [name for name, value in values.items() if value is not ...]
        places = ", ".join(f":{name}" for name in names)
        self.connection.execute(
            text(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})"),  # noqa: S608 - names of this file
            {
                name: json.dumps(values[name]) if isinstance(values[name], dict | list) else values[name]
                for name in names
            },
        )

    def _columns(self, table: str) -> list[Any]:
        return list(inspect(self.connection).get_columns(table))

    def _something(self, column: Any) -> Any:
        if column["nullable"] or column["name"] == "transition_id":
            return ...
        known = {"created_at": NOW, "updated_at": NOW, "version": 1, "hash": HASH, "prev_hash": HASH, "sha256": HASH}
        if column["name"] in known:
            return known[column["name"]]
        kind = type(column["type"]).__name__
        by_kind = {"JSON": {}, "BOOLEAN": False, "INTEGER": 0, "BLOB": b"\0\xff", "BYTEA": b"\0\xff", "FLOAT": 1.5}
        return by_kind.get(kind, 1.5 if kind == "DOUBLE_PRECISION" else "x")

    def fill(self) -> None:
        """Rows in every state that a migration could stumble over."""
        for number, part in enumerate(VERSIONS[1:], start=1):
            if part <= self.version:
                getattr(self, f"_fill_{number}")()
        self.connection.commit()

    def fill_last(self) -> None:
        """Rows in the tables that the version brought."""
        getattr(self, f"_fill_{int(self.version)}")()
        self.connection.commit()

    def _fill_1(self) -> None:
        for seq in (1, 2, 3):
            self.row("state_transitions", event_id=f"evt_{seq}", run_id="run_1", severity="info", chain_seq=seq,
                     transitioned_at=NOW, reason="ünïcode ' \" %s :x")  # fmt: skip
        self.row("state_transitions", event_id="evt_4", severity="debug", chain_seq=1, transitioned_at=NOW)
        self.row("chain_heads", run_id="run_1", seq=3)
        self.row("chain_heads", run_id="global", seq=1)

    def _fill_2(self) -> None:
        self.row("runs", id="run_1", state="running", started_at=NOW, config={"a": [1, {"b": None}]})
        self.row("runs", id="run_2", state="pending")
        self.row("runs", id="run_3", state="failed", started_at=NOW, completed_at=LATER, error="it broke")
        self.row("phases", id="phase_1", run_id="run_1", name="configure", started_at=NOW)

    def _fill_3(self) -> None:
        self.row("workstreams", id="ws_1", run_id="run_1", state="executing", effort="low", started_at=NOW)
        self.row("workstreams", id="ws_2", run_id="run_1", state="blocked", effort="high")
        self.row("workstream_dependencies", workstream_id="ws_2", depends_on_id="ws_1")

    def _fill_4(self) -> None:
        owned = {"run_id": "run_1", "workstream_id": "ws_1", "max_retries": 3}
        self.row("tasks", id="task_1", state="completed", queued_at=NOW, started_at=NOW, completed_at=LATER,
                 exit_code=0, **owned)  # fmt: skip
        self.row("tasks", id="task_2", state="pending", retry_of="task_1", **owned)
        self.row("task_dependencies", task_id="task_2", depends_on_id="task_1")

    def _fill_5(self) -> None:
        self.row("workers", id="worker_1", state="busy", current_load=1, last_heartbeat=NOW, capabilities=["lint"])
        self.row("uet_workers", id="uet_1", state="BUSY", last_heartbeat=NOW, pid=7, run_id="run_1")
        self.row("tasks", id="task_3", state="running", queued_at=NOW, started_at=NOW, worker_id="worker_1",
                 run_id="run_1", workstream_id="ws_1")  # fmt: skip

    def _fill_6(self) -> None:
        self.row("patches", id="patch_1", task_id="task_1", content="--- a/ü\n+++ b/ü\n".encode())
        valid = {"validation_format": True, "validation_scope": True, "validation_constraints": True}
        tested = {**valid, "validation_tests_passed": True, "applied_at": NOW, "apply_attempts": 1}
        owned = {"run_id": "run_1", "patch_id": "patch_1", "task_id": "task_1", "workstream_id": "ws_1"}
        self.row("patch_ledger_entries", id="entry_1", state="validated", **owned, **valid)
        self.row("patch_ledger_entries", id="entry_2", state="verified", supersedes="entry_1", **owned, **tested)
        self.row("patch_ledger_entries", id="entry_3", state="rolled_back", commit_sha="c1", committed_at=NOW,
                 rollback_reason="bad", rollback_compensation={"revert": "c2"}, rolled_back_at=LATER,
                 **owned, **tested)  # fmt: skip
        self.row("patch_ledger_entries", id="entry_4", state="quarantined", quarantine_reason="no",
                 quarantine_metadata={"gate": "out"}, quarantined_at=NOW, **owned)  # fmt: skip
        if self.version >= "009":
            self.row("patch_ledger_entries", id="entry_5", state="awaiting_review", **owned, **valid)
            self.row("patch_ledger_entries", id="entry_6", state="committed", commit_sha="c3", committed_at=LATER,
                     **owned, **tested)  # fmt: skip

    def _fill_7(self) -> None:
        self.row("test_gates", id="gate_1", run_id="run_1", state="PENDING", gate_type="LINT")
        self.row("test_gates", id="gate_2", run_id="run_1", state="FAILED", gate_type="UNIT", timed_out=True,
                 exit_code=124, started_at=NOW, completed_at=LATER, rerun_of="gate_1")  # fmt: skip
        self.row("gate_dependencies", gate_id="gate_2", depends_on_id="gate_1")
        self.row("task_gates", task_id="task_1", gate_id="gate_2", role="exit")

    def _fill_8(self) -> None:
        self.row("circuit_breakers", id="breaker_1", state="OPEN", tool_id="ruff", failure_threshold=5,
                 success_threshold=1, opened_at=NOW)  # fmt: skip
        self.row("tool_metrics", tool_id="ruff", call_count=3, success_count=2, total_latency_ms=12.25, updated_at=NOW)
        self.row("routing_indexes", rule_id="r", next_index=4)

    def _fill_9(self) -> None:
        finished = {"started_at": NOW, "completed_at": LATER}
        self.row("runs", id="run_4", state="quarantined", quarantine_reason="unsafe", **finished)
        self.row("runs", id="run_5", state="quarantined", quarantine_reason="unsafe", error="first this", **finished)
        self.row("gaps", id="gap_1", run_id="run_1", workstream_id="ws_1", state="resolved", severity="high",
                 file_paths=["a.py"], dependencies=[], start_line=3)  # fmt: skip
        self.row("gaps", id="gap_2", run_id="run_1", state="deferred", severity="low", deferred_reason="later",
                 file_paths=[], dependencies=["gap_1"])  # fmt: skip

    def _fill_10(self) -> None:
        self.row("budget_entries", id="spend_1", run_id="run_1", task_id="task_1", tokens=7, micro_usd=2**40,
                 expires_at=LATER, settled_at=NOW)  # fmt: skip
        self.row("budget_entries", id="spend_2", run_id="run_1", micro_usd=0, expires_at=LATER)


def _tables(connection: Connection) -> list[str]:
    found = sorted(inspect(connection).get_table_names())
    connection.rollback()
    return found


def everything(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, whatever the order of columns and rows."""
    rows = {}
    for table in _tables(connection):
        found = connection.execute(text(f"SELECT * FROM {table}")).mappings().all()  # noqa: S608 - names of the database
        rows[table] = sorted((tuple(sorted((k, repr(v)) for k, v in row.items())) for row in found), key=repr)
    connection.rollback()
    return rows


def _checks(connection: Connection) -> list[str]:
    """What the runs and patches may be, as the database puts it."""
    tables = {"runs", "patch_ledger_entries"}.intersection(_tables(connection))
    found = sorted(str(c["sqltext"]) for table in tables for c in inspect(connection).get_check_constraints(table))
    connection.rollback()
    return found


def raw_schema(path: Path) -> list[Any]:
    """Everything that SQLite stores of its schema, letter by letter."""
    database = sqlite3.connect(path)
    found = database.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()
    database.close()
    return found


def filled(url: str, connection: Connection, version: str = HEAD) -> dict[str, list[tuple[Any, ...]]]:
    """A database of that version with rows in all its tables; gives the rows."""
    upgrade(url, version)
    Filler(connection, version).fill()
    rows = everything(connection)
    assert all(rows.values())
    return rows


def test_the_versions_are_those_of_the_folder() -> None:
    """The constants by which a database is recognised without Alembic agree with the migrations, in their order."""
    config = Config()
    config.set_main_option("script_location", "prefect_acms.dao:migrations")
    folder = ScriptDirectory.from_config(config)
    assert ("base", *(step.revision for step in reversed(list(folder.walk_revisions())))) == VERSIONS
    assert folder.get_current_head() == HEAD == head()


def test_a_step_up_keeps_every_row(url: str, connection: Connection) -> None:
    """With rows in all the tables of a version, a database goes one version up and has them all; ten times."""
    for lower, higher in STEPS:
        before = everything(connection)
        upgrade(url, higher)
        assert current(url) == higher
        after = everything(connection)
        for table in before.keys() - {"alembic_version"}:
            assert after[table] == before[table], (lower, table)
        Filler(connection, higher).fill_last()


def test_a_step_down_and_up_again_loses_nothing(url: str, connection: Connection) -> None:
    """What the lower version has no place for waits, and comes back letter by letter; ten times."""
    filled(url, connection)
    for lower, higher in reversed(STEPS):
        before = everything(connection)
        downgrade(url, lower)
        assert current(url) == lower
        upgrade(url, higher)
        assert everything(connection) == before, higher
        downgrade(url, lower)


@pytest.mark.parametrize("version", ["base", "005"])
def test_from_head_far_down_and_back_loses_nothing(version: str, url: str, connection: Connection) -> None:
    """The way down may be long."""
    before = filled(url, connection)
    downgrade(url, version)
    assert current(url) == version
    upgrade(url)
    assert everything(connection) == before


def test_new_states_become_the_nearest_older_ones(url: str, connection: Connection) -> None:
    """Below 009 a quarantined run has failed, a patch in review is validated and a committed one is verified.

    Going up again, each gets its state back, unless it has moved on meanwhile.
    """
    filled(url, connection)
    downgrade(url, "008")
    runs = connection.execute(text("SELECT id, state, error FROM runs WHERE id IN ('run_4', 'run_5') ORDER BY id"))
    assert [*map(tuple, runs)] == [("run_4", "failed", "quarantined: unsafe"), ("run_5", "failed", "first this")]
    entries = "SELECT id, state, commit_sha FROM patch_ledger_entries WHERE id IN ('entry_5', 'entry_6') ORDER BY id"
    found = [*map(tuple, connection.execute(text(entries)))]
    assert found == [("entry_5", "validated", None), ("entry_6", "verified", None)]
    # what an older program did to a downgraded row is not undone by the upgrade
    connection.execute(text("UPDATE patch_ledger_entries SET state = 'dropped', version = 2 WHERE id = 'entry_5'"))
    connection.commit()
    upgrade(url)
    found = [*map(tuple, connection.execute(text(entries)))]
    assert found == [("entry_5", "dropped", None), ("entry_6", "committed", "c3")]


def test_the_trail_goes_on_as_before_after_any_way_to_head(url: str, connection: Connection) -> None:
    """New rows are numbered after those brought back, and the database refuses to change or delete any."""
    filled(url, connection)
    count_ = text("SELECT max(transition_id) FROM state_transitions")
    last = connection.execute(count_).scalar_one()
    connection.rollback()
    downgrade(url, "base")
    upgrade(url)
    new = {"event_id": "evt_9", "severity": "info", "chain_seq": 9, "run_id": "run_9", "transitioned_at": NOW}
    Filler(connection, HEAD).row("state_transitions", **new)
    assert connection.execute(count_).scalar_one() == last + 1
    connection.commit()
    for verb in ("UPDATE state_transitions SET reason = 'x'", "DELETE FROM state_transitions"):
        with pytest.raises(DBAPIError, match="append-only"):
            connection.execute(text(verb))
        connection.rollback()


BLOCKER = {
    "002": "phases", "003": "workstream_dependencies", "004": "task_dependencies",
    "005": "uet_workers", "006": "patch_ledger_entries", "007": "task_gates", "008": "routing_indexes", "009": "gaps",
    "010": "budget_entries",
}  # fmt: skip


def test_a_step_up_that_fails_leaves_the_version_before_it(tmp_path: Path) -> None:
    """Something is in the way of a step's last table: it is undone to the last letter, and the error says where."""
    path = tmp_path / "canonical.db"
    url = f"sqlite:///{path}"
    upgrade(url, "001")
    with create_engine(url, poolclass=NullPool).connect() as connection:
        for lower, higher in STEPS[1:]:
            Filler(connection, lower).fill_last()
            connection.exec_driver_sql(f"CREATE VIEW {BLOCKER[higher]} AS SELECT 1 AS x")
            connection.commit()
            before = (raw_schema(path), everything(connection))
            with pytest.raises(
                StoreUnavailable, match=f"migrating it from {lower} to 010 stopped at {lower}: .*exists"
            ):
                upgrade(url)
            assert (raw_schema(path), everything(connection)) == before
            assert current(url) == lower
            connection.exec_driver_sql(f"DROP VIEW {BLOCKER[higher]}")
            connection.commit()
            upgrade(url, higher)
    assert current(url) == HEAD


def test_a_step_down_that_fails_leaves_the_version_before_it(url: str, connection: Connection) -> None:
    """Something is in the way of the rows that are put aside last: nothing has changed; ten times."""
    filled(url, connection)
    last = "budget_entries gaps circuit_breakers test_gates patches workers tasks workstreams runs state_transitions"
    for (lower, higher), table in zip(reversed(STEPS), last.split(), strict=True):
        connection.exec_driver_sql(f"CREATE TABLE kept_{higher}_{table} (x INTEGER)")
        connection.commit()
        before = (everything(connection), _checks(connection))
        with pytest.raises(StoreUnavailable, match=f"stopped at {higher}: .*exists"):
            downgrade(url, lower)
        assert (everything(connection), _checks(connection)) == before
        assert current(url) == higher
        connection.exec_driver_sql(f"DROP TABLE kept_{higher}_{table}")
        connection.commit()
        downgrade(url, lower)


def test_an_orphan_stops_a_step(tmp_path: Path) -> None:
    """Foreign keys are not enforced while tables are rebuilt, so they are checked before the step is kept."""
    url = f"sqlite:///{tmp_path / 'canonical.db'}"
    upgrade(url, "008")
    database = sqlite3.connect(tmp_path / "canonical.db")
    database.execute("INSERT INTO workstream_dependencies VALUES ('ws_1', 'ws_2')")
    database.commit()
    database.close()
    problem = "stopped at 008: 2 rows would have no parent, the first is in workstream_dependencies and needs one in"
    with pytest.raises(StoreUnavailable, match=problem):
        upgrade(url)
    assert current(url) == "008"


def test_a_downgrade_leaves_a_copy_beside_the_file(tmp_path: Path) -> None:
    """The copy is the database as it was, and each downgrade makes its own."""
    url = f"sqlite:///{tmp_path / 'canonical.db'}"
    with create_engine(url, poolclass=NullPool).connect() as connection:
        before = filled(url, connection)
    backup = downgrade(url, "007")
    assert backup == tmp_path / "canonical.db.backup-010"
    assert current(f"sqlite:///{backup}") == "010"
    with create_engine(f"sqlite:///{backup}", poolclass=NullPool).connect() as connection:
        assert everything(connection) == before
    upgrade(url)
    assert downgrade(url, "007") == tmp_path / "canonical.db.backup-010-2"
    assert downgrade(url, "base") == tmp_path / "canonical.db.backup-007"
