"""Who drives a run: a lease in the store that its driver renews, and that ends with its process."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import psutil

from prefect_acms.canonical.clock import utc_moment
from prefect_acms.canonical.errors import AcmsError, NotFound, Superseded
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.uet_worker import UetWorkerState
from prefect_acms.canonical.worker import WorkerState
from prefect_acms.dao.runs import RunRow
from prefect_acms.tasks.survivors import lives, started_at

if TYPE_CHECKING:
    from prefect_acms.tasks.driving import Drive

LOOK_SEC = 1.0
"""How often a driver looks whether the run is still its own."""

RENEWALS = 3
"""How often a lease is renewed before it would have expired."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Driver:
    """A process that drives a run; `started` is in seconds since 1970, `boot` tells one start of the machine."""

    host: str
    boot: str
    pid: int
    started: float
    epoch: int

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this machine."""
        return self.host == socket.gethostname()

    @property
    def is_dead(self) -> bool:
        """Whether it is known to be gone; of one on another machine nothing is known."""
        return self.is_here and (self.boot != boot_id() or not lives(self.pid, self.started))


@cache
def boot_id() -> str:
    """The same as long as the machine has not been started again."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"{psutil.boot_time():.0f}"


def this_driver(epoch: int) -> Driver:
    """This process, as the driver of a run at that epoch."""
    pid = os.getpid()
    return Driver(socket.gethostname(), boot_id(), pid, started_at(pid), epoch)


def recorded_driver(run: RunRow) -> Driver | None:
    """Who drove the run last, alive or not."""
    known = run.info.get("driver")
    return Driver(**known) if known else None


def driver_of(run: RunRow, now: datetime) -> Driver | None:
    """Who drives the run now: none when it has ended, its lease was let go or has expired, or its process is dead."""
    driver = recorded_driver(run)
    if run.lease_expires_at is None or driver is None or run.state in MACHINES["run"].terminal:
        return None
    if driver.epoch != run.epoch or utc_moment(run.lease_expires_at) <= now or driver.is_dead:
        return None
    return driver


class Lease:
    """Holds the lease of a run for a block of work, from a thread of its own; the block is stopped once it is lost."""

    def __init__(self, drive: Drive, on_lost: Callable[[], None]) -> None:
        self._drive = drive
        self._on_lost = on_lost
        self._seconds = drive.config.resilience.lease_sec
        self._every = min(self._seconds / RENEWALS, drive.config.health.heartbeat_sec)
        self._driver = asdict(this_driver(drive.epoch))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease of {drive.run_id}", daemon=True)

    def __enter__(self) -> Self:
        self._renew()
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        try:
            with self._drive.ending() as dao:
                dao.runs.let_go(self._drive.run_id, self._drive.epoch)
        except AcmsError as problem:
            # Who can't let go is found to be dead, or has been superseded already.
            _log.debug("the lease of %s was not let go: %s", self._drive.run_id, problem)

    def _keep(self) -> None:
        looks = max(1, round(self._every / LOOK_SEC))
        pause = min(LOOK_SEC, self._every)
        count = 0
        while not self._over.wait(pause):
            count += 1
            try:
                self._renew() if count % looks == 0 else self._look()
            except (Superseded, NotFound):
                self._on_lost()
                return
            except (AcmsError, OSError) as problem:
                # The fence keeps the run safe meanwhile; the next look may find the store again.
                _log.warning("the lease of %s could not be renewed: %s", self._drive.run_id, problem)

    def _look(self) -> None:
        with self._drive.reading() as dao:
            current = dao.runs.get(self._drive.run_id).epoch
        if current != self._drive.epoch:
            raise Superseded(run_id=self._drive.run_id, held=self._drive.epoch, current=current)

    def _renew(self) -> None:
        drive = self._drive
        with drive.ending() as dao:
            dao.runs.lease(drive.run_id, drive.epoch, self._seconds, self._driver)
            for worker in dao.workers.of_run(drive.run_id):
                if worker.state in {WorkerState.IDLE, WorkerState.BUSY, WorkerState.UNRESPONSIVE}:
                    dao.workers.beat(worker.id)
            for process in dao.uet_workers.of_run(drive.run_id):
                if process.state == UetWorkerState.BUSY:
                    dao.uet_workers.beat(process.id)
