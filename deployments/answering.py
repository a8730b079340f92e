"""What a person decides about one patch or one run: the same for the command line and for the terminal view."""

from __future__ import annotations

from collections.abc import Callable

from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store
from prefect_acms.deployments.existing import existing_store
from prefect_acms.deployments.lookup import find_entry
from prefect_acms.deployments.output import emit_retrial
from prefect_acms.tasks.cancelling import cancel_run
from prefect_acms.tasks.orders import By, signed
from prefect_acms.tasks.retrials import Retrial, approve_patch, reject_patch
from prefect_acms.tasks.suspension import expire_and_wake

Act = Callable[[Store, str, By], Retrial]
"""Does what was decided about the patch of a ledger entry."""


def approve(store: Store, entry_id: str, by: By) -> Retrial:
    """Approve a patch that waits, in time; raises as approve_patch does."""
    expire_and_wake(store)
    return approve_patch(store, entry_id, by)


def reject(store: Store, entry_id: str, by: By) -> Retrial:
    """Reject a patch that waits, in time; raises as reject_patch does."""
    expire_and_wake(store)
    return reject_patch(store, entry_id, by)


def answer(act: Act, patch: str, *, operator: str, reason: str, database_url: str | None, as_json: bool) -> int:
    """Do what was decided about a patch, given by its id or a part of it, and print what became of it."""
    store, by = existing_store(database_url), signed(operator, reason)
    return emit_retrial(act(store, find_entry(store, patch).id, by), as_json=as_json)


def cancel(store: Store, run_id: str, reason: str, *, operator: str) -> RunRow:
    """Cancel a run, and let Prefect know, where there is a server to tell; raises as cancel_run does."""
    from prefect.settings import PREFECT_API_URL

    from prefect_acms.tasks.prefect_mending import mend_prefect_here

    ended = cancel_run(store, run_id, reason, operator=operator)
    if PREFECT_API_URL.value():
        # an embedded server would be started for nothing but this; `acms reconcile` does so
        mend_prefect_here(ended.id, store)
    return ended
