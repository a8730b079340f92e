"""Stores and homes that can't be used: one clear sentence, exit 2, and nothing changed."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Acms
from refusals import COMMANDS, everything_in, number_of_runs, refused

NOT_A_DATABASE = b"this is not a database at all" * 100
EVERY_KIND = [["run"], ["analyze"], ["plan"], ["execute", "latest"], ["runs"], ["show", "latest"], ["audit", "verify"]]


def on(sample: Path, command: list[str]) -> list[str]:
    """The command, with the repository where it wants one."""
    return [*command, str(sample)] if command[0] in COMMANDS else command


@pytest.mark.parametrize("command", EVERY_KIND, ids=" ".join)
def test_a_database_that_is_none(acms: Acms, sample: Path, tmp_path: Path, acms_home: Path, command: list[str]) -> None:
    """The file stays as it was, and none comes into being beside it."""
    path = tmp_path / "corrupt.db"
    path.write_bytes(NOT_A_DATABASE)
    before = everything_in(sample)
    sentence = refused(acms, tmp_path, acms_home, *on(sample, command), ACMS_DATABASE_URL=f"sqlite:///{path}")
    assert "corrupt.db can't be used" in sentence
    assert everything_in(sample) == before


@pytest.fixture
def newer_url(canonical_url: str) -> str:
    """A database that a later release has migrated."""
    with contextlib.closing(sqlite3.connect(canonical_url.removeprefix("sqlite:///"))) as database:
        database.execute("UPDATE alembic_version SET version_num = '999'")
        database.commit()
    return canonical_url


@pytest.mark.parametrize("command", EVERY_KIND, ids=" ".join)
def test_a_database_of_a_newer_release(
    acms: Acms, sample: Path, acms_home: Path, newer_url: str, command: list[str]
) -> None:
    """To write it with old knowledge would damage it."""
    sentence = refused(acms, sample, acms_home, *on(sample, command), "--database-url", newer_url)
    assert "schema 999 of a newer acms" in sentence


@pytest.mark.parametrize("command", EVERY_KIND, ids=" ".join)
def test_a_database_of_another_program(
    acms: Acms, sample: Path, tmp_path: Path, acms_home: Path, command: list[str]
) -> None:
    """Nothing is added to it."""
    path = tmp_path / "music.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE songs (title TEXT)")
    before = path.read_bytes()
    sentence = refused(acms, sample, acms_home, *on(sample, command), "--database-url", f"sqlite:///{path}")
    assert "it is a database of another program" in sentence
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("canonical.db", "it is not a database URL"),
        ("sqlite://", "a database in memory keeps nothing"),
        ("mysql://localhost/acms", "mysql is not supported"),
        ("postgresql://nobody:secret@127.0.0.1:9/acms", "nobody:***@127.0.0.1"),
        ("sqlite:////tmp/x.db?timeout=soon", "timeout"),
    ],
)
@pytest.mark.parametrize("command", EVERY_KIND, ids=" ".join)
def test_a_store_that_can_not_be(
    acms: Acms, sample: Path, *, acms_home: Path, command: list[str], url: str, told: str
) -> None:
    """A password in its address is not shown."""
    sentence = refused(acms, sample, acms_home, *on(sample, command), "--database-url", url)
    assert told in sentence
    assert "secret" not in sentence


@contextlib.contextmanager
def locked(url: str, *, readers_too: bool) -> Iterator[str]:
    """Somebody else has the database; gives a URL whose user is not patient."""
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as holder:
        if readers_too:
            holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        yield f"{url}?timeout=0.2"
        holder.execute("ROLLBACK")


@pytest.mark.parametrize("command", EVERY_KIND, ids=" ".join)
def test_a_database_that_is_locked(
    acms: Acms, sample: Path, acms_home: Path, canonical_url: str, command: list[str]
) -> None:
    """The command waits as long as the URL says, 30 s where it says nothing, and then gives up."""
    with locked(canonical_url, readers_too=True) as url:
        sentence = refused(acms, sample, acms_home, *on(sample, command), "--database-url", url)
    assert "database is locked" in sentence


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_that_somebody_else_is_writing(acms: Acms, sample: Path, canonical_url: str, command: str) -> None:
    """It can be read, but no run can begin in it."""
    with locked(canonical_url, readers_too=False) as url:
        sentence = refused(acms, sample, None, command, str(sample), "--database-url", url)
    assert "database is locked" in sentence
    assert number_of_runs(canonical_url) == 0


@pytest.mark.parametrize("command", [["run"], ["analyze"], ["plan"], ["db", "upgrade"], ["demo"]], ids=" ".join)
def test_a_store_whose_folder_can_not_be_made(acms: Acms, sample: Path, acms_home: Path, command: list[str]) -> None:
    """The sentence names the place."""
    url = "sqlite:////dev/null/canonical.db"
    sentence = refused(acms, sample, acms_home, *on(sample, command), "--database-url", url)
    assert "/dev/null" in sentence


@pytest.mark.parametrize(
    "command", [["run"], ["analyze"], ["plan"], ["execute", "latest"], ["show", "latest"], ["demo", "--into", "x"]],
    ids=" ".join,
)  # fmt: skip
def test_a_home_that_can_not_be_made(
    acms: Acms, sample: Path, tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file stands where the folder of the store should be."""
    (tmp_path / "home").write_text("a file")
    monkeypatch.chdir(tmp_path)
    before = everything_in(sample)
    sentence = refused(acms, tmp_path, None, *on(sample, command), ACMS_HOME=str(tmp_path / "home"))
    assert str(tmp_path / "home") in sentence
    assert everything_in(sample) == before


@pytest.mark.usefixtures("prefect_server")
def test_a_home_that_can_not_be_written(acms: Acms, shop: Path, canonical_url: str) -> None:
    """Though the store is elsewhere, a run needs a place for its locks and worktrees."""
    home = "/dev/null/acms"
    sentence = refused(acms, shop, None, "run", str(shop), "--database-url", canonical_url, ACMS_HOME=home)
    assert home in sentence
    assert number_of_runs(canonical_url) == 0
