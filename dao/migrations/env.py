"""Run the migrations on the connection that `dao/migration.py` hands in, each in a transaction of its own."""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy.exc import IntegrityError


def _no_orphans(**applied: Any) -> None:
    """Refuse a step that leaves a row whose parent is missing; enforcement is off while tables are rebuilt."""
    connection = applied["ctx"].connection
    if connection.dialect.name == "sqlite":
        check = "PRAGMA foreign_key_check"
        orphans = connection.exec_driver_sql(check).fetchall()
        if orphans:
            table, _row, parent, _key = orphans[0]
            problem = f"{len(orphans)} rows would have no parent, the first is in {table} and needs one in {parent}"
            raise IntegrityError(check, None, ValueError(problem))


context.configure(
    connection=context.config.attributes["connection"],
    transactional_ddl=True,
    transaction_per_migration=True,
    on_version_apply=_no_orphans,  # type: ignore[arg-type]  # Alembic passes all by keyword
)
with context.begin_transaction():
    context.run_migrations()
