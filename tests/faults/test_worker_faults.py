"""The Prefect worker ends, with or without its runs: Prefect is told the truth, and the runs go on by `acms resume`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import psutil
import pytest
from faults import Site, alive
from prefect_side import Pool, Worker, state_of, trigger
from sqlalchemy import select

from prefect_acms.dao.store import open_store
from prefect_acms.dao.workers import WorkerRow

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.mark.parametrize("hangs_in", ["gate", pytest.param("tool", marks=pytest.mark.campaign)])
def test_a_worker_that_is_told_to_stop_puts_its_runs_right(
    site: Callable[..., Site], pool: Pool, worker: Callable[..., Worker], hangs_in: str
) -> None:
    """SIGTERM of the worker: what its run was running ends, Prefect says Crashed, and the run can be resumed."""
    here, mine = site(hangs_in=hangs_in), worker()
    execution = {"tool_files": [str(here.tool_file)]} if hangs_in == "tool" else {}
    flow_run_id = trigger(pool.deployment, here.config(execution=execution), here.environment)
    pids = here.wait_for_mark()
    mine.stop()
    assert state_of(flow_run_id).is_crashed(), mine.told()
    assert [pid for pid in pids if alive(pid)] == []
    assert (here.run.state, here.run.lease_expires_at) == ("running", None)
    here.assert_put_away()
    with open_store(mine.store_url).begin(read_only=True) as dao:
        rows = list(dao.session.scalars(select(WorkerRow)))
    assert [(row.worker_type, row.run_id, row.state) for row in rows] == [("acms", None, "shutdown")]
    here.release()
    assert here.resume() == 0
    here.assert_succeeded(here.run)


@pytest.mark.campaign
def test_a_worker_that_is_killed_together_with_its_run_leaves_a_run_that_can_be_resumed(
    site: Callable[..., Site], pool: Pool, worker: Callable[..., Worker]
) -> None:
    """SIGKILL of both: no hook fires, so Prefect goes on saying Running; the tools that outlived it are stopped."""
    here, mine = site(), worker()
    flow_run_id = trigger(pool.deployment, here.config(), here.environment)
    pids = here.wait_for_mark()
    driver = here.run.info["driver"]["pid"]
    assert driver in [child.pid for child in psutil.Process(mine.process.pid).children(recursive=True)]
    for pid in (mine.process.pid, driver):
        os.kill(pid, signal.SIGKILL)
    mine.kill()
    assert all(alive(pid) for pid in pids)
    assert state_of(flow_run_id).is_running()
    assert here.run.state == "running"
    here.release()
    assert here.resume() == 0
    assert [pid for pid in pids if alive(pid)] == []
    here.assert_succeeded(here.run)
