"""The order about a run: to quarantine it, whoever drives it."""

from __future__ import annotations

from collections.abc import Sequence

from prefect_acms.canonical.events import Event
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.run import RunState, RunTrigger
from prefect_acms.dao.store import Store
from prefect_acms.tasks.closing import close_run
from prefect_acms.tasks.driving import drive_run, release_run
from prefect_acms.tasks.ending import end_run
from prefect_acms.tasks.orders import Order


def quarantine_run(store: Store, order: Order) -> Sequence[Event]:
    """Quarantine a running run: it is taken over, its tools are stopped, its children end first.

    Raises InvalidTransition, and changes nothing, for a run that has not started or has ended.
    """
    _require_running(store, order)
    events: list[Event] = []
    drive = drive_run(order.entity_id, database=store.url, force=True)
    unsubscribe = drive.store.subscribe(events.extend)
    try:
        end_run(
            drive,
            RunTrigger.SAFETY_VIOLATION,
            order.reason,
            operator=order.operator,
            tell=lambda dao: order.note(dao.runs, drive.run_id),
        )
        drive.folder.mkdir(parents=True, exist_ok=True)
        close_run(drive)
    finally:
        unsubscribe()
        release_run(drive)
    mine = [event for event in events if event.context.run_id == drive.run_id]
    if not any(event.to_state == RunState.QUARANTINED for event in mine):
        # it has ended by itself meanwhile
        _require_running(store, order)
    return mine


def _require_running(store: Store, order: Order) -> None:
    with store.begin(read_only=True) as dao:
        state = dao.runs.get(order.entity_id).state
    MACHINES["run"].candidates(order.entity_id, state, RunTrigger.SAFETY_VIOLATION)
