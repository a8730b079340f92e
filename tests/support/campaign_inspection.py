"""What there is to be seen of a run when nobody works on it any more: its rows, its refs, its files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from campaign_sites import Site
from repositories import git

from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.lines import line, trail
from prefect_acms.dao.schema import StateRow
from prefect_acms.dao.store import Store

_DATABASE = re.compile(r"^canonical\.db(-wal|-shm|\.migration\.lock)$")
_HASH = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Facts:
    """What must be the same with and without kills: the run's result, and what it leaves on the disk."""

    state: str
    fates: Mapping[str, str]
    workstreams: Mapping[str, str]
    completed: Mapping[str, int]
    patches: Mapping[str, int]
    tree: str
    refs: frozenset[str]
    files: frozenset[str]


@dataclass(frozen=True, slots=True)
class Problem:
    """A check that failed, and what it saw."""

    check: str
    details: str


class Inspection:
    """One look at a site where nobody works any more."""

    def __init__(self, site: Site, store: Store, run_id: str) -> None:
        self.site, self.store, self.run_id = site, store, run_id
        with store.begin(read_only=True) as dao:
            self.run = dao.runs.get(run_id)
            self.runs = len(dao.runs.latest(10))
            self.phases = dao.phases.of_run(run_id)
            self.gaps = dao.gaps.of_run(run_id)
            self.workstreams = dao.workstreams.of_run(run_id)
            self.tasks = dao.tasks.of_run(run_id)
            self.ledger = dao.ledger.of_run(run_id)
            self.hands: list[StateRow] = [*dao.workers.of_run(run_id), *dao.uet_workers.of_run(run_id)]
            self.gates = dao.test_gates.of_run(run_id)
            self.patches = {entry.id: dao.patches.get(entry.patch_id) for entry in self.ledger}
            self.lines = b"".join(line(row) for row in trail(dao.connection, run_id))

    def differences(self, reference: Facts) -> Iterator[Problem]:
        """In what the run differs from one that nobody has killed."""
        for name in Facts.__slots__:
            expected, found = getattr(reference, name), getattr(self.facts, name)
            if expected != found:
                yield Problem(f"same {name} as without kills", _difference(expected, found))

    @cached_property
    def facts(self) -> Facts:
        """What is compared with a run that nobody has killed."""
        return Facts(
            state=self.run.state,
            fates={gap.fingerprint: gap.state for gap in self.gaps},
            workstreams={row.info["key"]: row.state for row in self.workstreams},
            completed=Counter(task.info["key"] for task in self.tasks if task.state == "completed"),
            patches=Counter(self.patches[entry.id].sha256 for entry in self.committed),
            tree=self.git("rev-parse", f"{self.branch}^{{tree}}").strip() if self.branch in self.refs else "",
            refs=frozenset(self._plain(ref) for ref in self.refs if not ref.startswith("refs/acms/kept/")),
            files=frozenset(self._plain(name) for name in self.files),
        )

    @property
    def committed(self) -> list[LedgerRow]:
        """The ledger's committed patches."""
        return [entry for entry in self.ledger if entry.state == "committed"]

    @property
    def branch(self) -> str:
        """The run's result branch, by its full name."""
        return f"refs/heads/acms/{self.run_id}"

    @cached_property
    def refs(self) -> list[str]:
        """All refs of the repository."""
        return self.git("for-each-ref", "--format=%(refname)").split()

    @cached_property
    def files(self) -> list[str]:
        """Every file and empty folder at home and in the run's folder; not what stays beside a database."""
        folders = [self.site.home, self.site.repository / ".acms_runs"]
        found = (path for folder in folders for path in _leaves(folder))
        return [str(path.relative_to(self.site.folder)) for path in found if not _DATABASE.match(path.name)]

    def git(self, *arguments: str) -> str:
        """What git says in the repository."""
        return git(self.site.repository, *arguments)

    def _plain(self, name: str) -> str:
        return _HASH.sub("HASH", name.replace(self.run_id, "RUN"))


def _leaves(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_dir() or not any(path.iterdir()):
            yield path


def _difference(expected: Any, found: Any) -> str:
    if isinstance(expected, frozenset):
        return f"missing {sorted(expected - found)}, extra {sorted(found - expected)}"
    if isinstance(expected, Mapping):
        keys = sorted(key for key in {*expected, *found} if expected.get(key) != found.get(key))
        return "; ".join(f"{key}: {found.get(key)} instead of {expected.get(key)}" for key in keys)
    return f"{found} instead of {expected}"
