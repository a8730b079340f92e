"""Whether the process of a tool has ended, as far as that can be seen from here."""

from __future__ import annotations

import socket
from datetime import datetime

import psutil

from prefect_acms.blocks.config import HealthSettings
from prefect_acms.dao.uet_workers import UetWorkerRow
from prefect_acms.tasks.health import age_sec
from prefect_acms.tasks.survivors import RUN_MARK


def is_gone(process: UetWorkerRow, now: datetime, health: HealthSettings) -> bool:
    """Whether the process of a tool has ended; one that can't be looked at from here is, once it is silent for long."""
    silent = age_sec(process.last_heartbeat, now) > health.lost_after_sec
    if process.pid is None or process.host != socket.gethostname():
        return silent
    try:
        found = psutil.Process(process.pid)
        mark = None if found.status() == psutil.STATUS_ZOMBIE else found.environ().get(RUN_MARK, "")
    except psutil.AccessDenied:
        mark = ""
    except (psutil.Error, OSError):
        mark = None
    # its number may have been given to somebody else since; of one that doesn't say whose it is, only silence tells
    return silent if mark == "" else mark is None or mark.rpartition("/")[0] != process.run_id
