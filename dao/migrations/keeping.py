"""A downgrade loses no row: what the older version has no place for is put aside, and the next upgrade brings it back.

Rows wait in tables called `kept_<revision>_<table>`, which exist only between a downgrade and the upgrade after it.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op


def drop(revision: str, *tables: str) -> None:
    """Drop tables, children first, after their rows were put aside."""
    for table in tables:
        put_aside(revision, table)
        op.drop_table(table)


def put_aside(revision: str, table: str, where: str = "1 = 1") -> None:
    """Copy the rows that match; nothing is made when none does."""
    any_row = sa.text(f"SELECT 1 FROM {table} WHERE {where} LIMIT 1")  # noqa: S608 - our own names
    if op.get_bind().execute(any_row).first():
        rows = f"SELECT * FROM {table} WHERE {where}"  # noqa: S608 - our own names
        op.execute(f"CREATE TABLE {_kept(revision, table)} AS {rows}")


def bring_back(revision: str, *tables: str) -> None:
    """Put the rows of dropped tables into their new ones, parents first."""
    for table in tables:
        kept = _kept(revision, table)
        if _exists(kept):
            names = ", ".join(column["name"] for column in sa.inspect(op.get_bind()).get_columns(kept))
            op.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {kept}")  # noqa: S608 - our own names
            op.drop_table(kept)


def set_back(revision: str, table: str, columns: Sequence[str]) -> None:
    """Give rows their old values again, unless somebody changed them since they were put aside."""
    kept = _kept(revision, table)
    if _exists(kept):
        same = f"FROM {kept} WHERE {kept}.id = {table}.id AND {kept}.version = {table}.version"
        values = ", ".join(f"{column} = (SELECT {kept}.{column} {same})" for column in columns)
        op.execute(f"UPDATE {table} SET {values} WHERE EXISTS (SELECT 1 {same})")  # noqa: S608 - our own names
        op.drop_table(kept)


def go_on_counting(table: str, column: str) -> None:
    """Let PostgreSQL number new rows after those brought back; SQLite does so by itself."""
    if op.get_context().dialect.name == "postgresql":
        last = f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), max({column})) FROM {table}"  # noqa: S608 - our own names
        op.execute(f"{last} HAVING count(*) > 0")


def _kept(revision: str, table: str) -> str:
    return f"kept_{revision}_{table}"


def _exists(table: str) -> bool:
    return sa.inspect(op.get_bind()).has_table(table)
