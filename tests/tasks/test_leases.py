"""Leases: who drives a run, as every process sees it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from driven import repository_of, started_run

from prefect_acms.blocks.config import ResilienceSettings
from prefect_acms.canonical.clock import utc_moment
from prefect_acms.canonical.errors import RunDriven, Superseded
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import open_store
from prefect_acms.tasks.driving import Drive, drive_run, phase, release_run
from prefect_acms.tasks.leases import Driver, driver_of, recorded_driver, this_driver
from prefect_acms.tasks.survivors import started_at

QUICK = ResilienceSettings(lease_sec=0.6)


@pytest.fixture
def drive(tmp_path: Path, canonical_url: str) -> Drive:
    """A run that this process drives, with a lease of 0.6 s."""
    repository = repository_of(tmp_path / "repository", {"a.py": "A = 1\n"})
    return started_run(repository, canonical_url, resilience=QUICK)


def _run(drive: Drive) -> RunRow:
    with drive.reading() as dao:
        return dao.runs.get(drive.run_id)


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def _leased_by(drive: Drive, driver: Driver, seconds: float = 60.0) -> RunRow:
    with drive.begin() as dao:
        plain = {name: getattr(driver, name) for name in driver.__slots__}
        dao.runs.lease(drive.run_id, drive.epoch, seconds, plain)
    return _run(drive)


def test_a_lease_is_renewed_for_as_long_as_its_block_lasts(drive: Drive) -> None:
    """Others see the driver long after the first lease would have expired, and nobody once the block is left."""
    with drive.leased():
        first = _run(drive).lease_expires_at
        _until(lambda: str(_run(drive).lease_expires_at) > str(first))
        time.sleep(QUICK.lease_sec)
        _until(lambda: driver_of(_run(drive), datetime.now(UTC)) == this_driver(drive.epoch))
    assert _run(drive).lease_expires_at is None
    assert driver_of(_run(drive), datetime.now(UTC)) is None


def test_the_lease_of_a_living_process_is_respected(drive: Drive) -> None:
    """A take-over is refused with the process that has it, unless it is forced."""
    release_run(drive)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        ours = this_driver(drive.epoch)
        _leased_by(drive, Driver(ours.host, ours.boot, other.pid, started_at(other.pid), drive.epoch))
        with pytest.raises(RunDriven, match=f"process {other.pid} on {ours.host}"):
            drive_run(drive.run_id, database=drive.store.url)
        assert _run(drive).epoch == drive.epoch
        taken = drive_run(drive.run_id, database=drive.store.url, force=True)
        assert taken.epoch == drive.epoch + 1
        other.communicate(b"\n")


def test_the_lease_of_a_dead_process_is_none(drive: Drive) -> None:
    """Its process is gone, its pid is another's, or the machine was started again: no need to wait."""
    ours = this_driver(drive.epoch)
    now = datetime.now(UTC)
    with subprocess.Popen([sys.executable, "-c", "pass"]) as other:
        gone = Driver(ours.host, ours.boot, other.pid, started_at(other.pid), drive.epoch)
    for dead in (
        gone,
        Driver(ours.host, ours.boot, os.getpid(), ours.started - 3600, drive.epoch),
        Driver(ours.host, "before the reboot", os.getpid(), ours.started, drive.epoch),
    ):
        run = _leased_by(drive, dead)
        assert driver_of(run, now) is None
        assert recorded_driver(run) == dead


def test_of_a_driver_on_another_machine_the_lease_is_all_that_is_known(drive: Drive) -> None:
    """It drives until its lease has expired; a process of ours with its number says nothing."""
    run = _leased_by(drive, Driver("elsewhere", "boot", os.getpid(), 1.0, drive.epoch), seconds=60)
    expires = utc_moment(str(run.lease_expires_at))
    assert driver_of(run, expires - timedelta(seconds=1)) is not None
    assert driver_of(run, expires) is None


def test_a_clock_that_was_set_back_keeps_nobody_from_a_dead_drivers_run(drive: Drive) -> None:
    """An hour earlier a lease looks long; a dead process is dead all the same, a living one renews by the new clock."""
    hour = timedelta(hours=1)
    run = _leased_by(drive, this_driver(drive.epoch))
    assert driver_of(run, datetime.now(UTC) - hour) is not None
    earlier = open_store(drive.store.url, clock=lambda: datetime.now(UTC) - hour)
    with earlier.begin() as dao:
        dao.runs.lease(drive.run_id, drive.epoch, 60, run.info["driver"])
    assert utc_moment(str(_run(drive).lease_expires_at)) < datetime.now(UTC)
    dead = Driver(**{**run.info["driver"], "started": 1.0})
    assert driver_of(_leased_by(drive, dead), datetime.now(UTC) - hour) is None


def test_a_driver_that_was_superseded_stops_by_itself(drive: Drive) -> None:
    """Within a second it hears of it: its tools end, and it starts nothing more."""
    with drive.leased(), drive.watching():
        with open_store(drive.store.url).begin() as dao:
            dao.runs.take_over(drive.run_id)
        _until(drive.stopping.is_set)


def test_a_superseded_driver_moves_no_ref(drive: Drive) -> None:
    """The epoch is checked before the compare-and-swap, so the branch stays where the new driver has it."""
    head = drive.repository.head()
    drive.move_ref(drive.result_ref, head, None)
    with open_store(drive.store.url).begin() as dao:
        dao.runs.take_over(drive.run_id)
    newer = drive.repository.commit_tree(drive.repository.tree_of(head), [head], "late", datetime.now(UTC))
    with pytest.raises(Superseded):
        drive.move_ref(drive.result_ref, newer, head)
    assert drive.repository.ref(drive.result_ref) == head


def test_a_take_over_waits_for_the_ref_that_is_just_being_moved(
    drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the check of the epoch and the move nobody else becomes the driver."""
    head, began, git = drive.repository.head(), tmp_path / "began", shutil.which("git")
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\ncase "$*" in *update-ref*) touch {began}; sleep 2;; esac\nexec {git} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}{os.pathsep}{os.environ['PATH']}")
    order: list[str] = []

    def take_over() -> None:
        _until(began.exists)
        with open_store(drive.store.url).begin() as dao:
            dao.runs.take_over(drive.run_id)
        order.append("taken" if drive.repository.ref(drive.result_ref) == head else "taken too early")

    other = threading.Thread(target=take_over)
    other.start()
    drive.move_ref(drive.result_ref, head, None)
    order.append("moved")
    other.join()
    assert sorted(order) == ["moved", "taken"]
    assert _run(drive).epoch == drive.epoch + 1


def test_a_phase_alone_holds_the_lease_too(drive: Drive) -> None:
    """Who runs one phase drives the run while it lasts; a run that has ended is driven by nobody."""
    with phase(drive, "discovery"):
        _until(lambda: driver_of(_run(drive), datetime.now(UTC)) == this_driver(drive.epoch))
    assert driver_of(_run(drive), datetime.now(UTC)) is None
    with drive.begin() as dao:
        dao.runs.lease(drive.run_id, drive.epoch, 60, _run_driver(drive))
        dao.runs.advance(drive.run_id, RunTrigger.RUN_CRASHED, error="boom")
    assert driver_of(_run(drive), datetime.now(UTC)) is None


def _run_driver(drive: Drive) -> dict[str, object]:
    driver = this_driver(drive.epoch)
    return {name: getattr(driver, name) for name in driver.__slots__}
