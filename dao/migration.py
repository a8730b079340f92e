"""The version of the canonical database: what it is, and the way to another one, up or down, never half."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool, create_engine, event, inspect
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from prefect_acms.canonical.errors import InvalidValue, StoreUnavailable, UnknownName
from prefect_acms.dao.connections import address, patience, shown

VERSIONS = ("base", "001", "002", "003", "004", "005", "006", "007", "008", "009", "010")
"""Every version of the schema, oldest first; a test holds it equal to the folder of migrations."""

HEAD = VERSIONS[-1]
"""The version that this program works with."""

_LOCK_ID = 0x61636D73
"""The key of PostgreSQL's advisory lock under which one process at a time migrates: `acms` in ASCII."""


def head() -> str:
    """The newest version of the schema."""
    return HEAD


def current(url: str, busy_timeout_sec: float | None = None) -> str | None:
    """The version of the database, `base` while nothing is in it, None where there is no file."""
    parsed = address(url)
    wait = patience(parsed, busy_timeout_sec)
    file = _file(parsed)
    if file is not None and not file.exists():
        return None
    with _connected(parsed, wait, begin="BEGIN") as connection:
        return _version(connection)


def prepare(url: str, busy_timeout_sec: float | None = None) -> None:
    """Create a new database or upgrade an older one; one that is at head is only looked at, without Alembic."""
    if current(url, busy_timeout_sec) != HEAD:
        upgrade(url, busy_timeout_sec=busy_timeout_sec)


def upgrade(url: str, to: str = "head", busy_timeout_sec: float | None = None) -> None:
    """Bring the database up to a version, a transaction a migration: a step that fails leaves the version before it."""
    with _held(url, to, busy_timeout_sec) as (connection, found, target):
        if _rank(found) > _rank(target):
            raise InvalidValue(field="to", value=to, expected=f"a version above {found}, which the database has")
        if found != target:
            _run(connection, found, target)


def downgrade(url: str, to: str, busy_timeout_sec: float | None = None) -> Path | None:
    """Take the database down to a version; gives the backup made beside the file, None where nothing was to do.

    On PostgreSQL no backup is made: take one with `pg_dump`. Rows that the older version has no place for stay in the
    database, put aside, and the next upgrade brings them back.
    """
    with _held(url, to, busy_timeout_sec) as (connection, found, target):
        if _rank(found) < _rank(target):
            raise InvalidValue(field="to", value=to, expected=f"a version below {found}, which the database has")
        if found == target:
            return None
        backup = _back_up(connection, found)
        _run(connection, found, target)
        return backup


def _rank(version: str) -> int:
    return VERSIONS.index(version)


def _file(url: URL) -> Path | None:
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


@contextmanager
def _held(url: str, to: str, busy_timeout_sec: float | None) -> Iterator[tuple[Connection, str, str]]:
    """The database under its migration lock, the version found and the version wanted."""
    target = HEAD if to == "head" else to
    if target not in VERSIONS:
        raise UnknownName(kind="schema version", name=to, known=[*VERSIONS, "head"])
    parsed = address(url)
    wait = patience(parsed, busy_timeout_sec)
    with _alone(parsed, wait), _connected(parsed, wait, begin="BEGIN IMMEDIATE") as connection:
        if parsed.get_backend_name() == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_lock({_LOCK_ID})")  # goes with the connection
            connection.commit()
        yield connection, _version(connection), target


@contextmanager
def _alone(url: URL, timeout_sec: float) -> Iterator[None]:
    """Only one process migrates a file; the lock lies beside it and dies with its owner."""
    file = _file(url)
    if file is None:
        yield
        return
    from filelock import FileLock, Timeout  # noqa: PLC0415 - only who migrates needs it

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.migration.lock", timeout=timeout_sec):
            yield
    except Timeout:
        raise StoreUnavailable(url=shown(url), problem="another process has been migrating it for too long") from None
    except OSError as error:
        raise StoreUnavailable(url=shown(url), problem=f"its folder can't be written ({error})") from error


@contextmanager
def _connected(url: URL, busy_timeout_sec: float, *, begin: str) -> Iterator[Connection]:
    """A connection whose transactions are real ones; errors of the database become StoreUnavailable."""
    try:
        engine = create_engine(url, poolclass=NullPool)
    except ImportError as error:
        raise StoreUnavailable(url=shown(url), problem=f"its driver is missing ({error})") from None
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", lambda driver, _record: _set_up(driver, busy_timeout_sec))
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    try:
        with engine.connect() as connection:
            yield connection
    except (SQLAlchemyError, engine.dialect.loaded_dbapi.Error) as error:
        raise StoreUnavailable(url=shown(url), problem=_cause(error)) from error


def _set_up(driver: Any, busy_timeout_sec: float) -> None:
    driver.isolation_level = None  # Python's own BEGIN comes too late for DDL
    for pragma in (f"busy_timeout = {int(busy_timeout_sec * 1000)}", "foreign_keys = OFF"):
        driver.execute(f"PRAGMA {pragma}")


def _cause(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    problem = str(cause).strip().split("\n", maxsplit=1)[0] or type(cause).__name__
    return f"another process has held its lock for too long ({problem})" if "locked" in problem else problem


def _version(connection: Connection) -> str:
    """The version found; raises StoreUnavailable for what a newer or another program wrote."""
    tables = inspect(connection).get_table_names()
    found = "base"
    if "alembic_version" in tables:
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() or "base"
    connection.rollback()
    empty = all(table.startswith(("alembic_version", "kept_")) for table in tables)
    if found in VERSIONS and (empty if found == "base" else "state_transitions" in tables):
        return found
    problem = "it is a database of another program"
    if found.isdigit() and found > HEAD:
        problem = f"it has schema {found} of a newer acms, this one knows schemas up to {HEAD}: upgrade acms"
    raise StoreUnavailable(url=shown(connection.engine.url), problem=problem)


def _back_up(connection: Connection, found: str) -> Path | None:
    file = _file(connection.engine.url)
    if file is None:
        return None
    names = (file.with_name(f"{file.name}.backup-{found}{suffix}") for suffix in _suffixes())
    backup = next(name for name in names if not name.exists())
    connection.connection.cursor().execute("VACUUM INTO ?", (str(backup),))
    return backup


def _suffixes() -> Iterator[str]:
    yield ""
    number = 2
    while True:
        yield f"-{number}"
        number += 1


def _run(connection: Connection, found: str, target: str) -> None:
    from alembic import command  # noqa: PLC0415 - slow to import, and rarely needed
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "prefect_acms.dao:migrations")
    step = command.upgrade if _rank(found) < _rank(target) else command.downgrade
    try:
        step(config, target)
    except SQLAlchemyError as error:
        connection.rollback()
        problem = f"migrating it from {found} to {target} stopped at {_version(connection)}: {_cause(error)}"
        raise StoreUnavailable(url=shown(connection.engine.url), problem=problem) from error
