"""A Prefect worker as the store knows it: a worker of no run that beats while it lives, and is never given a task."""

from __future__ import annotations

import os
import socket

from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.worker import WorkerTrigger
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.dao.workers import WorkerRow

WORKER_TYPE = "acms"
"""Worker type of a Prefect worker, here and in Prefect."""

AFFINITY = "prefect-flow-runs"
"""Takes a worker of flow runs out of the pool that tasks are claimed from: no task has this affinity."""


class Presence:
    """The row of one Prefect worker; each call is one unit of work, and can be made again when it failed."""

    def __init__(self, name: str, pool: str) -> None:
        self._facts = {"name": name, "pool": pool, "host": socket.gethostname(), "pid": os.getpid()}
        self._id: str | None = None

    def beat(self, store: Store) -> str:
        """Say that the worker lives, and give its id: registered first, and anew once it was given up as lost."""
        with store.begin() as dao:
            row = self._open_row(dao)
            if row is None:
                reason = f"Prefect worker {self._facts['name']} of the pool {self._facts['pool']}"
                row = dao.workers.create(
                    worker_type=WORKER_TYPE, capabilities=[], affinity=AFFINITY, metadata=self._facts, reason=reason
                )
                dao.workers.advance(row.id, WorkerTrigger.REGISTERED)
            else:
                dao.workers.beat(row.id)
        self._id = row.id
        return row.id

    def end(self, store: Store, reason: str) -> None:
        """Shut the worker down, for that reason; one that was never registered or is shut down needs nothing."""
        with store.begin() as dao:
            row = self._open_row(dao)
            if row is not None:
                # one that was thought unresponsive is idle again by that
                dao.workers.beat(row.id)
                dao.workers.advance(row.id, WorkerTrigger.SHUTDOWN_REQUESTED, reason=reason)

    def _open_row(self, dao: UnitOfWork) -> WorkerRow | None:
        row = dao.workers.find(self._id) if self._id else None
        return None if row is None or row.state in MACHINES["worker"].terminal else row
