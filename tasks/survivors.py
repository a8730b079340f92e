"""What a driver leaves running when it dies: every process of a run says whose it is, so that it can be found."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache

import psutil

RUN_MARK = "ACMS_RUN"
"""Variable of every tool, gate, scan and setup command: `<run_id>/<epoch>` of the driver that started it."""

DRIVER_MARK = "ACMS_DRIVER"
"""Variable of every git command: the process that started it."""

GIT_PATIENCE_SEC = 10.0
"""Seconds that a git command of a dead driver has to end by itself, so that it leaves no lock behind."""

KILL_SEC = 10.0
"""Seconds in which a killed process is gone, unless it hangs in the kernel."""

_TICK_SEC = 0.02
_SAME_START_SEC = 2.0

_log = logging.getLogger(__name__)


def run_mark(run_id: str, epoch: int) -> str:
    """What a process of a run says of itself."""
    return f"{run_id}/{epoch}"


@cache
def driver_mark(pid: int) -> str:
    """What a git command says of the process that started it."""
    return f"{pid}-{started_at(pid):.0f}"


def started_at(pid: int) -> float:
    """When a process started, in seconds since 1970; 0 when there is none."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def lives(pid: int, started: float) -> bool:
    """Whether the process that had this pid and this start is still there; a zombie is not."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < _SAME_START_SEC
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def stop_survivors(run_id: str, below_epoch: int) -> list[int]:
    """Kill what drivers of that run before this epoch have left running on this machine; the pids, sorted.

    Looked for until none is left, since a process may start another while it is looked at.
    """
    killed: set[int] = set()
    end = time.monotonic() + KILL_SEC
    while found := [process for process, mark in _marked(RUN_MARK) if _is_older(mark, run_id, below_epoch)]:
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        killed.update(process.pid for process in found)
        # not by psutil's own waiting: it would take the exit status from whoever in this process waits for a child
        time.sleep(_TICK_SEC)
        if time.monotonic() > end:
            # It writes to the worktrees of its own driver only, and its driver can't record anything any more.
            _log.warning("processes %s of run %s can't be killed", sorted(process.pid for process in found), run_id)
            break
    return sorted(killed)


def processes_of_runs() -> dict[str, list[tuple[int, int]]]:
    """What works for runs on this machine, by run: the epoch and the pid of each process, sorted."""
    found: dict[str, list[tuple[int, int]]] = {}
    for process, mark in _marked(RUN_MARK):
        owner, _, epoch = mark.rpartition("/")
        if epoch.isdecimal():
            found.setdefault(owner, []).append((int(epoch), process.pid))
    return {owner: sorted(processes) for owner, processes in found.items()}


def wait_for_git(pid: int, started: float) -> None:
    """Wait until the git commands of a dead driver have ended by themselves; what takes too long is killed."""
    mark = f"{pid}-{started:.0f}"
    end = time.monotonic() + GIT_PATIENCE_SEC
    while found := [process for process, said in _marked(DRIVER_MARK) if said == mark]:
        if time.monotonic() > end:
            for process in found:
                with suppress(psutil.Error):
                    process.kill()
        if time.monotonic() > end + KILL_SEC:
            _log.warning("git processes %s can't be killed", sorted(process.pid for process in found))
            break
        time.sleep(_TICK_SEC)


def _is_older(mark: str, run_id: str, below_epoch: int) -> bool:
    owner, _, epoch = mark.rpartition("/")
    return owner == run_id and epoch.isdecimal() and int(epoch) < below_epoch


def _marked(name: str) -> Iterator[tuple[psutil.Process, str]]:
    """The processes of ours that carry a mark; those of other users can't be looked into, and are none of ours."""
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        mark = _environment(process).get(name)
        if mark is not None:
            yield process, mark


def _environment(process: psutil.Process) -> Mapping[str, str]:
    try:
        # a zombie has no environment any more
        return {} if process.status() == psutil.STATUS_ZOMBIE else process.environ()
    except (psutil.Error, OSError):
        return {}
