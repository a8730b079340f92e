"""What a driver leaves running when it dies is found by its mark, whatever group or session it has gone to."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from prefect_acms.tasks.survivors import (
    DRIVER_MARK,
    RUN_MARK,
    lives,
    run_mark,
    started_at,
    stop_survivors,
    wait_for_git,
)

Sleeper = subprocess.Popen[bytes]


@pytest.fixture
def sleepers() -> Iterator[list[Sleeper]]:
    """Processes that are gone after the test."""
    started: list[Sleeper] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def _start(sleepers: list[Sleeper], **marks: str) -> Sleeper:
    sleepers.append(subprocess.Popen(["sleep", "60"], env={**os.environ, **marks}, start_new_session=True))
    return sleepers[-1]


def test_only_processes_of_older_drivers_of_that_run_are_stopped(sleepers: list[Sleeper]) -> None:
    """Those of the driver that asks, of other runs and of nobody go on."""
    old = [_start(sleepers, **{RUN_MARK: run_mark("run_A", epoch)}) for epoch in (1, 2)]
    kept = [
        _start(sleepers, **{RUN_MARK: run_mark("run_A", 3)}),
        _start(sleepers, **{RUN_MARK: run_mark("run_AB", 1)}),
        _start(sleepers, **{RUN_MARK: "run_A/x"}),
        _start(sleepers),
    ]
    assert stop_survivors("run_A", below_epoch=3) == sorted(process.pid for process in old)
    assert [process.wait(5) for process in old] == [-9, -9]
    assert [process.poll() for process in kept] == [None] * 4
    assert stop_survivors("run_A", below_epoch=3) == []


def test_a_process_in_a_session_of_its_own_is_found_too(sleepers: list[Sleeper], tmp_path: Path) -> None:
    """A tool that starts a daemon hands its mark on."""
    code = (
        "import subprocess; quiet = subprocess.DEVNULL; "
        "p = subprocess.Popen(['sleep', '60'], start_new_session=True, stdout=quiet); print(p.pid)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, RUN_MARK: run_mark("run_B", 1)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        check=True,
    )
    pid = int(done.stdout)
    assert stop_survivors("run_B", below_epoch=2) == [pid]
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert sleepers == []


def test_a_pid_alone_is_no_life(sleepers: list[Sleeper]) -> None:
    """The number may be another's by now: the start tells."""
    process = _start(sleepers)
    start = started_at(process.pid)
    assert lives(process.pid, start)
    assert not lives(process.pid, start - 60)
    process.kill()
    time.sleep(0.2)
    assert not lives(process.pid, start), "a zombie is not alive"
    process.wait()
    assert not lives(process.pid, start)
    assert started_at(process.pid) == 0


def test_git_of_a_dead_driver_comes_to_its_end(tmp_path: Path) -> None:
    """It is waited for and not killed, so that it leaves no lock."""
    done = tmp_path / "done"
    mark = {DRIVER_MARK: "12345-1700000000"}
    process = subprocess.Popen(["sh", "-c", f"sleep 0.7; touch {done}"], env={**os.environ, **mark})
    wait_for_git(12345, 1700000000.2)
    assert done.exists()
    assert process.wait(5) == 0
