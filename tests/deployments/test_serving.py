"""`acms serve`: deployments without a pool and without a worker, until it is told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest
from faults import ACMS, until
from prefect.settings import PREFECT_API_URL
from prefect_side import asked

from prefect_acms.deployments.catalog import deployable
from prefect_acms.deployments.deploying import deployed

PATIENCE_SEC = 90


@pytest.mark.usefixtures("no_deployments")
def test_a_run_of_a_served_deployment_is_carried_out(tmp_path: Path) -> None:
    """By a process beside it; SIGTERM ends it well, as a service manager wants it."""
    url, log = PREFECT_API_URL.value(), tmp_path / "serve.log"
    assert url is not None
    env = os.environ | {"PREFECT_API_URL": url, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with log.open("wb") as sink:
        command = [*ACMS, "serve", "--only", "watch"]
        process = subprocess.Popen(command, env=env, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        served = until(lambda: _served(log), "it serves", PATIENCE_SEC)
        made = asked(lambda client: client.create_flow_run_from_deployment(served))
        until(lambda: _name_of_state(made.id) == "Completed", "the run is done", PATIENCE_SEC)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert log.read_text().rstrip().endswith("Stopped.")


def _served(log: Path) -> UUID | None:
    if "Serving 1 deployment until" not in log.read_text():
        return None
    found = asked(lambda client: deployed(client, deployable("watch")))
    return found.id if found is not None and found.work_pool_name is None else None


def _name_of_state(flow_run_id: UUID) -> str | None:
    state = asked(lambda client: client.read_flow_run(flow_run_id)).state
    return state.name if state else None
