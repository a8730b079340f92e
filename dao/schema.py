"""What every table has in common: names, times as text, JSON, and CHECKs derived from the machines."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, cast

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Integer, MetaData, String, Table, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, validates

from prefect_acms.canonical.errors import StateAssignmentRefused
from prefect_acms.canonical.machine import Machine

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

MOMENT = String(27).with_variant(String(27, collation="C"), "postgresql")
"""UTC text of `utc_text`: compared byte by byte on every database, whatever its locale."""

JSON_VALUE = JSON(none_as_null=True)

Moment = Annotated[str, mapped_column(MOMENT)]
Words = Annotated[str, mapped_column(Text)]
"""Free text that people or tools wrote: secrets are taken out of it before it is stored."""
JsonList = Annotated[list[Any], mapped_column(JSON_VALUE, default=list)]
JsonDict = Annotated[dict[str, Any], mapped_column(JSON_VALUE, default=dict)]
MaybeJson = Annotated[Any | None, mapped_column(JSON_VALUE)]


class Base(DeclarativeBase):
    """The root of all row classes."""

    metadata = MetaData(naming_convention=NAMES)


def table_of(row: type[Base]) -> Table:
    """The table of a row class."""
    return cast("Table", row.__table__)


class Row(Base):
    """Columns of every entity; times are the UTC text of `utc_text`."""

    __abstract__ = True

    id: Mapped[str] = mapped_column(primary_key=True, sort_order=-30)
    version: Mapped[int] = mapped_column(Integer, default=1, sort_order=-28)
    created_at: Mapped[str] = mapped_column(MOMENT, sort_order=-27)
    updated_at: Mapped[str] = mapped_column(MOMENT, sort_order=-26)
    info: Mapped[dict[str, Any]] = mapped_column("metadata", JSON_VALUE, default=dict, sort_order=-25)
    """The column `metadata`; SQLAlchemy keeps that attribute name for itself."""


class StateRow(Row):
    """A row with a lifecycle; its `state` is written by the transition service only."""

    __abstract__ = True
    machine: ClassVar[Machine]

    state: Mapped[str] = mapped_column(sort_order=-29)

    @validates("state")
    def _refuse(self, _key: str, value: str) -> str:
        raise StateAssignmentRefused(entity=self.__tablename__, attempt=f"assigning {value!r}")


def check(name: str, condition: str) -> CheckConstraint:
    """A CHECK under the naming convention: `ck_<table>_<name>`."""
    return CheckConstraint(condition, name=name)


def states_of(machine: Machine) -> CheckConstraint:
    """Only states of the machine are stored."""
    return check("state", machine.check_constraint())


def among(*names: str) -> str:
    """A list of SQL string literals in brackets, for IN."""
    return "(" + ", ".join(f"'{name}'" for name in names) + ")"


def terminal(machine: Machine) -> tuple[str, ...]:
    """The endings of a machine, in the order of its table."""
    return tuple(state.value for state in machine.states if state in machine.terminal)


def set_exactly_in(column: str, *states: str) -> CheckConstraint:
    """The column has a value in these states and is NULL in all others."""
    return check(f"{column}_exactly", f"(state IN {among(*states)}) = ({column} IS NOT NULL)")


def set_in(column: str, *states: str) -> CheckConstraint:
    """The column has a value in these states; in others it may."""
    return check(f"{column}_set", f"state NOT IN {among(*states)} OR {column} IS NOT NULL")


def unset_in(column: str, *states: str) -> CheckConstraint:
    """The column is NULL in these states; in others it may have a value."""
    return check(f"{column}_unset", f"state NOT IN {among(*states)} OR {column} IS NULL")


def one_of(column: str, *values: str) -> CheckConstraint:
    """The column holds one of these values (or NULL, where it may)."""
    return check(column, f"{column} IN {among(*values)}")


def at_least(column: str, least: int) -> CheckConstraint:
    """The column is a number not under `least`."""
    return check(column, f"{column} >= {least}")


def in_order(earlier: str, later: str) -> CheckConstraint:
    """The later moment is not before the earlier one, where both are known."""
    return check(f"{later}_after_{earlier}", f"{later} IS NULL OR {earlier} IS NULL OR {later} >= {earlier}")


def to(target: str) -> ForeignKey:
    """A foreign key that never lets its parent be deleted."""
    return ForeignKey(target, ondelete="RESTRICT")
