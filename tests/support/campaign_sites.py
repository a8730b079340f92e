"""The place of one kill: a repository, a home, a folder for temporary files, and the drivers that work there."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from campaign_points import Blow, Kind, Reach
from campaign_processes import ForkServer
from campaign_repositories import Shape, make_repository
from repositories import fingerprint_of

from prefect_acms.canonical.machines import MACHINES

PATIENCE_SEC = 120.0
"""Seconds after which a driver counts as hung."""

ENDED = "after the end"
"""The phase of a run whose row has ended."""

_DUMP_SEC = 10.0
_KILLED = -9


@dataclass(frozen=True, slots=True)
class Seen:
    """What drivers have left in the store: the run, if there is one, and how far it has come."""

    run_id: str | None = None
    phase: str = "before the run"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One driver: how it was started, what was to befall it, and how it ended."""

    verb: str
    blow: Blow | None
    code: int | None
    seconds: float
    result: dict[str, Any] | None
    seen: Seen

    @property
    def killed(self) -> bool:
        """Whether the blow has hit."""
        return self.blow is not None and self.code == _KILLED

    @property
    def problem(self) -> str | None:
        """What went wrong with a driver that nobody has killed."""
        if self.killed:
            return None
        if self.code is None:
            return f"{self.verb} hung for {PATIENCE_SEC:g} s"
        if self.result is None:
            return f"{self.verb} ended with {self.code} and said nothing"
        return None if self.result["error"] is None else f"{self.verb} raised {self.result['error']}"


@dataclass
class Site:
    """Everything of one kill lies in one folder, so that what is left over can be found."""

    folder: Path
    shape: Shape
    before: dict[str, str] = field(default_factory=dict)
    """The fingerprint of the user's things before any driver came."""
    attempts: list[Attempt] = field(default_factory=list)
    elsewhere: Path | None = None
    """Where logs and results go when the disk of the folder may be full."""

    @classmethod
    def made(cls, folder: Path, shape: Shape, database: Path | None, elsewhere: Path | None = None) -> Site:
        """A new site, with a copy of a database without rows; where that is none, the first driver makes one."""
        shutil.rmtree(folder, ignore_errors=True)
        site = cls(folder, shape, elsewhere=elsewhere)
        for place in (site.repository, site.home, site.temporary, site.notes):
            place.mkdir(parents=True)
        make_repository(shape, site.repository)
        if database is not None:
            shutil.copy(database, site.home / "canonical.db")
        site.before.update(fingerprint_of(site.repository))
        return site

    @property
    def repository(self) -> Path:
        """The user's repository."""
        return self.folder / "shop"

    @property
    def home(self) -> Path:
        """What the drivers have as $ACMS_HOME."""
        return self.folder / "home"

    @property
    def temporary(self) -> Path:
        """What the drivers have as $TMPDIR."""
        return self.folder / "tmp"

    @property
    def notes(self) -> Path:
        """Logs and results of the drivers."""
        return (self.elsewhere or self.folder) / "notes"

    @property
    def url(self) -> str:
        """The address of the store."""
        return f"sqlite:///{self.home / 'canonical.db'}"

    def attempt(self, server: ForkServer, blow: Blow | None) -> Attempt:
        """Let a driver go on from what is there, and kill it as told; how it ended."""
        run_id = self.seen().run_id
        name = str(len(self.attempts) + 1)
        result = self.notes / f"{name}.json"
        order = {
            "run_id": run_id,
            "config": {"repository": str(self.repository), **self.shape.sections},
            "variables": {"ACMS_HOME": str(self.home), "TMPDIR": str(self.temporary)},
            "log": str(self.notes / f"{name}.log"),
            "result": str(result),
            "patience_sec": PATIENCE_SEC - _DUMP_SEC,
            "blow": None if blow is None or blow.kind is Kind.INSTANT else asdict(blow),
        }
        began = time.monotonic()
        code = _driven(server, order, blow)
        seconds = time.monotonic() - began
        said = json.loads(result.read_text()) if result.exists() else None
        verb = "the run" if run_id is None else "the resume"
        self.attempts.append(Attempt(verb, blow, code, seconds, said, self.seen()))
        return self.attempts[-1]

    def seen(self) -> Seen:
        """How far the run has come; read from a copy, so that looking changes nothing."""
        database = self.home / "canonical.db"
        if not database.exists():
            return Seen()
        copy = self.notes / "look"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for part in (database, database.with_name("canonical.db-wal")):
            if part.exists():
                shutil.copy(part, copy)
        with closing(sqlite3.connect(copy / "canonical.db")) as connection:
            return _seen(connection)


def _driven(server: ForkServer, order: dict[str, Any], blow: Blow | None) -> int | None:
    number = server.start(order)
    if blow is not None and blow.kind is Kind.INSTANT and server.wait(number, blow.delay_sec) is None:
        server.kill(number, blow.reach)
    code = server.wait(number, PATIENCE_SEC)
    if code is None:
        server.kill(number, Reach.TREE)
        server.wait(number, PATIENCE_SEC)
    return code


def _seen(connection: sqlite3.Connection) -> Seen:
    try:
        run = connection.execute("SELECT id, state FROM runs ORDER BY id").fetchone()
    except sqlite3.OperationalError:  # killed before the first migration
        return Seen()
    if run is None:
        return Seen()
    run_id, state = run
    if state in MACHINES["run"].terminal:
        return Seen(run_id, ENDED)
    phase = connection.execute(
        "SELECT name, completed_at FROM phases WHERE run_id = ? ORDER BY id DESC", (run_id,)
    ).fetchone()
    if phase is None:
        return Seen(run_id, "before configure")
    return Seen(run_id, phase[0] if phase[1] is None else f"after {phase[0]}")
