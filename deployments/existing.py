"""The store as those meet it who only look: they never make one."""

from __future__ import annotations

from prefect_acms.canonical.errors import StoreUnavailable
from prefect_acms.dao import migration
from prefect_acms.dao.connections import shown
from prefect_acms.dao.home import database_url
from prefect_acms.dao.store import Store, open_store


def found_store(given: str | None) -> Store | None:
    """The store, or None where there is none yet."""
    there_is_none = migration.current(database_url(given)) in {None, "base"}
    return None if there_is_none else open_store(given)


def existing_store(given: str | None) -> Store:
    """The store; raises StoreUnavailable where there is none yet."""
    store = found_store(given)
    if store is None:
        problem = "there is none yet, the first run makes it"
        raise StoreUnavailable(url=shown(database_url(given)), problem=problem)
    return store
