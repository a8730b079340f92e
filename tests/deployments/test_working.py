"""What listens or works until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import httpx
import pytest
from commands import Acms
from ports import free_port
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_WORKER_QUERY_SECONDS, temporary_settings

from prefect_acms.canonical.outside_errors import WorkerFailed
from prefect_acms.deployments.pools import pool_of_kind
from prefect_acms.deployments.server import Server
from prefect_acms.deployments.worker import AcmsWorker
from prefect_acms.deployments.working import told_to_stop, unless_told, work


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whatever_ends_the_command_ends_what_it_has_started(number: signal.Signals) -> None:
    """A terminal that is closed is no reason to leave a server behind, which is in a session of its own."""

    async def told() -> bool:
        async with told_to_stop() as stop:
            os.kill(os.getpid(), number)
            return await asyncio.wait_for(stop.wait(), 10)

    before = signal.getsignal(signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a test run may be under nohup
    try:
        assert asyncio.run(told())
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_start_that_hangs_is_given_up_when_told_to_stop() -> None:
    """Nobody waits for the longest time that a server may take."""

    async def given_up() -> tuple[bool, bool]:
        async with told_to_stop() as stop:
            asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
            hanging = await asyncio.wait_for(unless_told(stop, asyncio.sleep(180)), 10)
        return await unless_told(asyncio.Event(), asyncio.sleep(0)), hanging

    assert asyncio.run(given_up()) == (True, False)


@pytest.mark.usefixtures("prefect_server")
def test_a_server_that_goes_away_ends_the_worker_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a traceback nor what Prefect prints of its attempts."""
    refused = httpx.ConnectError("All connection attempts failed")

    async def away(_worker: AcmsWorker) -> None:
        raise refused

    async def worked() -> None:
        async with get_client() as client:
            await pool_of_kind(client, "left", "acms")
        monkeypatch.setattr(AcmsWorker, "get_and_submit_flow_runs", away)
        with temporary_settings({PREFECT_WORKER_QUERY_SECONDS: 0.001}):
            await work("left", name=None, limit=None, stop=asyncio.Event())

    with pytest.raises(WorkerFailed, match=r"^the worker failed: the Prefect server did not answer") as caught:
        asyncio.run(worked())
    assert caught.value.exit_code == 1
    assert capsys.readouterr().out == ""


def test_each_server_of_a_home_has_a_log_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The port is in its name, so that a second server leaves the first one's alone."""
    monkeypatch.setenv("ACMS_HOME", str(tmp_path))
    port = free_port()
    server = Server(port=port)
    server.stop()
    assert server.log == tmp_path / f"prefect-server-{port}.log"
    assert [path.name for path in tmp_path.glob("prefect-server*")] == [server.log.name]


def test_a_host_that_can_be_none_is_bad_input(acms: Acms, canonical_url: str) -> None:
    """One sentence, though Python refuses to look such a name up in a way of its own."""
    for command in (("server",), ("metrics", "--database-url", canonical_url)):
        for host in ("a..b", "x" * 70):
            done = acms(*command, "--host", host)
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
