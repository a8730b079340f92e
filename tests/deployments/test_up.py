"""`acms up` as a person uses it: one command to a server that schedules, a worker that works, and a clean end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
import pytest
from commands import Acms
from faults import ACMS, until
from prefect.settings import PREFECT_API_URL
from sqlalchemy import select

from prefect_acms.dao.store import open_store
from prefect_acms.dao.workers import WorkerRow

START_SEC = 120


class Up(NamedTuple):
    """A running `acms up`, and what it is told and has said."""

    process: subprocess.Popen[bytes]
    port: int
    env: dict[str, str]
    log: Path

    def told(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")


@pytest.fixture
def up(tmp_path: Path, acms_home: Path) -> Iterator[Up]:
    """The command on a free port, with a server database and a store of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "ACMS_HOME": str(acms_home),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    log = tmp_path / "up.log"
    command = [*ACMS, "up", "--port", str(port), "--concurrency", "1", "--name", "smoke"]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, env=env, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield Up(process, port, env, log)
    finally:
        for left in [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []:
            left.kill()
        process.kill()
        process.wait()


def test_one_command_brings_all_up_and_takes_it_down_again(up: Up, acms: Acms, monkeypatch: pytest.MonkeyPatch) -> None:
    """The UI asks the right port, the scheduler makes runs, the worker does them; after Ctrl-C nothing is left.

    It is the smoke test of the pins too: with some versions the server does not start, or its scheduler makes no runs.
    """
    until(lambda: "To stop:" in up.told() or up.process.poll() is not None, "all is up", START_SEC)
    url = f"http://127.0.0.1:{up.port}"
    assert f"The Prefect UI:      {url}\n" in up.told()
    assert httpx.get(f"{url}/ui-settings").json()["api_url"] == f"{url}/api"

    monkeypatch.setenv("PREFECT_WORKER_QUERY_SECONDS", "2")  # as the command would have it from now on
    again = acms("up", "--port", str(up.port))
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert f"a Prefect server is there already, which PREFECT_API_URL={url}/api would use" in again.stderr

    sweep = httpx.get(f"{url}/api/deployments/name/acms-sweep/sweep").json()
    often = [{"active": True, "schedule": {"interval": 2}}]
    assert httpx.post(f"{url}/api/deployments/{sweep['id']}/schedules", json=often).status_code == httpx.codes.CREATED
    until(lambda: "sweep: Completed, nothing to sweep" in up.told(), "a run that the scheduler made is done", 90)

    children = psutil.Process(up.process.pid).children(recursive=True)
    assert children
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(60) == 0
    assert up.told().endswith("Stopped.\n")
    assert psutil.wait_procs(children, timeout=5)[1] == []
    with open_store(f"sqlite:///{up.env['ACMS_HOME']}/canonical.db").begin(read_only=True) as dao:
        states = {row.info["name"]: row.state for row in dao.session.scalars(select(WorkerRow))}
    assert states["smoke"] == "shutdown"


@pytest.mark.usefixtures("prefect_server")
def test_a_server_that_runs_already_is_used_and_left_running(tmp_path: Path) -> None:
    """No other one is started; pool, deployments and worker are added, and only the worker ends."""
    url, log = PREFECT_API_URL.value(), tmp_path / "up.log"
    assert url is not None
    env = os.environ | {"PREFECT_API_URL": url, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with log.open("wb") as sink:
        command = [*ACMS, "up", "--pool", "beside-another-server"]
        process = subprocess.Popen(command, env=env, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        until(lambda: "To stop:" in log.read_text() or process.poll() is not None, "all is up", START_SEC)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    told = log.read_text()
    assert "Starting a Prefect server" not in told
    assert "Work pool beside-another-server made" in told
    assert f"export PREFECT_API_URL={url}\n" in told
    assert told.endswith("Stopped.\n")
    assert httpx.get(f"{url}/work_pools/beside-another-server").json()["type"] == "acms"
