"""What a run must not leave behind when it is over: worktrees, locks, temporary files, processes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
from campaign_inspection import Inspection


def no_worktree_left(at: Inspection) -> Iterator[str]:
    """Git knows of no worktree but the user's, and home holds none."""
    listed = at.git("worktree", "list", "--porcelain").count("worktree ")
    if listed != 1:
        yield f"git lists {listed} worktrees"
    if (at.site.repository / ".git/worktrees").exists():
        yield ".git/worktrees is there"
    worktrees = at.site.home / "worktrees"
    if worktrees.exists():
        yield from (f"{path.relative_to(at.site.folder)} is left" for path in sorted(worktrees.iterdir()))


def no_lock_left(at: Inspection) -> Iterator[str]:
    """No lock file of git's is there, and nobody holds one of ours."""
    inside = at.site.repository / ".git"
    yield from (f"{path.relative_to(inside.parent)} is left" for path in sorted(inside.rglob("*.lock")))
    for folder in (at.site.home, at.site.repository / ".acms_runs"):
        yield from (f"{path.relative_to(at.site.folder)} is held" for path in folder.rglob("*.lock") if _held(path))


def _held(path: Path) -> bool:
    file = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def no_temporary_file_left(at: Inspection) -> Iterator[str]:
    """Neither the repository, home nor the folder for temporary files holds one."""
    objects = at.site.repository / ".git/objects"
    left = [path for path in objects.rglob("*") if path.name.startswith(("tmp_", "incoming", "bulk"))]
    suspect = [path for path in (at.site.folder / name for name in at.files) if path.suffix in {".fresh", ".tmp"}]
    yield from (f"{path.relative_to(at.site.folder)} is left" for path in sorted([*left, *suspect]))
    yield from (f"{path.relative_to(at.site.folder)} is left" for path in sorted(at.site.temporary.iterdir()))


def no_process_left(at: Inspection) -> Iterator[str]:
    """No process works in the folder, was told of it, or speaks of the run."""
    for process in psutil.process_iter():
        said = _about(process)
        if str(at.site.folder) in said or at.run_id in said:
            yield f"process {process.pid} is left: {said[:500]}"


def _about(process: psutil.Process) -> str:
    """Where a process works, by which command and with which variables; nothing of one that has ended."""
    try:
        if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return ""
        return f"{process.cwd()} {process.cmdline()} {process.environ()}"
    except (psutil.Error, OSError):
        return ""
