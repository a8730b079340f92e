"""Prefect's side of runs, put right: what its books say is compared with the store, and the store wins."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)

from prefect_acms.canonical.errors import AcmsError, RunEnded, ServerUnavailable
from prefect_acms.dao.reconciling import RECONCILED
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.tasks.bridge import run_state
from prefect_acms.tasks.cancelling import cancel_run
from prefect_acms.tasks.drift import Drift, DriftKind
from prefect_acms.tasks.health import age_sec
from prefect_acms.tasks.prefect_books import Books, read_books
from prefect_acms.tasks.prefect_drift import compare
from prefect_acms.tasks.prefect_findings import Finding, Known, uuid_of
from prefect_acms.tasks.prefect_server import ANSWER_SEC, START_SEC, UNREACHABLE, problem_of, server_trouble
from prefect_acms.tasks.reports.text import count
from prefect_acms.tasks.run_files import refresh_files
from prefect_acms.tasks.standing import Standing, standing_of
from prefect_acms.tasks.suspension import suspension_of, wake
from prefect_acms.tasks.telling import OPERATOR, Found, known_of

EMBEDDED_START_SEC = 120.0
"""Seconds in which an embedded server has started, which on its first start migrates its database."""

ROWS_COME_SEC = 60.0
"""Seconds after which a task run that the server was told of has its row, if it ever gets one."""

MEND_SEC = 20.0
"""Seconds that putting one run right may take, for who has something else to do."""

_log = logging.getLogger(__name__)


def mend_prefect_here(run_id: str, store: Store) -> Sequence[Drift]:
    """The same as `mend_prefect`, in a thread that has no event loop."""
    return asyncio.run(mend_prefect(run_id, store))


async def mend_prefect(run_id: str, store: Store) -> Sequence[Drift]:
    """Put Prefect's side of one run right, as far as that is quickly done; the drifts that were found.

    Trouble with the server or the store is told in the log, and left to the next reconciliation.
    """
    found = Found(store)
    try:
        async with asyncio.timeout(MEND_SEC), answering(ANSWER_SEC) as client:
            with store.begin(read_only=True) as dao:
                run = dao.runs.get(run_id)
            await mend_runs(client, store, [run], found)
        if found.drifts and standing_of(run, store.clock()) is not Standing.DRIVEN:
            await asyncio.to_thread(refresh_files, store, run_id)
    except (*UNREACHABLE, AcmsError) as trouble:
        _log.warning("Prefect's side of run %s is left to a reconciliation: %s", run_id, problem_of(trouble))
    return found.drifts


@asynccontextmanager
async def answering(within: float = START_SEC) -> AsyncIterator[PrefectClient]:
    """A client of a server that has just answered, which repeats no request for long; raises ServerUnavailable."""
    trouble = await server_trouble(within if PREFECT_API_URL.value() else EMBEDDED_START_SEC)
    if trouble is not None:
        raise ServerUnavailable(url=PREFECT_API_URL.value() or "of this process", problem=problem_of(trouble))
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 1, PREFECT_API_REQUEST_TIMEOUT: START_SEC}):
        async with get_client() as client:
            yield client


async def mend_runs(client: PrefectClient, store: Store, runs: Sequence[RunRow], found: Found) -> None:
    """Compare these runs with Prefect, and repair what differs."""
    now = store.clock()
    with store.begin(read_only=True) as dao:
        known = [_known(dao, run) for run in runs]
        task_runs = {each.run.id: _countable(dao, each) for each in known}
    attempts = [attempt for each in known for attempt in each.attempts]
    books = await read_books(client, attempts, [task for ids in task_runs.values() for task in ids])
    canceled: set[str] = set()
    for each in known:
        for finding in compare(_with_tasks(store, each, books), books, now):
            if await _repair(client, store, each.run, finding, found) and finding.cancels:
                canceled.add(each.run.id)
        _tell_lost_tasks(each, task_runs[each.run.id], books.task_runs, found)
    if canceled:
        # What is below them is over only now.
        with store.begin(read_only=True) as dao:
            again = [dao.runs.get(run_id) for run_id in sorted(canceled)]
        await mend_runs(client, store, again, found)


def _known(dao: UnitOfWork, run: RunRow) -> Known:
    ids = {str(attempt["flow_run_id"]) for attempt in run.info.get("attempts", ())} | {str(run.prefect_flow_run_id)}
    newest = {flow_run_id: dao.runs.by_flow_run(flow_run_id) for flow_run_id in sorted(ids)}
    others = [uuid_of(flow_run_id) for flow_run_id, other in newest.items() if other is not None and other.id != run.id]
    standing, suspension = standing_of(run, dao.store.clock()), suspension_of(run)
    answered = suspension.answered(dao) if suspension else None
    return Known(
        run,
        standing,
        dao.phases.of_run(run.id),
        answered=answered.patch_id if answered else None,
        foreign=frozenset(other for other in others if other is not None),
    )


def _with_tasks(store: Store, known: Known, books: Books) -> Known:
    """The same run with its tasks, which few need."""
    below = [phase.id for attempt in known.attempts for phase in books.phases.get(attempt, ())]
    if not any(books.open_tasks.get(owner) for owner in (*known.attempts, *below)):
        return known
    with store.begin(read_only=True) as dao:
        return replace(known, tasks=dao.tasks.of_run(known.run.id))


def _countable(dao: UnitOfWork, known: Known) -> list[UUID]:
    """The task runs of a run that has ended long enough ago, unless they were counted before."""
    run = known.run
    if known.standing is not Standing.ENDED or RECONCILED in run.info or DriftKind.PREFECT_TASKS_LOST in known_of(run):
        return []
    if not rows_have_come(run, dao.store.clock()):
        return []
    ids = (uuid_of(task.prefect_task_run_id) for task in dao.tasks.of_run(run.id) if task.prefect_task_run_id)
    return [task_run_id for task_run_id in ids if task_run_id is not None]


def rows_have_come(run: RunRow, now: datetime) -> bool:
    """Whether a run ended so long ago that what Prefect has no rows of is lost."""
    return age_sec(run.completed_at or run.updated_at, now) > ROWS_COME_SEC


def _tell_lost_tasks(known: Known, asked: Sequence[UUID], exist: set[UUID], found: Found) -> None:
    lost = [task_run for task_run in asked if task_run not in exist]
    if lost:
        kind, run_id = DriftKind.PREFECT_TASKS_LOST, known.run.id
        told = count(len(lost), "task run")
        sentence = f"Prefect does not know {told} of the {len(asked)} of this run; the store has every one of them"
        found.tell(Drift.of(kind, run_id, told, sentence), kind)


async def _repair(client: PrefectClient, store: Store, seen: RunRow, finding: Finding, found: Found) -> bool:
    """Do what a finding asks for, unless the run has moved on since it was made; then the next pass looks again."""
    with store.begin(read_only=True) as dao:
        run = dao.runs.get(seen.id)
    if (run.epoch, run.state) != (seen.epoch, seen.state):
        return False
    flow_runs = finding.flow_runs
    if finding.cancels:
        try:
            run = await asyncio.to_thread(_cancelled, store, run, finding.drift.sentence)
        except (AcmsError, OSError) as problem:
            found.leave(run.id, finding.drift.entity, f"{finding.drift.sentence}; it can't be canceled: {problem}")
            return False
        flow_runs = [(flow_run_id, run_state(run)) for flow_run_id, _ in flow_runs]
    for flow_run_id, state in flow_runs:
        with _if_there():
            await client.set_flow_run_state(flow_run_id, state, force=True)
    for task_run_id, state in finding.task_runs:
        with _if_there():
            await client.set_task_run_state(task_run_id, state, force=True)
    if finding.wakes:
        woken = await asyncio.to_thread(wake, store, run.id)
        if woken is not None and not woken.goes_on:
            found.leave(run.id, finding.drift.entity, woken.sentence)
            return False
    found.tell(finding.drift, finding.key)
    return True


@contextmanager
def _if_there() -> Iterator[None]:
    """A block that asks for something that may have been deleted meanwhile."""
    with suppress(ObjectNotFound):
        try:
            yield
        except httpx.HTTPStatusError as refusal:
            if refusal.response.status_code != HTTPStatus.NOT_FOUND:
                raise


def _cancelled(store: Store, run: RunRow, reason: str) -> RunRow:
    try:
        return cancel_run(store, run.id, reason, operator=OPERATOR)
    except RunEnded:
        # It has ended by itself meanwhile, which is as well.
        with store.begin(read_only=True) as dao:
            return dao.runs.get(run.id)
