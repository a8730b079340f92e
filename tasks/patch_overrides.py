"""Orders about patches and breakers: to drop a patch, or to let a tool run again, by hand."""

from __future__ import annotations

from prefect_acms.canonical.errors import NotFound
from prefect_acms.canonical.patch import PatchState, PatchTrigger
from prefect_acms.canonical.verdicts import patch_trigger_on_run_end
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.tasks.breakers import close_by_hand
from prefect_acms.tasks.orders import Order, take_in_hand


def entry_of(dao: UnitOfWork, patch_or_entry: str) -> LedgerRow:
    """The ledger entry of that id, or the last one of the patch of that id; raises NotFound."""
    found = dao.ledger.find(patch_or_entry) or next(reversed(dao.ledger.of_patch(patch_or_entry)), None)
    if found is None:
        raise NotFound(entity="patch", id=patch_or_entry)
    return found


def drop_patch(dao: UnitOfWork, order: Order) -> None:
    """Drop a patch that is not part of anything; its diff and the evidence against it stay stored.

    One that is settled is nothing that a driver has in its memory, so it may be dropped beside a living one.
    """
    entry = entry_of(dao, order.entity_id)
    if patch_trigger_on_run_end(entry.state) is not None:
        take_in_hand(dao, entry.run_id)
    rejected = entry.state == PatchState.AWAITING_REVIEW
    trigger = PatchTrigger.REVIEW_REJECTED if rejected else PatchTrigger.DISCARDED
    dao.ledger.advance(entry.id, trigger, version=entry.version, **order.by)
    order.note(dao.ledger, entry.id)


def reset_breaker(dao: UnitOfWork, order: Order) -> None:
    """Close the breaker of a tool, given by the tool's id or its own; raises InvalidTransition if it is closed."""
    by_id = dao.circuit_breakers.find(order.entity_id)
    row = close_by_hand(dao, by_id.tool_id if by_id else order.entity_id, **order.by)
    order.note(dao.circuit_breakers, row.id)
