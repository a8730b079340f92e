"""Connections: one a thread, with the driver's cursor for the hot path and a session for everything else."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from prefect_acms.canonical.errors import AcmsError, LostRace, RowRefused, StoreUnavailable
from prefect_acms.dao.redaction import KNOWN
from prefect_acms.dao.refusals import refuse_writes

Synchronous = Literal["FULL", "NORMAL"]

BUSY_TIMEOUT_SEC = 60.0
"""How long another process is waited for, where neither the caller nor the URL says otherwise."""

_REFUSALS = frozenset({"IntegrityError", "DataError", "ProgrammingError", "OverflowError", "UnicodeError"})
"""Names of driver errors that blame the row and not the database; sqlite3 and psycopg share them."""


def address(url: str) -> URL:
    """The parsed URL with its driver; raises StoreUnavailable for what is neither a SQLite file nor PostgreSQL."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreUnavailable(url=url, problem="it is not a database URL such as sqlite:////path/to/file.db") from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise StoreUnavailable(url=url, problem="a database in memory keeps nothing; name a file")
        return parsed.set(drivername="sqlite")
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    raise StoreUnavailable(url=shown(parsed), problem=f"{backend} is not supported; use sqlite or postgresql")


def shown(url: URL | str) -> str:
    """The URL as a person may see it: without its password."""
    return make_url(url).render_as_string(hide_password=True)


@contextmanager
def told_by_environment(given: str | None) -> Iterator[str | None]:
    """A block in which a URL with a password is told by the environment, as others would write down what they are told.

    What is to be told instead: the URL itself if it has no password, else nothing.
    """
    password = None if given is None else address(given).password
    if given is None or password is None:
        yield given
        return
    KNOWN.learn(password)
    before = os.environ.get("ACMS_DATABASE_URL")
    os.environ["ACMS_DATABASE_URL"] = given
    try:
        yield None
    finally:
        del os.environ["ACMS_DATABASE_URL"]
        if before is not None:
            os.environ["ACMS_DATABASE_URL"] = before


def patience(url: URL, given: float | None) -> float:
    """Seconds to wait for another process: given, or the `?timeout=` of a SQLite URL; raises StoreUnavailable."""
    if given is not None or url.get_backend_name() != "sqlite":
        return BUSY_TIMEOUT_SEC if given is None else given
    told = url.query.get("timeout", str(BUSY_TIMEOUT_SEC))
    try:
        return float(str(told))
    except ValueError:
        raise StoreUnavailable(url=shown(url), problem=f"its timeout is {told!r}, not a number of seconds") from None


def engine_for(url: URL, *, synchronous: Synchronous, busy_timeout_sec: float) -> Engine:
    """An engine whose connections are set up for us and that refuses every write to a `state` column."""
    arguments: dict[str, Any] = {}
    if url.get_backend_name() == "sqlite":
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
        # a thread's connection may be closed by another one, when the store is; it is never used by two
        arguments = {"timeout": busy_timeout_sec, "isolation_level": None, "check_same_thread": False}
        arguments["cached_statements"] = 512
    engine = create_engine(url, poolclass=NullPool, connect_args=arguments)
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", lambda connection, _record: _set_up(connection, synchronous))
    refuse_writes(engine)
    return engine


def _set_up(connection: sqlite3.Connection, synchronous: Synchronous) -> None:
    for pragma in (
        "journal_mode = WAL",
        f"synchronous = {synchronous}",
        "foreign_keys = ON",
        "recursive_triggers = ON",  # without it REPLACE deletes an audit row and its trigger doesn't see it
    ):
        connection.execute(f"PRAGMA {pragma}")


class Desk:
    """One thread's place at the database: everything it does there goes over one connection."""

    def __init__(self, engine: Engine) -> None:
        self._url = engine.url
        # the last two come from values that the driver can't write: a huge integer, a broken text
        self._errors = (engine.dialect.loaded_dbapi.Error, OverflowError, UnicodeError)
        self._is_sqlite = engine.dialect.name == "sqlite"
        try:
            self.connection: Connection = engine.connect()
        except SQLAlchemyError as error:
            raise self.told(error) from error
        driver: Any = self.connection.connection.driver_connection
        self.driver = driver
        self.cursor: Any = self.driver.cursor()
        self._session: Session | None = None
        self.failure: AcmsError | None = None
        self.in_use = False

    def begin(self, *, read_only: bool) -> None:
        """Open a transaction; a writer on SQLite takes the write lock at once, so that it never has to give up."""
        self.failure = None
        if self._is_sqlite:
            if read_only:
                self.run("PRAGMA query_only = ON", ())
            self.run("BEGIN" if read_only else "BEGIN IMMEDIATE", ())
        elif read_only:
            self.run("SET TRANSACTION READ ONLY", ())
        self.in_use = True

    def run(self, sql: str, parameters: Sequence[Any], about: tuple[str, str] = ("row", "")) -> Any:
        """Execute one statement and give the cursor; raises StoreUnavailable, RowRefused or LostRace."""
        try:
            return self.cursor.execute(sql, parameters)
        except self._errors as error:
            self.failure = self.told(error, about)
            raise self.failure from error

    def run_many(self, sql: str, rows: Sequence[Sequence[Any]], about: tuple[str, str] = ("row", "")) -> Any:
        """Execute one statement for many rows; raises as `run` does."""
        try:
            self.cursor.executemany(sql, rows)
        except self._errors as error:
            self.failure = self.told(error, about)
            raise self.failure from error
        return self.cursor

    @property
    def session(self) -> Session:
        """SQLAlchemy's session on the same connection, inside the same transaction."""
        if self._session is None:
            self._session = Session(self.connection, autoflush=False, expire_on_commit=False)
        return self._session

    def commit(self) -> None:
        """Make it last; raises StoreUnavailable, and nothing was stored then."""
        try:
            if not self._is_sqlite and self.driver.info.transaction_status.name == "INERROR":
                # PostgreSQL would answer this commit with a rollback, and call it done
                raise StoreUnavailable(url=shown(self._url), problem="a statement failed before the commit")
            self.driver.commit()
        except self._errors as error:
            raise self.told(error) from error

    def leave(self, *, read_only: bool) -> None:
        """End the transaction, undoing what was not committed; raises StoreUnavailable if the connection is lost."""
        self.in_use = False
        try:
            if self._session is not None:
                self._session.close()
            self.driver.rollback()
            if read_only and self._is_sqlite:
                self.cursor.execute("PRAGMA query_only = OFF")
        except (*self._errors, SQLAlchemyError) as error:
            raise self.told(error) from error

    def close(self) -> None:
        """Give the connection back; safe to call twice."""
        self.connection.close()

    def discard(self) -> None:
        """Throw away a connection that may be broken."""
        self.connection.invalidate()
        self.connection.close()

    def told(self, error: BaseException, about: tuple[str, str] = ("row", "")) -> AcmsError:
        """The driver's error as one of ours."""
        cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
        problem = str(cause).strip().split("\n", maxsplit=1)[0] or type(cause).__name__
        kinds = {kind.__name__ for kind in type(cause).__mro__}
        if kinds & _REFUSALS:
            return RowRefused(entity=about[0], id=about[1], problem=problem)
        if kinds & {"DeadlockDetected", "SerializationFailure"}:
            return LostRace(entity=about[0], id=about[1], seen="one", found=f"a conflict ({problem})")
        if "locked" in problem:
            problem = "another process has held its lock for too long (database is locked)"
        return StoreUnavailable(url=shown(self._url), problem=problem)
