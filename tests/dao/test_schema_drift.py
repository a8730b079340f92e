"""The schema at head is what the row classes say, and each version has one schema, whichever way it is reached."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, NullPool, create_engine, inspect

from prefect_acms.dao.connections import address
from prefect_acms.dao.migration import VERSIONS, downgrade, upgrade
from prefect_acms.dao.schema import Base

NOUNS = (
    "budgets circuit_breakers gaps ledger patches phases runs tasks test_gates tool_metrics transitions uet_workers "
    "workers workstreams"
)


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


def schema_of(connection: Connection) -> dict[str, Any]:
    """What the database knows of its tables, in a form that two databases can be compared by."""
    found: dict[str, Any] = {}
    look = inspect(connection)
    for table in sorted(set(look.get_table_names()) - {"alembic_version"}):
        found[table] = {
            "columns": [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in look.get_columns(table)],
            "key": look.get_pk_constraint(table)["constrained_columns"],
            "checks": {c["name"]: _words(c["sqltext"]) for c in look.get_check_constraints(table)},
            "references": sorted(map(repr, look.get_foreign_keys(table))),
            "unique": sorted(map(repr, look.get_unique_constraints(table))),
            "indexes": sorted((i["name"], repr(i["column_names"]), bool(i["unique"]), _where(i))
                              for i in look.get_indexes(table)),
        }  # fmt: skip
    found["triggers"] = _triggers(connection)
    connection.rollback()
    return found


def _where(index: Any) -> str:
    options = index.get("dialect_options", {})
    return "".join(str(value) for name, value in sorted(options.items()) if name.endswith("_where"))


def _words(sql: str) -> str:
    return " ".join(sql.split())


def _triggers(connection: Connection) -> list[tuple[str, ...]]:
    sql = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    if connection.dialect.name == "postgresql":
        sql = "SELECT tgname, pg_get_triggerdef(t.oid) || prosrc FROM pg_trigger t JOIN pg_proc p ON p.oid = tgfoid \
               WHERE NOT tgisinternal"
    return sorted((name, _words(source)) for name, source in connection.exec_driver_sql(sql))


def test_head_is_what_the_row_classes_say(url: str, connection: Connection, tmp_path: Path) -> None:
    """Columns, CHECKs, keys, indexes and triggers of a migrated database are those of the metadata: no drift."""
    for noun in NOUNS.split():  # so that the metadata knows every table
        importlib.import_module(f"prefect_acms.dao.{noun}")
    upgrade(url)
    migrated = schema_of(connection)
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    assert compare_metadata(context, Base.metadata) == []
    connection.rollback()
    if connection.dialect.name == "sqlite":
        other = create_engine(f"sqlite:///{tmp_path / 'other.db'}", poolclass=NullPool)
    else:
        other = connection.engine
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
        connection.commit()
    Base.metadata.create_all(other)
    with other.connect() as made:
        expected = schema_of(made)
    for table in sorted(set(expected) | set(migrated)):
        assert migrated.get(table) == expected.get(table), table


def test_an_older_version_has_the_same_tables_from_above_and_from_below(url: str, connection: Connection) -> None:
    """Downgraded or never upgraded: the schema of a version is one."""
    from_below = {}
    for version in VERSIONS[1:]:
        upgrade(url, version)
        from_below[version] = schema_of(connection)
    for version in reversed(VERSIONS[1:]):
        downgrade(url, version)
        assert schema_of(connection) == from_below[version], version
