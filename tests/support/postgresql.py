"""PostgreSQL for tests, where its programs are found: a cluster of our own, and databases in it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_OPTIONS = "-c listen_addresses='' -c fsync=off -c synchronous_commit=off -c max_connections=100"


def _program(name: str) -> str | None:
    places = [os.environ.get("PATH", ""), *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))]
    return shutil.which(name, path=os.pathsep.join(places))


def installed() -> bool:
    """Whether a cluster can be made here."""
    return None not in (_program("initdb"), _program("pg_ctl"))


def _somebody() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then it runs as the user `nobody`."""
    if os.geteuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextmanager
def cluster() -> Iterator[str]:
    """The socket folder of a server of our own, whose user is `acms`; stopped in the end."""
    initdb, pg_ctl = _program("initdb"), _program("pg_ctl")
    assert initdb is not None
    assert pg_ctl is not None
    home = tempfile.mkdtemp(prefix="acms-pg-")  # short: the path of a socket has at most 107 characters
    somebody = _somebody()
    if somebody:
        os.chown(home, somebody["user"], somebody["group"])
    data, log = f"{home}/data", f"{home}/log"
    quietly: dict[str, Any] = {"cwd": home, "stdout": subprocess.DEVNULL, **somebody}
    made = [initdb, "-D", data, "-A", "trust", "-U", "acms", "-E", "UTF8", "--no-locale", "--no-sync"]
    subprocess.run(made, check=True, **quietly)
    try:
        started = [pg_ctl, "-D", data, "-l", log, "-o", f"-k {home} {_OPTIONS}", "-w", "start"]
        subprocess.run(started, check=True, **quietly)
        yield home
    finally:
        subprocess.run([pg_ctl, "-D", data, "-m", "immediate", "-w", "stop"], check=False, **quietly)
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def database(cluster: str, name: str) -> Iterator[str]:
    """The address of a new database in which nothing is yet."""
    import psycopg  # noqa: PLC0415 - an optional dependency

    with psycopg.connect(f"host={cluster} user=acms dbname=postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        yield f"postgresql://acms@/{name}?host={cluster}"
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def tables_of(url: str) -> Iterator[tuple[str, bytes]]:
    """Every table of a database with all that stands in it, as text."""
    import psycopg  # noqa: PLC0415 - an optional dependency

    with psycopg.connect(url) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (name,) in names:
            with connection.cursor().copy(f'COPY "{name}" TO STDOUT') as rows:
                yield name, b"".join(rows)
