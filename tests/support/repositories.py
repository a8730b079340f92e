"""Repositories in tests, and what a run must leave as it found it."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prefect_acms.dao.store import Store
from prefect_acms.flows.pipeline import Outcome

Committed = Callable[[dict[str, str]], Path]
"""Makes a repository with these files in one commit."""


def git(folder: Path, *arguments: str) -> str:
    """What git says in that folder."""
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def fingerprint_of(folder: Path) -> dict[str, str]:
    """Every file of the working tree and of .git that a run must not change, by its hash."""
    ours = (".acms_runs/", ".git/objects/", ".git/refs/heads/acms/", ".git/logs/refs/heads/acms/", ".git/refs/acms/")
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith(ours):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@dataclass(frozen=True)
class Ran:
    """A run that is over, its repository, its store, and what the repository looked like before."""

    repository: Path
    store: Store
    outcome: Outcome
    before: dict[str, str]

    def git(self, *arguments: str) -> str:
        """What git says in the repository."""
        return git(self.repository, *arguments)
