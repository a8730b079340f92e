"""Who may work in a repository: nobody while a living process does, unless it was fenced off."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from driven import repository_of, started_run

from prefect_acms.canonical.errors import RepositoryBusy
from prefect_acms.dao.home import acms_home
from prefect_acms.flows.course import owner_of, repository_held
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.leases import this_driver
from prefect_acms.tasks.locks import repository_lock
from prefect_acms.tasks.survivors import started_at


@pytest.fixture
def drive(tmp_path: Path, canonical_url: str) -> Drive:
    """A run in a repository of its own."""
    return started_run(repository_of(tmp_path / "repository", {"a.py": "A = 1\n"}), canonical_url)


@pytest.fixture
def other(drive: Drive) -> Iterator[int]:
    """A living process that has the lease of the run, and no lock of ours: its home is another."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        driver = replace(this_driver(drive.epoch), pid=process.pid, started=started_at(process.pid))
        with drive.begin() as dao:
            dao.runs.lease(drive.run_id, drive.epoch, 60, asdict(driver))
        yield process.pid
        process.communicate(b"\n")


async def _hold(drive: Drive, wait_sec: float = 0, fenced_off: int | None = None) -> None:
    async with repository_held(drive.store, drive.repository, wait_sec, fenced_off):
        pass


def test_a_living_driver_with_another_home_keeps_others_out(drive: Drive, other: int) -> None:
    """The lease in the store says what no lock says; the sentence names the process and its run."""
    with pytest.raises(RepositoryBusy, match=f"process {other} with {drive.run_id}"):
        asyncio.run(_hold(drive))


def test_who_was_fenced_off_keeps_nobody_out(drive: Drive, other: int) -> None:
    """Neither its lease nor its lock: stopped or hung, it may hold them for ever."""
    asyncio.run(_hold(drive, fenced_off=other))
    with repository_lock(acms_home(), drive.repository.top, owner_of(other)):
        asyncio.run(_hold(drive, fenced_off=other))
        with pytest.raises(RepositoryBusy, match=owner_of(other)):
            asyncio.run(_hold(drive, fenced_off=other + 1))


def test_who_waits_gets_the_repository_when_it_is_free(drive: Drive) -> None:
    """And is refused when the time is over."""

    async def both() -> None:
        with repository_lock(acms_home(), drive.repository.top, "process 1"):
            with pytest.raises(RepositoryBusy):
                await _hold(drive, wait_sec=0.2)
            waiting = asyncio.create_task(_hold(drive, wait_sec=20))
            await asyncio.sleep(0.7)
            assert not waiting.done()
        await waiting

    asyncio.run(both())
