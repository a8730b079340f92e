"""What a person decides about one patch, from the command line."""

from __future__ import annotations

from collections.abc import Callable

from prefect_acms.dao.store import Store
from prefect_acms.deployments.existing import existing_store
from prefect_acms.deployments.lookup import find_entry
from prefect_acms.deployments.output import emit_retrial
from prefect_acms.tasks.orders import By, signed
from prefect_acms.tasks.retrials import Retrial


def answer(
    act: Callable[[Store, str, By], Retrial],
    patch: str,
    *,
    operator: str,
    reason: str,
    database_url: str | None,
    as_json: bool,
    first: Callable[[Store], object] | None = None,
) -> int:
    """Do what was decided about a patch, given by its id or a part of it, and print what became of it; the exit code.

    `first` is done to the store before.
    """
    store, by = existing_store(database_url), signed(operator, reason)
    if first is not None:
        first(store)
    return emit_retrial(act(store, find_entry(store, patch).id, by), as_json=as_json)
