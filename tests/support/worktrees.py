"""Worktrees in the hands of a test: what is in them, and a patch for it."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect_acms.tasks.worktrees import Worktree

WHEN = datetime(2026, 1, 2, tzinfo=UTC)
FILES: dict[str, str | bytes] = {
    "a.py": "one\ntwo\nthree\n",
    "pkg/b.py": "b\n",
    "pkg/ü ö.txt": "u\n",
    "run.sh": "#!/bin/sh\n",
    "crlf.txt": b"x\r\ny\r\n",
    "blob.bin": bytes(range(256)),
    ".gitignore": "build/\n*.log\n",
    "kept.log": "tracked, though ignored\n",
}
GOOD = b"diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n"


def on_disk(worktree: Worktree) -> dict[str, tuple[bytes, int]]:
    """Every file below the worktree: content and whether it is executable."""
    return {
        str(path.relative_to(worktree.path)): (path.read_bytes(), path.stat().st_mode & 0o100)
        for path in worktree.path.rglob("*")
        if path.is_file() and path.name != ".git"
    }
