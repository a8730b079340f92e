"""A task whose diffs are on trial: its bench in a real repository, its gates, and a person who answers."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run
from operated import leave

from prefect_acms.blocks.config import EnvironmentSettings, GateSettings, IsolationMode
from prefect_acms.blocks.guardrails import GuardrailSettings, ReviewSettings
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.tasks.admission import Gatekeeper
from prefect_acms.tasks.attempts import fail_task
from prefect_acms.tasks.bench import Bench
from prefect_acms.tasks.closing import put_away
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.merging import settle
from prefect_acms.tasks.preparation import baseline_of
from prefect_acms.tasks.reviews import Decision, decide
from prefect_acms.tasks.trials import Trials
from prefect_acms.tasks.worktrees import open_worktree

FILES = {"a.py": "import os\n\nA = 1\n", "b.py": "B = 1\n"}
GATES = GateSettings(lint_enabled=False, security_enabled=False, unit=("sh", "-c", "! grep -q BAD *.py"))
"""What they object to is a file with `BAD` in it."""
KEY = "ws-01/one"


class Tried:
    """A running task about the files, and the trials of its diffs; further keywords are sections of the settings."""

    def __init__(self, folder: Path, url: str, *gaps: Gap, tool: str = "ruff-fix", **settings: Any) -> None:
        self.drive = started_run(repository_of(folder / "shop", FILES), url, **{"gates": GATES, **settings})
        found = gaps or (a_gap("x", *FILES, source="elsewhere"),)
        self.planned = Planned(self.drive, a_plan(self.drive, [a_task(KEY, found)], found))
        self.task = self.planned.running(KEY)
        with self.drive.begin() as dao:
            dao.tasks.change(self.task.id, tool_id=tool)
        self.profile = self.drive.toolbox.get(tool)
        self.bench = Bench.of(self.drive, self.task)
        self.before = self.bench.rescanner.found(self.bench.files)

    def diff(self, **files: str) -> bytes:
        """The diff that gives these files (`a` for a.py) this text."""
        for name, text in files.items():
            (self.bench.worktree.path / f"{name}.py").write_text(text)
        return self.bench.worktree.capture()

    def trials(self, *, waits: bool = True) -> Trials:
        """Trials of a diff, as a task has them."""
        gatekeeper = Gatekeeper(self.bench, baseline_of(self.drive), self.profile, waits=waits)
        return Trials(self.bench, gatekeeper, self.before)

    def tried(self, diff: bytes, *, waits: bool = True) -> Trials:
        """The trials of a diff, over."""
        trials = self.trials(waits=waits)
        trials.bring_in(diff)
        return trials

    @contextmanager
    def waiting(self, diff: bytes) -> Iterator[tuple[str, Future[Trials]]]:
        """The entry of a diff that waits for a person, and its trials in another thread."""
        asked = threading.Event()
        with ThreadPoolExecutor(1) as pool, self.drive.waits.heard(asked.set):
            trials = pool.submit(self.tried, diff)
            try:
                assert asked.wait(60), trials
                yield self.drive.waits.entries[0], trials
            finally:
                self.drive.stopping.set()

    def answer(self, entry_id: str, decision: Decision, reason: str = "seen") -> None:
        """Answer as another process would."""
        with self.drive.store.begin() as dao:
            decide(dao, entry_id, decision, operator="ada", reason=reason)

    def entry(self, entry_id: str) -> LedgerRow:
        """An entry as it is now."""
        with self.drive.reading() as dao:
            return dao.ledger.get(entry_id)

    def entries(self) -> list[LedgerRow]:
        """The entries of the task."""
        with self.drive.reading() as dao:
            return dao.ledger.of_task(self.task.id)

    def patch_of(self, entry_id: str) -> bytes:
        """The stored diff of an entry."""
        with self.drive.reading() as dao:
            return dao.patches.get(dao.ledger.get(entry_id).patch_id).content

    def trail(self) -> list[tuple[str, str | None]]:
        """What happened to patches: trigger and operator."""
        with self.drive.reading() as dao:
            rows = dao.transitions.of_run(self.drive.run_id)
        return [(row.trigger, row.operator) for row in rows if row.entity_type == "patch_ledger"]

    def ends(self) -> None:
        """The task has failed, its workstream and the run with it, and nobody drives the run any more."""
        self.drive.stopping.clear()
        with self.drive.begin() as dao:
            fail_task(dao, self.task.id, "nothing could be kept")
        settle(self.drive, self.task.workstream_id)
        with self.drive.begin() as dao:
            dao.runs.advance(self.drive.run_id, RunTrigger.INCOMPLETE, error="nothing could be kept")
        put_away(self.drive)
        leave(self.drive)

    def lands(self, **files: str) -> str:
        """Somebody else's change on the run's branch; its commit."""
        repository = self.drive.repository
        head = self.drive.result_head()
        with tempfile.TemporaryDirectory() as folder:
            worktree = open_worktree(repository, Path(folder) / "other", head)
            for name, text in files.items():
                (worktree.path / f"{name}.py").write_text(text)
            tree = worktree.apply(worktree.capture())
            worktree.remove()
        commit = repository.commit_tree(tree, [head], "Something else", self.drive.store.clock())
        repository.move_ref(self.drive.result_ref, commit, repository.ref(self.drive.result_ref))
        return commit

    def shown(self, file: str = "a.py") -> str:
        """A file as the run's branch has it."""
        return (self.drive.repository.content(self.drive.result_head(), file) or b"").decode()


class Flagged(Tried):
    """A run whose only patch was quarantined, because a flag was in the way."""

    def __init__(self, folder: Path, url: str, **settings: Any) -> None:
        self.flag = folder / "flag"
        gates = GateSettings(lint_enabled=False, unit=("sh", "-c", f"! (test -e {self.flag} && grep -q 'A = 2' a.py)"))
        # an isolated gate would not see the flag
        open_to_all = EnvironmentSettings(isolation=IsolationMode.OFF)
        super().__init__(folder, url, gates=gates, environment=open_to_all, **settings)
        diff = self.diff(a="import os\n\nA = 2\n")
        self.flag.touch()
        if settings:
            with self.waiting(diff) as (entry_id, trials):
                self.answer(entry_id, Decision.APPROVED)
                (rejected,) = trials.result(60).rejected
        else:
            (rejected,) = self.tried(diff).rejected
        self.old = rejected.entry_id
        self.ends()


class Unanswered(Tried):
    """A run that has ended while its patch waits for a person."""

    def __init__(self, folder: Path, url: str) -> None:
        rails = GuardrailSettings(review=ReviewSettings(always=True, wait=False))
        super().__init__(folder, url, guardrails=rails)
        (rejected,) = self.tried(self.diff(a="A = 2\n"), waits=False).rejected
        self.waiting_entry = rejected.entry_id
        self.ends()
