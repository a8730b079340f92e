"""Overrides: what an operator may do by hand, always by the transition service and along legal edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict

from prefect_acms.canonical.events import NOTICES, Event, Notice
from prefect_acms.canonical.overrides import Override
from prefect_acms.dao.store import Store
from prefect_acms.tasks.catching_up import tell_news
from prefect_acms.tasks.orders import CarryOut, Order, in_one_unit, with_branch
from prefect_acms.tasks.patch_overrides import drop_patch, reset_breaker
from prefect_acms.tasks.rollbacks import rollback_patch
from prefect_acms.tasks.run_files import refresh_files
from prefect_acms.tasks.run_overrides import quarantine_run
from prefect_acms.tasks.task_overrides import complete_task, fail_task_by_hand, reset_task, unblock_task
from prefect_acms.tasks.workstream_overrides import fail_workstream, skip_workstream, validate_workstream

_WAYS: Mapping[Override, CarryOut] = MappingProxyType(
    {
        Override.COMPLETE_TASK: in_one_unit(complete_task),
        Override.FAIL_TASK: with_branch(fail_task_by_hand),
        Override.RESET_TASK: with_branch(reset_task),
        Override.UNBLOCK_TASK: in_one_unit(unblock_task),
        Override.SKIP_WORKSTREAM: in_one_unit(skip_workstream),
        Override.FAIL_WORKSTREAM: in_one_unit(fail_workstream),
        Override.VALIDATE_WORKSTREAM: validate_workstream,
        Override.ROLLBACK_PATCH: rollback_patch,
        Override.DROP_PATCH: in_one_unit(drop_patch),
        Override.RESET_BREAKER: in_one_unit(reset_breaker),
        Override.QUARANTINE_RUN: quarantine_run,
    }
)


class Change(BaseModel):
    """One state that an override has changed; `from_state` is None for what it has made."""

    model_config = ConfigDict(frozen=True)

    entity_type: str
    entity_id: str
    from_state: str | None
    to_state: str


class Overridden(BaseModel):
    """What an override has done, in order; the entity is the one that the order was about."""

    model_config = ConfigDict(frozen=True)

    action: str
    entity_type: str
    entity_id: str
    run_id: str | None
    operator: str
    reason: str
    changes: tuple[Change, ...]


def override(store: Store, action: str, entity_id: str, *, operator: str, reason: str) -> Overridden:
    """Carry out an order; raises UnknownName, InvalidValue, NotFound, RunDriven or a TransitionError.

    All of it is done or nothing. What the machines, guards and CHECKs refuse stays refused, whoever orders it. The
    trail gets a `manual_override` beside the transitions, all with the operator and the reason.
    """
    order = Order.of(action, entity_id, operator, reason)
    events = _WAYS[order.action](store, order)
    notice = next(event for event in events if event.trigger == Notice.MANUAL_OVERRIDE)
    run_id = notice.context.run_id
    if run_id is not None:
        refresh_files(store, run_id)
        tell_news(store, [run_id])
    return Overridden(
        action=order.action.value,
        entity_type=notice.entity_type,
        entity_id=notice.entity_id,
        run_id=run_id,
        operator=order.operator,
        reason=order.reason,
        changes=_changes(events),
    )


def _changes(events: Sequence[Event]) -> tuple[Change, ...]:
    return tuple(
        Change(
            entity_type=event.entity_type,
            entity_id=event.entity_id,
            from_state=event.from_state,
            to_state=event.to_state,
        )
        for event in events
        if event.trigger not in NOTICES
    )
