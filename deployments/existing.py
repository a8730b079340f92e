"""The store as those meet it who only look: they never make one."""

from __future__ import annotations

from collections.abc import Sequence

from prefect_acms.canonical.errors import StoreUnavailable
from prefect_acms.canonical.events import Event
from prefect_acms.dao import migration
from prefect_acms.dao.connections import shown
from prefect_acms.dao.home import database_url
from prefect_acms.dao.store import Store, open_store


def found_store(given: str | None) -> Store | None:
    """The store, or None where there is none yet."""
    if migration.current(database_url(given)) in {None, "base"}:
        return None
    store = open_store(given)

    def begin(events: Sequence[Event]) -> None:
        # Only who writes needs Prefect for it.
        from prefect_acms.tasks.event_sending import begin_sending

        if begin_sending(store, events):
            unsubscribe()

    unsubscribe = store.subscribe(begin)
    return store


def existing_store(given: str | None) -> Store:
    """The store; raises StoreUnavailable where there is none yet."""
    store = found_store(given)
    if store is None:
        problem = "there is none yet, the first run makes it"
        raise StoreUnavailable(url=shown(database_url(given)), problem=problem)
    return store
