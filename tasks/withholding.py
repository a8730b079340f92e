"""Files of a worktree that a tool must not find there: what in a repository would configure the tool itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from prefect_acms.tasks.scratch import scratch_folder


@contextmanager
def withheld(worktree: Path, paths: Sequence[str]) -> Iterator[None]:
    """A block of work in which these files and folders are not there; afterwards they are as they were.

    What was made in their place meanwhile is gone then: it would have configured the tool that comes next.
    """
    present = [path for path in paths if _is_there(worktree / path)]
    if not paths:
        yield
        return
    with scratch_folder() as away:
        for number, path in enumerate(present):
            shutil.move(worktree / path, away / str(number))
        try:
            yield
        finally:
            for path in paths:
                _remove(worktree / path)
            for number, path in enumerate(present):
                (worktree / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(away / str(number), worktree / path)


def _is_there(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
