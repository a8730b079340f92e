"""Quarantine of a whole run: noted with the run by whoever finds the reason, carried out by whoever drives it."""

from __future__ import annotations

from prefect_acms.canonical.errors import RunUnsafe
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.tasks.driving import Drive

_UNSAFE = "unsafe"
"""Under this name a run keeps why it is to be quarantined."""


def condemn_run(dao: UnitOfWork, run_id: str, reason: str) -> None:
    """Note that the run is to be quarantined; a driver that is lost meanwhile can't forget it."""
    dao.runs.change(run_id, metadata={_UNSAFE: reason})


def require_sound(drive: Drive) -> None:
    """Raise RunUnsafe once the run is to be quarantined."""
    with drive.reading() as dao:
        reason = dao.runs.get(drive.run_id).info.get(_UNSAFE)
    if reason is not None:
        raise RunUnsafe(run_id=drive.run_id, reason=reason)
