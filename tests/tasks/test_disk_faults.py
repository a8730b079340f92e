"""Which errors say that a disk is full."""

from __future__ import annotations

import errno
import os

import pytest

from prefect_acms.canonical.errors import StoreUnavailable
from prefect_acms.canonical.outside_errors import GitFailed
from prefect_acms.tasks.faults import stops_run


@pytest.mark.parametrize(
    "said",
    [
        "fatal: unable to write loose object file: No space left on device",
        "fatal: sha1 file '/r/.git/worktrees/base/index.lock' write error. Out of diskspace",
        "fatal: update_ref failed for ref 'refs/x': cannot update ref 'refs/x': couldn't write '/r/.git/refs/x.lock'",
    ],
)
def test_a_git_that_found_no_room_stops_the_run(said: str) -> None:
    """Each of git's ways to say so."""
    assert stops_run(GitFailed(command="read-tree", exit_code=128, problem=said))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_write_that_found_no_room_stops_the_run(number: int) -> None:
    """A full disk, and a used up quota."""
    assert stops_run(OSError(number, os.strerror(number)))


def test_a_store_that_is_full_stops_the_run() -> None:
    """As SQLite says it."""
    assert stops_run(StoreUnavailable(url="sqlite:///x", problem="database or disk is full"))


def test_another_failure_of_git_does_not_stop_the_run() -> None:
    """It says something about the task."""
    assert not stops_run(GitFailed(command="apply", exit_code=1, problem="error: patch does not apply"))
