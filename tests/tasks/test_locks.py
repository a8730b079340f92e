"""A repository is driven by one run at a time, and a dead owner holds nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from prefect_acms.canonical.errors import RepositoryBusy
from prefect_acms.tasks.locks import repository_lock

HOLD = """
import sys, time
from pathlib import Path
from prefect_acms.tasks.locks import repository_lock
with repository_lock(Path(sys.argv[1]), Path(sys.argv[2]), "run_1 of process 7"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_told_who_holds_the_repository(tmp_path: Path) -> None:
    """By any spelling of the path; another repository is free, and so is this one afterwards."""
    repository, other = tmp_path / "repository", tmp_path / "other"
    repository.mkdir()
    (tmp_path / "link").symlink_to(repository)
    with repository_lock(tmp_path, repository, "run_1"):
        with pytest.raises(RepositoryBusy, match="run_1"), repository_lock(tmp_path, tmp_path / "link", "run_2"):
            pass
        with repository_lock(tmp_path, other, "run_3"):
            pass
    with repository_lock(tmp_path, repository, "run_4"):
        pass


def test_a_killed_owner_holds_nothing(tmp_path: Path) -> None:
    """The lock dies with its process, SIGKILL included."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(RepositoryBusy, match="process 7"), repository_lock(tmp_path, tmp_path, "run_2"):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            with repository_lock(tmp_path, tmp_path, "run_2"):
                return
        except RepositoryBusy:
            time.sleep(0.05)
    pytest.fail("the lock outlived its owner")
