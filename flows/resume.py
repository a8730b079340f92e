"""Resume: a run that lost its driver goes on from its rows; one that has ended is tidied up and told again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from prefect_acms.canonical.errors import RunDriven
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.dao.connections import told_by_environment
from prefect_acms.dao.runs import RunRow
from prefect_acms.flows.configure import begin_run
from prefect_acms.flows.course import repository_held, take_course
from prefect_acms.flows.foreground import Listener, await_here
from prefect_acms.flows.outcome import Outcome, outcome_of
from prefect_acms.flows.suspending import suspending, take_answer
from prefect_acms.tasks.artifacts import publish_name
from prefect_acms.tasks.bridge import (
    on_run_cancelled,
    on_run_completed,
    on_run_ended_badly,
    on_run_running,
    run_state,
)
from prefect_acms.tasks.closing import close_run
from prefect_acms.tasks.driving import Attempt, drive_run, release_run, shared_store
from prefect_acms.tasks.leases import driver_of, recorded_driver
from prefect_acms.tasks.prefect_mending import mend_prefect
from prefect_acms.tasks.recovery import completed_phases, recover
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.suspension import WAIT_SEC, suspension_of


@flow(
    name="acms-resume",
    flow_run_name="resume {run_id}",
    persist_result=False,
    on_running=[on_run_running],
    on_completion=[on_run_completed],
    on_failure=[on_run_ended_badly],
    on_crashed=[on_run_ended_badly],
    on_cancellation=[on_run_cancelled],
)
async def acms_resume(
    run_id: str, database_url: str | None = None, wait_sec: float = 0, *, take_over: bool = False
) -> State[Any]:
    """Go on with a run that lost its driver, from where its rows say that it is; the state and the Outcome are its own.

    The run may also be told by the id of the Prefect flow run that drives it, which is what Prefect knows of one that
    crashed. Raises NotFound for an unknown run, and RunDriven or RepositoryBusy when a living process drives it or
    works in its repository: `wait_sec` waits for the repository, `take_over` fences the driver off.
    """

    async def resumed() -> State[Any]:
        with shared_store(database_url).begin(read_only=True) as dao:
            run = dao.runs.find(run_id) or dao.runs.by_attempt(run_id) or dao.runs.get(run_id)
        return await go_on(run, database_url, wait_sec=wait_sec, force=take_over)

    return await suspending(resumed, lambda: shared_store(database_url))


async def go_on(run: RunRow, database_url: str | None, *, wait_sec: float, force: bool) -> State[Any]:
    """Take a run over as this Prefect run's, and drive it to its end."""
    store = shared_store(database_url)
    repository = Repository.open(Path(run.repo_root))
    before = recorded_driver(run)
    driver = driver_of(run, store.clock())
    if driver is not None and not force and driver.pid != os.getpid():
        raise RunDriven(run_id=run.id, pid=driver.pid, host=driver.host)
    # A process that let its lease expire may be stopped or hung: it is fenced off, so its lock need not be waited for.
    lives_here = before is not None and before.is_here and not before.is_dead
    if suspension_of(run) is not None:
        # While it was suspended, others might work in its repository, and they are not interrupted.
        wait_sec = max(wait_sec, WAIT_SEC)
    is_left = run.state not in MACHINES["run"].terminal and (force or run.lease_expires_at is not None)
    fenced_off = before.pid if before is not None and lives_here and is_left else None
    async with repository_held(store, repository, wait_sec, fenced_off):
        attempt = Attempt(str(flow_run.id), flow_run.run_count)
        with store.begin(read_only=True) as dao:
            run = dao.runs.get(run.id)
        if run.state in MACHINES["run"].terminal:
            return tidy_up(run, database_url)
        drive = drive_run(run.id, database=database_url, force=force, attempt=attempt)
        with drive.leased():
            recover(drive)
            await take_answer(drive)
            await mend_prefect(run.id, store)
            if "configure" not in completed_phases(drive):
                await begin_run(drive)
            await publish_name(drive)
            return await take_course(drive)


def tidy_up(run: RunRow, database_url: str | None) -> State[Any]:
    """What a run that has ended came to; what its driver had no time to put away is put away."""
    drive = drive_run(run.id, epoch=run.epoch, database=database_url)
    try:
        close_run(drive)
        return run_state(run, outcome_of(drive))
    finally:
        release_run(drive)


def resume_pipeline(
    run_id: str,
    database_url: str | None = None,
    store_listener: Listener | None = None,
    *,
    wait_sec: float = 0,
    take_over: bool = False,
) -> Outcome:
    """Resume a run in this process and wait for it; raises NotFound, RunDriven or RepositoryBusy."""
    with told_by_environment(database_url) as url:
        return await_here(
            acms_resume,
            run_id,
            url,
            database_url=url,
            listener=store_listener,
            wait_sec=wait_sec,
            take_over=take_over,
        )
