"""Looks at the store: what the view shows, read through the client, and only when something has happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from prefect_acms.canonical.errors import NotFound, StoreUnavailable
from prefect_acms.dao.connections import shown
from prefect_acms.dao.home import database_url
from prefect_acms.dao.store import Store
from prefect_acms.deployments.client import AcmsClient
from prefect_acms.deployments.existing import existing_store
from prefect_acms.deployments.records import BreakerRecord, EventRecord, Snapshot, WorkerRecord
from prefect_acms.tasks.summary_model import ListedRun

MOST_RUNS = 100
MOST_EVENTS = 200
WHOLE_EVERY_SEC = 5.0
"""Heartbeats and leases leave no event, so everything is read anew that often though nothing has happened."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was found at one look; the events are those since the look before."""

    runs: Sequence[ListedRun]
    snapshot: Snapshot | None
    workers: Sequence[WorkerRecord]
    breakers: Sequence[BreakerRecord]
    events: Sequence[EventRecord]
    left_out: int = 0
    """Events between two looks that were too many to be shown."""


class Watch:
    """One store, looked at again and again; a store that was away is opened anew once it is back."""

    def __init__(self, given: str | None, now: Callable[[], float] = time.monotonic) -> None:
        self.url = database_url(given)
        self.shown_url = shown(self.url)
        self._now = now
        self._store: Store | None = None
        self._file: tuple[int, int] | None = None
        self._forget()

    def _forget(self) -> None:
        self._last = 0
        self._chosen: str | None = None
        self._looked = -WHOLE_EVERY_SEC

    def store(self) -> Store:
        """The store, open; raises StoreUnavailable."""
        file = self._identity()
        if file != self._file:
            # what was opened is no longer what is there under that name
            self.close()
        if self._store is None:
            self._store = existing_store(self.url)
            self._file = file
            self._forget()
        return self._store

    def _identity(self) -> tuple[int, int] | None:
        """Which file the store is, or None for a server; raises StoreUnavailable when there is none."""
        url = make_url(self.url)
        if url.get_backend_name() != "sqlite" or not url.database:
            return None
        try:
            found = Path(url.database).stat()
        except OSError as problem:
            raise StoreUnavailable(
                url=self.shown_url, problem=f"its file is not there ({problem.strerror}); a run makes it"
            ) from None
        return found.st_dev, found.st_ino

    def look(self, chosen: str | None) -> Look | None:
        """What is to be seen now, or None where nothing has happened since; raises what the store raises.

        `chosen` is the id of the run that is shown in full, None the latest.
        """
        try:
            return self._look(AcmsClient(store=self.store()), chosen)
        except StoreUnavailable:
            self.close()
            raise

    def _look(self, client: AcmsClient, chosen: str | None) -> Look | None:
        last = client.last_event()
        begun = self._now()
        is_whole = begun - self._looked >= WHOLE_EVERY_SEC or chosen != self._chosen
        if last == self._last and not is_whole:
            return None
        runs = client.runs(limit=MOST_RUNS)
        first = max(self._last, last - MOST_EVENTS)
        look = Look(
            runs=runs,
            snapshot=_snapshot(client, chosen, runs),
            workers=client.workers(),
            breakers=client.breakers(),
            events=client.events(first, limit=MOST_EVENTS) if last > first else (),
            left_out=first - self._last,
        )
        self._last = look.events[-1].transition_id if look.events else last
        self._chosen, self._looked = chosen, begun
        return look

    def close(self) -> None:
        """Close the store; the next look opens it anew."""
        if self._store is not None:
            self._store.close()
            self._store = None


def _snapshot(client: AcmsClient, chosen: str | None, runs: Sequence[ListedRun]) -> Snapshot | None:
    if chosen is None:
        return client.snapshot(runs[0].id) if runs else None
    try:
        return client.snapshot(chosen)
    except NotFound:
        # another database has come back under the same name
        return None
