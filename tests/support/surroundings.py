"""What a run must leave as it found it: the user's repository with its .git, a home, and a folder beside them."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from repositories import git

OURS = (".git/objects/", ".git/worktrees/", ".git/refs/heads/acms/", ".git/refs/acms/", ".git/logs/refs/heads/acms/")
"""What a run may write of a repository: objects, worktrees and refs of its own."""


class Surroundings:
    """The surroundings of a run, furnished with things that are worth stealing or breaking."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.repository, self.home, self.beside = repository, folder / "home", folder / "beside"
        for name, text in {
            "home/.ssh/id_ed25519": "private key",
            "home/.bashrc": "export A=1\n",
            "home/.config/gh/hosts.yml": "token",
            "beside/notes.txt": "mine",
        }.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def hashed(self) -> dict[str, str]:
        """Every file, link and folder, by its kind, mode and content; and what every ref points at."""
        found = {}
        for top in (self.repository, self.home, self.beside):
            for folder, folders, files in os.walk(top):
                for name in (*folders, *files):
                    path = Path(folder, name)
                    seen = path.relative_to(top).as_posix()
                    if not f"{seen}/".startswith(OURS):
                        found[f"{top.name}/{seen}"] = _hashed(path)
        refs = git(self.repository, "for-each-ref").splitlines()
        return found | {ref: "" for ref in refs if "\trefs/heads/acms/" not in ref and "\trefs/acms/" not in ref}


def _hashed(path: Path) -> str:
    facts = path.lstat()
    if stat.S_ISLNK(facts.st_mode):
        content = os.fsencode(path.readlink())
    else:
        content = path.read_bytes() if stat.S_ISREG(facts.st_mode) else b""
    return f"{facts.st_mode:o} {hashlib.sha256(content).hexdigest()}"
