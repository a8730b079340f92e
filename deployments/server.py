"""A Prefect server of our own: with the settings that suit a run, in a process that is ended with the one it serves."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing

import httpx

from prefect_acms.canonical.errors import AddressUnfit, ServerUnnamed
from prefect_acms.canonical.outside_errors import ServerFailed
from prefect_acms.dao.home import acms_home, require_home

HOST = "127.0.0.1"
PORT = 4200

START_SEC = 180.0
"""Seconds that a start may take: the first one makes the database, 4 to 12 s where nothing else runs."""

STOP_SEC = 15.0
"""Seconds between SIGTERM and SIGKILL."""

_LOOK_SEC = 0.1
_CLOSE_SEC = 3
"""Seconds that open connections (a browser, a worker) hold up the end."""

_SUITS_US = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # a third of the time for each task run
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    # those in memory are lost with a restart, which crashed runs that were under way
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
}
"""What the server is told where the caller's environment says nothing."""

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what a caller may ask for, not what we listen on


def local_url(host: str, port: int) -> str:
    """The address at which processes of this machine reach a server that listens there."""
    name = _EVERYWHERE.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


def server_command(host: str, port: int) -> list[str]:
    """The command line of the server: what `prefect server start` does, without a second of imports for its command."""
    return [
        sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app",
        "--host", host, "--port", str(port), "--timeout-keep-alive", "5",
        "--timeout-graceful-shutdown", str(_CLOSE_SEC), "--log-level", "warning",
    ]  # fmt: skip


def server_environment(host: str, port: int) -> dict[str, str]:
    """Its environment: the caller's, and what suits us; the UI asks the server at the port that it has."""
    api = f"{local_url(host, port)}/api"
    own = {"PREFECT_API_URL": api, "PREFECT__SERVER_FINAL": "1"}
    return {"PREFECT_SERVER_UI_API_URL": api} | _SUITS_US | os.environ | own


def require_address(host: str, port: int) -> None:
    """Raise AddressUnfit where a server can't listen; where a Prefect server does, it says how to use that one."""
    try:
        family, kind, _protocol, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with closing(socket.socket(family, kind)) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except (OSError, UnicodeError) as error:
        # a name that can be no host's does not even get as far as being looked up
        problem = getattr(error, "strerror", None) or str(error)
        if _is_prefect(host, port):
            problem = (
                f"a Prefect server is there already, which PREFECT_API_URL={local_url(host, port)}/api would use;"
                " --port chooses another port"
            )
        raise AddressUnfit(host=host, port=port, problem=problem) from None


def require_named_server(what: str) -> None:
    """Raise ServerUnnamed when PREFECT_API_URL names no server, and ServerUnavailable when that does not answer."""
    from prefect.settings import PREFECT_API_URL

    from prefect_acms.tasks.prefect_server import require_server

    if not PREFECT_API_URL.value():
        raise ServerUnnamed(what=what)
    require_server()


def _is_prefect(host: str, port: int) -> bool:
    try:
        answer = httpx.get(f"{local_url(host, port)}/api/health", timeout=2)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError):
        return False
    return answer.status_code == httpx.codes.OK and answer.text == "true"


class Server:
    """A Prefect server in a process that no Ctrl-C in the terminal reaches, so that it is ended after its worker."""

    def __init__(self, host: str = HOST, port: int = PORT) -> None:
        require_address(host, port)
        require_home()
        self.url = local_url(host, port)
        self.log = acms_home() / f"prefect-server-{port}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                server_command(host, port),
                env=server_environment(host, port),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def api_url(self) -> str:
        """What PREFECT_API_URL is for this server."""
        return f"{self.url}/api"

    async def ready(self) -> None:
        """Wait until it answers; raises ServerFailed when it ends before, or takes too long."""
        end = time.monotonic() + START_SEC
        async with httpx.AsyncClient(timeout=2) as client:
            while time.monotonic() < end:
                self.require_alive()
                try:
                    answer = await client.get(f"{self.api_url}/health")
                except httpx.HTTPError:
                    answer = None
                if answer is not None and answer.is_success:
                    return
                await asyncio.sleep(_LOOK_SEC)
        raise ServerFailed(problem=f"did not answer within {START_SEC:.0f} s", log=self.log)

    def require_alive(self) -> None:
        """Raise ServerFailed when its process has ended."""
        code = self.process.poll()
        if code is not None:
            raise ServerFailed(problem=f"ended with exit code {code}", log=self.log)

    def stop(self) -> None:
        """End it and wait for its end, by force after a while."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SEC)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
