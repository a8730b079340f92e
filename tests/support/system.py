"""A system as `acms up` starts it: a Prefect server with its UI, a worker and the deployments, in its own homes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
from faults import ACMS, until
from ports import free_port
from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from sqlalchemy import select

from prefect_acms.dao.store import open_store
from prefect_acms.dao.workers import WorkerRow

T = TypeVar("T")
UP_SEC = 120.0


@dataclass(frozen=True)
class System:
    """What `acms up` has started: the UI's address, and the homes of everything."""

    address: str
    folder: Path

    def told(self) -> str:
        """What the command has printed so far."""
        return (self.folder / "up.log").read_text()

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which commands reach it."""
        return _homes(self.folder) | {"PREFECT_API_URL": f"{self.address}/api"}

    @property
    def store_url(self) -> str:
        """The store that everything in it shares."""
        return f"sqlite:///{self.folder / 'acms' / 'canonical.db'}"

    def asked(self, question: Callable[[PrefectClient], Awaitable[T]]) -> T:
        """What its server answers."""

        async def ask() -> T:
            with temporary_settings({PREFECT_API_URL: f"{self.address}/api"}):
                async with get_client() as client:
                    return await question(client)

        with ThreadPoolExecutor(1) as thread:  # Playwright's loop runs in the thread of the test
            return thread.submit(lambda: asyncio.run(ask())).result()

    def acms(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A command on a terminal beside it."""
        environment = self.environment | variables
        return subprocess.run(
            [*ACMS, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=120
        )

    def check_left(self) -> None:
        """After it was told to stop: the worker has signed off in the store."""
        store = open_store(self.store_url)
        with store.begin(read_only=True) as dao:
            states = {row.info.get("name"): row.state for row in dao.session.scalars(select(WorkerRow))}
        store.close()
        assert states["smoke"] == "shutdown"


def _homes(folder: Path) -> dict[str, str]:
    homes = {"ACMS_HOME": str(folder / "acms"), "PREFECT_HOME": str(folder / "prefect")}
    return os.environ | homes | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@contextmanager
def started(folder: Path, *options: str, server: str | None = None) -> Iterator[System]:
    """`acms up` on a free port, or beside the server at an address; told to stop, it must end and leave nothing."""
    address, log = server or f"http://127.0.0.1:{free_port()}", folder / "up.log"
    environment = {name: value for name, value in _homes(folder).items() if name != "PREFECT_API_URL"}
    environment |= {"PREFECT_API_URL": f"{server}/api"} if server else {}
    where = () if server else ("--port", address.rpartition(":")[2])
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*ACMS, "up", *where, "--name", "smoke", *options],
            env=environment | {"PREFECT_WORKER_QUERY_SECONDS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until(lambda: process.poll() is not None or "To stop:" in log.read_text(), "acms up is ready", UP_SEC)
        assert process.poll() is None, log.read_text()
        yield System(address, folder)
        children = psutil.Process(process.pid).children(recursive=True)
        assert bool(children) != bool(server)
        process.send_signal(signal.SIGINT)
        assert process.wait(UP_SEC) == 0, log.read_text()
        assert log.read_text().endswith("Stopped.\n")
        assert psutil.wait_procs(children, timeout=5)[1] == []
    finally:
        for left in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
            left.kill()
        process.kill()
        process.wait()
