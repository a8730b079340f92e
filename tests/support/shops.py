"""A shop: a run of three workstreams whose patches are on its branch, to be taken back."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from copy import copy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import pytest
from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run
from operated import everything, leave, merged, patched
from repositories import fingerprint_of, git

from prefect_acms.blocks.config import EnvironmentSettings, GateSettings, IsolationMode
from prefect_acms.blocks.section import Section
from prefect_acms.canonical.errors import AcmsError
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.store import open_store
from prefect_acms.tasks.closing import put_away
from prefect_acms.tasks.orders import By, drive_in_hand
from prefect_acms.tasks.overrides import override

ADA: By = {"operator": "ada", "reason": "it broke the shop"}
FILES = {"a.py": "".join(f"A{n} = 1\n" for n in range(12)), "b.py": "B = 1\n"}
GOOD = GateSettings(lint_enabled=False, security_enabled=False, unit=("true",))


class Shop:
    """A run of three workstreams, one after the other, each with a patch of its own."""

    def __init__(self, folder: Path, url: str, gates: GateSettings = GOOD, *needs: str) -> None:
        # some gates move the branch, which isolation would not let them
        outside = EnvironmentSettings(isolation=IsolationMode.OFF)
        drive = started_run(repository_of(folder / "shop", FILES), url, gates=gates, environment=outside)
        gaps = [a_gap(name, "a.py") for name in ("x", "y", "z")]
        tasks = [
            a_task("ws-01/one", gaps[:1]),
            a_task("ws-02/one", gaps[1:2], *needs),
            a_task("ws-03/one", gaps[2:]),
        ]
        self.planned = Planned(drive, a_plan(drive, tasks, gaps))
        self.drive, self.store, self.repository = drive, drive.store, drive.repository
        self.entries: dict[str, LedgerRow] = {}

    def fix(self, key: str, *changes: tuple[str, str], file: str = "a.py") -> str:
        """A patch that makes these replacements in a file, merged; its id."""
        text = self.shown(file)
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        entry = patched(self.planned, f"{key}/one", {file: text})
        merged(self.planned, key)
        with self.drive.reading() as dao:
            self.entries[key] = dao.ledger.get(entry.id)
        return entry.patch_id

    def shown(self, file: str = "a.py") -> str:
        """A file as the run's branch has it."""
        return (self.repository.content(self.drive.result_head(), file) or b"").decode()

    def ends(self) -> Shop:
        """The run has succeeded, as far as its workstreams were worked on."""
        with self.drive.begin() as dao:
            for row in dao.workstreams.of_run(self.drive.run_id):
                if row.state == "planned":
                    for task in dao.tasks.of_workstream(row.id):
                        dao.tasks.advance(task.id, "run_ended")
                    dao.workstreams.advance(row.id, "disabled")
            dao.runs.advance(self.drive.run_id, RunTrigger.ALL_WORKSTREAMS_COMPLETE)
        put_away(self.drive)
        leave(self.drive)
        return self

    def copied(self, folder: Path) -> Shop:
        """The same run in a repository and a store of its own: quicker than to make it once more."""
        top, path = folder / "shop", folder / "copied.db"
        shutil.copytree(self.repository.top, top, symlinks=True)
        source = sqlite3.connect(self.store.url.removeprefix("sqlite:///"))
        with closing(source), closing(sqlite3.connect(path)) as database, database:
            source.backup(database)
            places = "repo_root = :top, config = json_set(config, '$.repository', :top, '$.database_url', :url)"
            database.execute(f"UPDATE runs SET {places}", {"top": str(top), "url": f"sqlite:///{path}"})  # noqa: S608
        made = copy(self)
        made.store = open_store(f"sqlite:///{path}")
        with made.store.begin(read_only=True) as dao:
            made.drive = drive_in_hand(dao, dao.runs.get(self.drive.run_id))
        made.repository, made.planned = made.drive.repository, copy(self.planned)
        made.planned.drive = made.drive
        return made

    def set(self, **columns: Any) -> None:
        """Change what the run's row says; `metadata` is merged."""
        with self.store.begin() as dao:
            dao.runs.change(self.drive.run_id, **columns)

    def configure(self, **sections: Section) -> None:
        """Let the run have these sections of its configuration from now on."""
        with self.store.begin(read_only=True) as dao:
            config = dict(dao.runs.get(self.drive.run_id).config)
        self.set(config=config | {name: section.model_dump(mode="json") for name, section in sections.items()})

    def refused(self, error: type[AcmsError], patch: str) -> str:
        """The sentence with which the override is refused; nothing has changed."""
        with self.unchanged(), pytest.raises(error) as raised:
            override(self.store, "rollback-patch", patch, **ADA)
        return str(raised.value)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """A block after which rows, trail, every ref and the user's tree are as they were."""
        before = self._hashed()
        yield
        assert self._hashed() == before

    def _hashed(self) -> tuple[object, ...]:
        top = self.repository.top
        return everything(self.store), git(top, "for-each-ref"), fingerprint_of(top)

    def state(self, key: str) -> str:
        """The state of the patch of that workstream."""
        with self.drive.reading() as dao:
            return dao.ledger.get(self.entries[key].id).state


Fix = tuple[str, str, str, str]
"""Key of the workstream, file, what it replaces, and by what."""

STACKED: tuple[Fix, ...] = (
    ("ws-01", "a.py", "A0 = 1", "A0 = 2"),
    ("ws-02", "a.py", "A0 = 2", "A0 = 3"),
    ("ws-03", "a.py", "A11 = 1", "A11 = 3"),
)
"""Two patches on the same line, and one elsewhere in the file."""

SPREAD: tuple[Fix, ...] = (
    ("ws-01", "a.py", "A0 = 1", "A0 = 2"),
    ("ws-02", "b.py", "B = 1", "B = 2"),
    ("ws-03", "a.py", "A11 = 1", "A11 = 3"),
)
"""Three patches none of which builds on another."""

_MADE = TemporaryDirectory(prefix="acms-shops-")


@cache
def _made(fixes: tuple[Fix, ...]) -> Shop:
    folder = Path(mkdtemp(dir=_MADE.name))
    shop = Shop(folder, f"sqlite:///{folder}/canonical.db")
    for key, file, old, new in fixes:
        shop.fix(key, (old, new), file=file)
    return shop.ends()


def ended_shop(folder: Path, fixes: tuple[Fix, ...]) -> Shop:
    """A run that has ended with these fixes; it started from main."""
    shop = _made(fixes).copied(folder)
    shop.set(metadata={"branch": "main"})
    return shop
