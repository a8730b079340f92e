"""One run at a time in a repository: a lock that dies with the process that holds it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from prefect_acms.canonical.errors import RepositoryBusy


@contextmanager
def repository_lock(home: Path, repository: Path, owner: str) -> Iterator[None]:
    """Hold a repository for a block of work; raises RepositoryBusy, with the owner, when somebody else does.

    `owner` says who it is in that sentence, for instance the run and its process. The operating system lets go of the
    lock when its process ends, however it ends.
    """
    path = lock_path(home, repository)
    path.parent.mkdir(parents=True, exist_ok=True)
    note = path.with_suffix(".owner")
    lock = FileLock(path, is_singleton=False, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise RepositoryBusy(path=repository, owner=_read(note)) from None
    try:
        note.write_text(owner, encoding="utf-8")
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def lock_path(home: Path, repository: Path) -> Path:
    """The lock file of a repository: the same for every spelling of its path."""
    name = hashlib.sha256(str(repository.resolve()).encode("utf-8", errors="surrogateescape")).hexdigest()[:32]
    return home / "locks" / f"{name}.lock"


def _read(note: Path) -> str:
    text = ""
    with suppress(OSError):
        text = note.read_text(encoding="utf-8", errors="replace").strip()
    return text or "its owner is just starting"
