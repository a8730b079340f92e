"""The words in which migrations write tables; frozen like the migrations, whatever the row classes become."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

JSON = sa.JSON()
TEXT = sa.Text()
INTEGER = sa.Integer()
FLOAT = sa.Float()
BOOLEAN = sa.Boolean()
BYTES = sa.LargeBinary()
HASH = sa.String(64)
MOMENT = sa.String(27).with_variant(sa.String(27, collation="C"), "postgresql")
ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")

Columns = Sequence[str]


def required(name: str, kind: sa.types.TypeEngine[Any] | None = None) -> sa.Column[Any]:
    """A column that is never NULL; text unless told."""
    return sa.Column(name, kind or sa.String(), nullable=False)


def optional(name: str, kind: sa.types.TypeEngine[Any] | None = None) -> sa.Column[Any]:
    """A column that may be NULL; text unless told."""
    return sa.Column(name, kind or sa.String(), nullable=True)


def common(*, state: bool = True) -> list[sa.Column[Any]]:
    """The columns that every entity has."""
    return [
        required("id"),
        *([required("state")] if state else []),
        required("version", INTEGER),
        required("created_at", MOMENT),
        required("updated_at", MOMENT),
        required("metadata", JSON),
    ]


def create(
    table: str,
    *columns: sa.Column[Any],
    key: Columns = ("id",),
    checks: Mapping[str, str] | None = None,
    references: Mapping[str, str] | None = None,
    unique: Iterable[Columns] = (),
    indexes: Iterable[Columns] = (),
    **options: Any,
) -> None:
    """Create a table with everything named by the convention; `references` maps a column to the parent table."""
    op.create_table(
        table,
        *columns,
        sa.PrimaryKeyConstraint(*key, name=f"pk_{table}"),
        *(sa.CheckConstraint(condition, name=f"ck_{table}_{name}") for name, condition in (checks or {}).items()),
        *(_reference(table, column, parent) for column, parent in (references or {}).items()),
        *(sa.UniqueConstraint(*names, name=f"uq_{table}_{'_'.join(names)}") for names in unique),
        **options,
    )
    for names in indexes:
        op.create_index(f"ix_{table}_{'_'.join(names)}", table, list(names))


def _reference(table: str, column: str, parent: str) -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_{column}_{parent}"
    return sa.ForeignKeyConstraint([column], [f"{parent}.id"], name=name, ondelete="RESTRICT")


def exchange_checks(table: str, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Replace CHECKs of a table, rows and all; SQLite rebuilds the table for it."""
    with op.batch_alter_table(table) as batch:
        for name in old:
            batch.drop_constraint(f"ck_{table}_{name}", type_="check")
        for name, condition in new.items():
            batch.create_check_constraint(f"ck_{table}_{name}", sa.text(condition))
