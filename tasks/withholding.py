"""Files of a worktree that a tool must not find there: what would configure the tool, or must not be sent."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from prefect_acms.tasks.scratch import scratch_folder


@contextmanager
def withheld(worktree: Path, paths: Iterable[str]) -> Iterator[None]:
    """A block of work in which these files and folders are not there; afterwards they are as they were.

    What was made in their place meanwhile is gone then: it would have configured the tool that comes next. No link is
    followed, neither one of the repository nor one that the tool has made: where a path leads through one, it is the
    link that is not there.
    """
    paths = tuple(paths)
    present = [path for path in _outermost(worktree, paths) if _is_there(worktree / path)]
    if not paths:
        yield
        return
    with scratch_folder() as away:
        for number, path in enumerate(present):
            shutil.move(worktree / path, away / str(number))
        try:
            yield
        finally:
            for path in _outermost(worktree, paths):
                _remove(worktree / path)
            for number, path in enumerate(present):
                _make_way(worktree, path)
                shutil.move(away / str(number), worktree / path)


def _outermost(worktree: Path, paths: Iterable[str]) -> list[str]:
    """The paths, each up to the first link on its way, without those that lie below another of them."""
    found: list[str] = []
    for path in sorted({_up_to_link(worktree, path) for path in paths}, key=lambda path: PurePosixPath(path).parts):
        if not (found and PurePosixPath(path).is_relative_to(found[-1])):
            found.append(path)
    return found


def _up_to_link(worktree: Path, path: str) -> str:
    return next((above for above in _ways(path) if (worktree / above).is_symlink()), path)


def _ways(path: str) -> list[str]:
    """The folders that lead to a path, outermost first."""
    return [str(above) for above in reversed(PurePosixPath(path).parents) if above.name]


def _make_way(worktree: Path, path: str) -> None:
    """Let the folder of a path be one again, whatever the tool has made of it."""
    for above in _ways(path):
        place = worktree / above
        if place.is_symlink() or not place.is_dir():
            place.unlink(missing_ok=True)
            place.mkdir()


def _is_there(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    elif _is_there(path):
        path.unlink()
