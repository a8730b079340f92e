"""The Retry button of Prefect's UI: the same flow run again, which goes on with its run or begins a new one."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

import pytest
from faults import Site, alive, until
from prefect_side import Pool, Worker, flow_run, retry, trigger, until_final

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_a_retry_of_a_crashed_attempt_goes_on_with_its_run(
    site: Callable[..., Site], pool: Pool, worker: Callable[..., Worker]
) -> None:
    """SIGKILL of the flow's process alone: Prefect says Crashed; the second attempt drives the same run to its end."""
    here, mine = site(), worker()
    flow_run_id = trigger(pool.deployment, here.config(), here.environment)
    pids = here.wait_for_mark()
    first = here.run
    os.kill(first.info["driver"]["pid"], signal.SIGKILL)
    assert until_final(flow_run_id).is_crashed(), mine.told()
    assert here.run.state == "running"
    here.release()
    retry(flow_run_id)
    until(lambda: flow_run(flow_run_id).run_count == 2, "the second attempt has begun")
    assert until_final(flow_run_id).is_completed(), mine.told()
    assert [pid for pid in pids if alive(pid)] == []
    assert here.run.id == first.id
    counts = [(attempt["flow_run_id"], attempt["run_count"]) for attempt in here.run.info["attempts"]]
    assert counts == [(str(flow_run_id), 1), (str(flow_run_id), 2)]
    until(lambda: here.processes() == [], "nothing of it runs")
    here.assert_succeeded(here.run)


@pytest.mark.campaign
def test_a_retry_of_a_failed_run_begins_a_new_one(
    site: Callable[..., Site], pool: Pool, worker: Callable[..., Worker]
) -> None:
    """A setup command that fails once: the second attempt is another run, that says of which it is the retry."""
    here, mine = site(hangs_in="nothing"), worker()
    once = here.folder / "once.py"
    once.write_text(
        f"import pathlib, sys\np = pathlib.Path({str(here.mark)!r})\nif not p.exists(): p.touch(); sys.exit(9)\n"
    )
    config = here.config(environment={"setup": [[sys.executable, str(once)]]})
    flow_run_id = trigger(pool.deployment, config, here.environment)
    assert until_final(flow_run_id).is_failed(), mine.told()
    failed = here.run
    assert failed.state == "failed"
    retry(flow_run_id)
    until(lambda: flow_run(flow_run_id).run_count == 2, "the second attempt has begun")
    assert until_final(flow_run_id).is_completed(), mine.told()
    assert here.run.id != failed.id
    assert here.run.info["retry_of"] == failed.id
    with here.store.begin(read_only=True) as dao:
        assert dao.runs.get(failed.id).state == "failed"
    here.assert_succeeded(here.run)
