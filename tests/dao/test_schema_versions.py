"""A database of any version, or of none: it is created, opened, brought to head, or refused and left as it is."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from prefect_acms.canonical.errors import InvalidValue, StoreUnavailable, UnknownName
from prefect_acms.dao.migration import HEAD, VERSIONS, current, downgrade, prepare, upgrade


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a database may be."""
    return tmp_path / "home" / "canonical.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database in which nothing is yet, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'canonical.db'}"
    return str(request.getfixturevalue("postgresql_url"))


def raw_schema(path: Path) -> list[Any]:
    """Everything that SQLite stores of its schema, letter by letter."""
    database = sqlite3.connect(path)
    found = database.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()
    database.close()
    return found


DIE = """
import os, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
left = [int(sys.argv[2])]
def die(*_):
    left[0] -= 1
    if left[0] < 0:
        os._exit(9)
event.listen(Engine, "after_cursor_execute", die)
from prefect_acms.dao.migration import upgrade
upgrade(sys.argv[1])
"""


@pytest.mark.parametrize("statements", [5, 45, 90])
def test_a_process_that_dies_while_it_migrates_leaves_a_whole_version(statements: int, file: Path) -> None:
    """After any number of statements: what is found is one of the versions, and the next process goes on from there."""
    url = f"sqlite:///{file}"
    died = subprocess.run([sys.executable, "-c", DIE, url, str(statements)], check=False, env=os.environ)
    assert died.returncode == 9
    found = current(url)
    assert found in VERSIONS
    other = f"sqlite:///{file}.same"
    if found != "base":
        upgrade(other, str(found))
        assert [row for row in raw_schema(file) if row[1] != "sqlite_sequence"] == [
            row for row in raw_schema(Path(f"{file}.same")) if row[1] != "sqlite_sequence"
        ]
    upgrade(url)
    assert current(url) == HEAD


def test_two_processes_may_create_the_same_database(file: Path) -> None:
    """One migrates, the other waits and finds the work done."""
    script = "import sys; from prefect_acms.dao.migration import prepare; prepare(sys.argv[1])"
    both = [subprocess.Popen([sys.executable, "-c", script, f"sqlite:///{file}"]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert current(f"sqlite:///{file}") == HEAD


def test_a_new_database_takes_less_than_a_second(url: str) -> None:
    """All migrations together, in time of this process."""
    start = time.process_time()
    prepare(url)
    assert time.process_time() - start < 1
    assert current(url) == HEAD


def test_a_database_at_head_is_opened_without_alembic(file: Path) -> None:
    """Alembic is imported only by who migrates."""
    prepare(f"sqlite:///{file}")
    script = (
        "import sys; from prefect_acms.dao.migration import prepare; prepare(sys.argv[1]); "
        "sys.exit('alembic' in sys.modules or 'filelock' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script, f"sqlite:///{file}"], check=False).returncode == 0


def test_looking_creates_nothing(file: Path) -> None:
    """Asking for the version of a file that is not there does not make one."""
    assert current(f"sqlite:///{file}") is None
    assert not file.parent.exists()


def test_an_empty_file_is_a_database_in_which_nothing_is_yet(tmp_path: Path) -> None:
    """Its version is `base`, and it can be upgraded."""
    (tmp_path / "canonical.db").touch()
    url = f"sqlite:///{tmp_path / 'canonical.db'}"
    assert current(url) == "base"
    prepare(url)
    assert current(url) == HEAD


def test_going_where_one_is_does_nothing(file: Path) -> None:
    """No backup, no change; up is not down and down is not up."""
    url = f"sqlite:///{file}"
    upgrade(url, "005")
    assert downgrade(url, "005") is None
    upgrade(url, "005")
    assert current(url) == "005"
    with pytest.raises(InvalidValue, match="to is '004': expected a version above 005, which the database has"):
        upgrade(url, "004")
    with pytest.raises(InvalidValue, match="to is '006': expected a version below 005, which the database has"):
        downgrade(url, "006")
    assert list(file.parent.glob("*backup*")) == []


@pytest.mark.parametrize("wanted", ["011", "heads", "-1", "", "9"])
def test_an_unknown_version_is_told_with_the_known_ones(wanted: str, file: Path) -> None:
    """Before anything is touched."""
    for way in (upgrade, downgrade):
        with pytest.raises(UnknownName, match=re.escape(f"unknown schema version {wanted!r}: expected one of ['base'")):
            way(f"sqlite:///{file}", wanted)
    assert not file.parent.exists()


def _unchanged(path: Path, problem: str) -> None:
    before = path.read_bytes()
    url = f"sqlite:///{path}"
    for way in (current, prepare, upgrade):
        with pytest.raises(StoreUnavailable, match=problem):
            way(url)
    with pytest.raises(StoreUnavailable, match=problem):
        downgrade(url, "base")
    assert path.read_bytes() == before


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    """A program that doesn't know the schema doesn't touch it."""
    path = tmp_path / "canonical.db"
    upgrade(f"sqlite:///{path}")
    database = sqlite3.connect(path)
    database.execute("UPDATE alembic_version SET version_num = '011'")
    database.commit()
    database.close()
    _unchanged(path, "it has schema 011 of a newer acms, this one knows schemas up to 010: upgrade acms")


@pytest.mark.parametrize(
    "tables",
    [
        "CREATE TABLE notes (x)",
        "CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('a1b2c3d4')",
        "CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('009')",
        "CREATE TABLE alembic_version (version_num TEXT); CREATE TABLE notes (x)",
    ],
)
def test_the_database_of_another_program_is_refused(tables: str, tmp_path: Path) -> None:
    """Prefect's own database, or anybody else's, is not made ours."""
    database = sqlite3.connect(tmp_path / "other.db")
    database.executescript(tables)
    database.close()
    _unchanged(tmp_path / "other.db", "it is a database of another program")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """Text is not taken for a database, and not overwritten."""
    (tmp_path / "notes.txt").write_text("Dear diary, today I found a database. " * 99)
    _unchanged(tmp_path / "notes.txt", "file is not a database")


def test_a_database_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    """Half a file is no store."""
    path = tmp_path / "canonical.db"
    upgrade(f"sqlite:///{path}")
    path.write_bytes(path.read_bytes()[:20000])
    _unchanged(path, "malformed")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """A path that can't be opened is told in one sentence."""
    with pytest.raises(StoreUnavailable, match="unable to open database file"):
        prepare(f"sqlite:///{tmp_path}")


def test_a_place_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    """The folder of the database lies inside a file."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="its folder can't be written"):
        prepare(f"sqlite:///{tmp_path / 'file' / 'canonical.db'}")


def test_who_migrates_too_long_is_not_waited_for_for_ever(file: Path) -> None:
    """The lock of another process ends the wait with a sentence."""
    file.parent.mkdir()
    with (
        FileLock(f"{file}.migration.lock"),
        pytest.raises(StoreUnavailable, match="another process has been migrating it for too long"),
    ):
        prepare(f"sqlite:///{file}", busy_timeout_sec=0.05)


def test_a_locked_database_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    """Somebody holds the whole file."""
    url = f"sqlite:///{tmp_path / 'canonical.db'}"
    upgrade(url, "008")
    other = sqlite3.connect(tmp_path / "canonical.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    for way in (prepare, current):
        with pytest.raises(StoreUnavailable, match="another process has held its lock for too long"):
            way(url, busy_timeout_sec=0.05)
    other.close()
    assert current(url) == "008"


def test_looking_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    """A store that is open and at work is no reason not to open another."""
    url = f"sqlite:///{tmp_path / 'canonical.db'}"
    prepare(url)
    writer = sqlite3.connect(tmp_path / "canonical.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    prepare(url, busy_timeout_sec=0.05)
    writer.close()
