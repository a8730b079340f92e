"""From the store to Prometheus: one read for each scrape, within its time, whatever the store does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from prefect_acms.canonical.errors import AcmsError, StoreUnavailable
from prefect_acms.dao import migration
from prefect_acms.dao.connections import shown
from prefect_acms.dao.store import Store, open_store
from prefect_acms.tasks import metrics
from prefect_acms.tasks.bounded import Bounded
from prefect_acms.tasks.metrics import MEASURES, Reading
from prefect_acms.tasks.metrics_now import budgets_now, reviews_now, stuck_now, tools_now, workers_now
from prefect_acms.tasks.metrics_trail import TrailCounts

ANSWER_SEC = 5.0
"""How long the store may take; Prometheus itself gives a scrape up after 10 s."""

_log = logging.getLogger(__name__)


def opened_store(url: str) -> Store:
    """The store as somebody opens it who only looks: it is neither made nor migrated; raises StoreUnavailable."""
    found, head = migration.current(url, ANSWER_SEC), migration.head()
    if found is None or found == "base":
        raise StoreUnavailable(url=shown(url), problem="there is none yet, the first run makes it")
    if found != head:
        problem = f"it is at version {found}, newest is {head}: run `acms db upgrade`"
        raise StoreUnavailable(url=shown(url), problem=problem)
    return open_store(url, busy_timeout_sec=ANSWER_SEC)


class StoreCollector(Collector):
    """Gives what the store tells; `acms_up` alone, as 0, while the store is away."""

    def __init__(self, url: str, within_sec: float = ANSWER_SEC) -> None:
        self._url = url
        self._trail = TrailCounts()
        self._bounded = Bounded(self._read, within_sec, "metrics of the store")
        self._is_away = False

    def start(self) -> None:
        """Begin to count what is in the trail already, without waiting for it."""
        threading.Thread(target=lambda: list(self.collect()), name="first metrics", daemon=True).start()

    def describe(self) -> Sequence[Metric]:
        """The metrics without values: by their names a scrape may ask for some of them."""
        return [measure.family({}) for measure in MEASURES]

    def collect(self) -> Sequence[Metric]:
        """The metrics at this moment, in the order of the reference page."""
        try:
            families = self._bounded()
        except (AcmsError, TimeoutError) as problem:
            self._tell(problem)
            return [metrics.UP.family({(): 0})]
        self._tell(None)
        return families

    def _tell(self, problem: Exception | None) -> None:
        """Log that the store has gone or come back, once."""
        if problem is not None and not self._is_away:
            _log.warning("the metrics are away: %s", problem)
        if problem is None and self._is_away:
            _log.warning("the metrics are back")
        self._is_away = problem is not None

    def _read(self) -> list[Metric]:
        """Read with connections of this moment: one that is kept may lead to a file that was replaced meanwhile."""
        started = time.monotonic()
        store = opened_store(self._url)
        try:
            with store.begin(read_only=True) as dao:
                self._trail.follow(dao)
                now = {
                    **tools_now(dao),
                    **budgets_now(dao),
                    **workers_now(dao, store.clock()),
                    **reviews_now(dao, store.clock()),
                }
            now |= stuck_now(store)
        finally:
            store.close()
        took: Reading = {metrics.UP: {(): 1.0}, metrics.READ_SECONDS: {(): time.monotonic() - started}}
        reading: Reading = {**self._trail.reading(), **now, **took}
        # written here, where nobody counts on meanwhile
        return [measure.family(reading[measure]) for measure in MEASURES]
