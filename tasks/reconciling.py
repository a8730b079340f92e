"""Reconciliation: every run compared with its files, with git and with Prefect, and put right where a rule allows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from prefect.client.orchestration import PrefectClient

from prefect_acms.canonical.clock import utc_text
from prefect_acms.canonical.errors import LostRace, ServerUnavailable
from prefect_acms.dao.reconciling import RECONCILED, runs_to_compare
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store
from prefect_acms.tasks.catching_up import tell_news
from prefect_acms.tasks.drift import Reconciliation
from prefect_acms.tasks.git_drift import worktrees_home
from prefect_acms.tasks.leavings import Leavings
from prefect_acms.tasks.missing_events import send_missing
from prefect_acms.tasks.prefect_mending import answering, mend_runs, rows_have_come
from prefect_acms.tasks.prefect_server import UNREACHABLE, problem_of
from prefect_acms.tasks.run_files import refresh_files
from prefect_acms.tasks.standing import Standing, standing_of
from prefect_acms.tasks.suspension import suspension_of
from prefect_acms.tasks.telling import Found

RECENT = timedelta(days=7)
"""For how long after its end a run is looked at in every pass; after that, once it was found in step, no more."""

AT_ONCE = 100
"""Runs about which Prefect is asked at once."""


async def reconcile(store: Store, run_id: str | None = None) -> Reconciliation:
    """Compare one run, or all that may differ, with its files, git and Prefect; repair and tell what differs.

    Each drift is an event of its run, told once. A run with a living driver is only reported about, unless Prefect was
    told to cancel it. Without the Prefect server the rest is done. Safe beside drivers and other reconciliations; done
    twice, the second time finds nothing. Raises NotFound for a run that there is not.
    """
    found = Found(store)
    runs = await asyncio.to_thread(_chosen, store, run_id)
    await asyncio.to_thread(_look_here, store, runs, found, everywhere=run_id is None)
    server = await _ask_prefect(store, _again(store, runs), found)
    return await asyncio.to_thread(_concluded, store, runs, found, server)


def reconcile_here(store: Store, run_id: str | None = None) -> Reconciliation:
    """The same, in a process that has no event loop."""
    return asyncio.run(reconcile(store, run_id))


def _chosen(store: Store, run_id: str | None) -> list[RunRow]:
    """The runs to look at: those that may differ, and those of which worktrees are left."""
    with store.begin(read_only=True) as dao:
        if run_id is not None:
            return [dao.runs.get(run_id)]
        chosen = {run.id: run for run in runs_to_compare(dao, utc_text(store.clock() - RECENT))}
        home = worktrees_home()
        left = sorted(path.name for path in home.iterdir()) if home.is_dir() else []
        rows = [dao.runs.find(name) for name in left if name not in chosen]
    return [*chosen.values(), *(row for row in rows if row is not None)]


def _again(store: Store, runs: Sequence[RunRow]) -> list[RunRow]:
    with store.begin(read_only=True) as dao:
        return [dao.runs.get(run.id) for run in runs]


def _look_here(store: Store, runs: Sequence[RunRow], found: Found, *, everywhere: bool) -> None:
    leavings = Leavings(store, found)
    leavings.look(runs)
    if everywhere:
        leavings.look_for_unknown()


async def _ask_prefect(store: Store, runs: Sequence[RunRow], found: Found) -> str | None:
    """Mend Prefect's side of the runs; what keeps us from that, in a few words."""
    try:
        if runs:
            async with answering() as client:
                for start in range(0, len(runs), AT_ONCE):
                    await mend_runs(client, store, runs[start : start + AT_ONCE], found)
                for run in runs:
                    await _send_events(client, store, run)
    except ServerUnavailable as trouble:
        return str(trouble.facts["problem"])
    except UNREACHABLE as trouble:
        return problem_of(trouble)
    return None


async def _send_events(client: PrefectClient, store: Store, run: RunRow) -> None:
    """Send what a process that is gone has not sent, once for each end of a run."""
    now = store.clock()
    is_driven = standing_of(run, now) is Standing.DRIVEN
    if not is_driven and rows_have_come(run, now) and run.info.get(RECONCILED) != run.state:
        await send_missing(client, store, run)


def _concluded(store: Store, runs: Sequence[RunRow], found: Found, server: str | None) -> Reconciliation:
    """Bring the files of the runs up to what was told about them, and remember which are in step."""
    told = {drift.run_id for drift in found.drifts}
    resumable: list[str] = []
    for run in _again(store, runs):
        standing = standing_of(run, store.clock())
        if standing is Standing.LEFT and suspension_of(run) is None:
            # one that is suspended goes on by itself, after an answer
            resumable.append(run.id)
        in_step = standing is Standing.ENDED and server is None and run.id not in found.open
        if in_step and rows_have_come(run, store.clock()) and run.info.get(RECONCILED) != run.state:
            # Somebody else has it in hand, or will look at it again.
            with suppress(LostRace), store.begin() as dao:
                dao.runs.change(run.id, metadata={RECONCILED: run.state})
        if run.id in told and standing is not Standing.DRIVEN:
            refresh_files(store, run.id)
    tell_news(store, [run.id for run in runs if standing_of(run, store.clock()) is not Standing.DRIVEN])
    return Reconciliation(
        looked_at=len(runs),
        drifts=tuple(found.drifts),
        left_alone=tuple(found.left_alone),
        resumable=tuple(resumable),
        server=server,
    )
