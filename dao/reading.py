"""Reading: rows come detached, so nothing that is done to them reaches the database. Storing what has no lifecycle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from sqlalchemy import Executable, Select, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from prefect_acms.canonical.clock import utc_text
from prefect_acms.canonical.errors import NotFound
from prefect_acms.dao.schema import Base

if TYPE_CHECKING:
    from prefect_acms.dao.unit import UnitOfWork

B = TypeVar("B", bound=Base)


class Dao(Generic[B]):
    """Access to the rows of one table, inside one unit of work."""

    row: type[B]
    entity: ClassVar[str]

    def __init__(self, unit: UnitOfWork) -> None:
        self._unit = unit

    def find(self, id: str) -> B | None:  # noqa: A002 - the name of the column
        """The row of that id, detached, or None."""
        key = inspect(self.row).primary_key[0]
        return next(iter(self._all(select(self.row).where(key == id))), None)

    def get(self, id: str) -> B:  # noqa: A002 - the name of the column
        """The row of that id, detached; raises NotFound."""
        found = self.find(id)
        if found is None:
            raise NotFound(entity=self.entity, id=id)
        return found

    def _all(self, statement: Select[tuple[B]]) -> list[B]:
        session = self._unit.session
        rows = list(session.scalars(statement.execution_options(populate_existing=True)))
        session.expunge_all()
        return rows

    def _ids(self, statement: Select[tuple[Any]]) -> list[str]:
        return [str(found) for found in self._unit.session.scalars(statement)]

    def _do(self, statement: Executable, about: str = "") -> None:
        """Write to a table without a lifecycle; raises RowRefused."""
        self._unit.admit()
        try:
            self._unit.session.execute(statement)
        except SQLAlchemyError as error:
            self._unit.desk.failure = self._unit.desk.told(error, (self.entity, about))
            raise self._unit.desk.failure from error

    def _now(self) -> str:
        return utc_text(self._unit.store.clock())
