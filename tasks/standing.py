"""How a run stands for somebody who does not drive it: driven, left by its driver, or ended and let go."""

from __future__ import annotations

import os
from datetime import datetime
from enum import Enum, auto

from prefect_acms.canonical.clock import utc_moment
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.dao.runs import RunRow
from prefect_acms.tasks.driving import drives
from prefect_acms.tasks.health import age_sec
from prefect_acms.tasks.leases import recorded_driver

LET_GO_SEC = 30.0
"""Seconds for which a driver that lives counts as such without a lease: between two phases, and while it closes."""


class Standing(Enum):
    """Who may touch what belongs to a run."""

    DRIVEN = auto()
    """A living driver works on it, or still closes it: nobody else touches it."""
    LEFT = auto()
    """It has not ended, and nobody drives it: it can be resumed."""
    ENDED = auto()
    """It has ended, and its driver is done with it."""


def standing_of(run: RunRow, now: datetime) -> Standing:
    """How the run stands at that moment."""
    if _is_held(run, now):
        return Standing.DRIVEN
    return Standing.ENDED if run.state in MACHINES["run"].terminal else Standing.LEFT


def _is_held(run: RunRow, now: datetime) -> bool:
    driver = recorded_driver(run)
    if driver is None or driver.epoch != run.epoch:
        # Whoever has just made the run, or taken it over, is about to say who it is.
        return run.state not in MACHINES["run"].terminal and age_sec(run.updated_at, now) < LET_GO_SEC
    if driver.is_dead:
        return False
    if driver.is_here and driver.pid == os.getpid() and run.id not in {drive.run_id for drive in drives()}:
        return False
    has_lease = run.lease_expires_at is not None and utc_moment(run.lease_expires_at) > now
    return has_lease or (driver.is_here and age_sec(run.updated_at, now) < LET_GO_SEC)
