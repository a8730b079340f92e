"""Suspended runs: nobody's process waits for the person; whoever records the answer tells Prefect to go on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.responses import SetStateStatus
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)
from pydantic import BaseModel, ConfigDict

from prefect_acms.canonical.events import Event
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.patch import PatchState
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.tasks.prefect_server import UNREACHABLE, problem_of
from prefect_acms.tasks.review_form import closing_answer
from prefect_acms.tasks.reviews import expire_reviews, is_due, review_of

SUSPENSION = "suspension"
"""Where a run keeps in its metadata that it is suspended."""

WAKE_SEC = 20.0
"""Seconds that one request to Prefect about an answer may take."""

RETRIES = 2
"""How often it is repeated, after 2 and 4 seconds: a server on SQLite is busy now and then."""

WAIT_SEC = 3600.0
"""Seconds that a run which goes on waits for another that has begun in its repository meanwhile."""

_log = logging.getLogger(__name__)


class Suspension(BaseModel):
    """How a run is suspended: the Prefect run that goes on after the answer, and the form that it asks with."""

    model_config = ConfigDict(frozen=True)

    flow_run_id: UUID
    api_url: str | None = None
    """Where that Prefect is."""
    key: str
    """The name of the form there."""
    entry_id: str
    """The patch that the form is about."""
    waiting: tuple[str, ...]
    """Every patch of the run that waits."""
    since: str

    @property
    def response(self) -> str:
        """The name of the answer to the form: Prefect makes it of the state's name and the form's."""
        return f"suspended-{self.key}-response"

    def answered(self, dao: UnitOfWork) -> LedgerRow | None:
        """The first of the patches that waits no longer, or whose time is over: then the run has something to do."""
        for entry in map(dao.ledger.get, self.waiting):
            if entry.state != PatchState.AWAITING_REVIEW or is_due(entry, dao.store.clock()):
                return entry
        return None


def suspension_of(run: RunRow) -> Suspension | None:
    """How the run is suspended, if it is."""
    stored = run.info.get(SUSPENSION)
    return None if stored is None or run.state in MACHINES["run"].terminal else Suspension.model_validate(stored)


def is_waiting(dao: UnitOfWork, run: RunRow) -> bool:
    """Whether a run is suspended, and none of its patches has been answered yet: then it is as it should be."""
    suspension = suspension_of(run)
    return suspension is not None and suspension.answered(dao) is None


def expire_and_wake(store: Store) -> Sequence[Event]:
    """Drop every patch whose review nobody has answered in time, and let the suspended runs of them go on."""
    events = expire_reviews(store)
    for run_id in sorted({event.context.run_id for event in events if event.context.run_id}):
        wake(store, run_id)
    return events


class Waking(NamedTuple):
    """What came of telling Prefect to go on with a run."""

    sentence: str
    goes_on: bool
    """Whether Prefect goes on with it, told now or before."""


def wake(store: Store, run_id: str) -> Waking | None:
    """Let Prefect go on with a suspended run of which a patch was answered; what came of it.

    None when the run is not suspended, or still waits. Prefect may be away: reconciliation tells it later.
    """
    with store.begin(read_only=True) as dao:
        suspension = suspension_of(dao.runs.get(run_id))
        if suspension is None or suspension.answered(dao) is None:
            return None
        said = closing_answer(review_of(dao.ledger.get(suspension.entry_id)))
    patience = {PREFECT_CLIENT_MAX_RETRIES: RETRIES, PREFECT_API_REQUEST_TIMEOUT: WAKE_SEC}
    here = PREFECT_API_URL.value() or suspension.api_url
    later = f"`acms reconcile` tells it, or `acms resume {run_id}` goes on here"
    if here is None:
        told = f"run {run_id} is suspended, and PREFECT_API_URL does not say where its Prefect server is: {later}"
        return Waking(told, goes_on=False)
    try:
        with temporary_settings({**patience, PREFECT_API_URL: here}), get_client(sync_client=True) as client:
            result = client.resume_flow_run(suspension.flow_run_id, run_input=said)
            if result.status is SetStateStatus.ACCEPT:
                return Waking(f"run {run_id} was suspended: Prefect goes on with it", goes_on=True)
            state = client.read_flow_run(suspension.flow_run_id).state
    except UNREACHABLE as problem:
        told = f"run {run_id} is suspended, and Prefect could not be told to go on: {problem_of(problem)}; {later}"
        _log.warning("%s", told)
        return Waking(told, goes_on=False)
    if state is not None and (state.is_scheduled() or state.is_pending() or state.is_running()):
        return Waking(f"run {run_id} was suspended: Prefect has been told already to go on with it", goes_on=True)
    name = state.name if state is not None else "no state"
    return Waking(f"run {run_id} is suspended, and Prefect, which says {name}, does not go on; {later}", goes_on=False)
