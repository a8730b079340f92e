"""A system as `acms up` starts it: a Prefect server with its UI, a worker and the deployments, in its own homes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
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
from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

T = TypeVar("T")
UP_SEC = 120.0


@dataclass(frozen=True)
class System:
    """What `acms up` has started: the UI's address, and the homes of everything."""

    address: str
    folder: Path

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

    def acms(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command on a terminal beside it."""
        return subprocess.run(
            [*ACMS, *arguments], env=self.environment, capture_output=True, text=True, check=False, timeout=120
        )


def _homes(folder: Path) -> dict[str, str]:
    homes = {"ACMS_HOME": str(folder / "acms"), "PREFECT_HOME": str(folder / "prefect")}
    return os.environ | homes | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@contextmanager
def started(folder: Path) -> Iterator[System]:
    """`acms up` on a free port; told to stop, it must end well and leave nothing running."""
    address, log = f"http://127.0.0.1:{_free_port()}", folder / "up.log"
    environment = {name: value for name, value in _homes(folder).items() if name != "PREFECT_API_URL"}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*ACMS, "up", "--port", address.rpartition(":")[2]],
            env=environment | {"PREFECT_WORKER_QUERY_SECONDS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until(lambda: process.poll() is not None or "Work pool" in log.read_text(), "acms up has deployed", UP_SEC)
        assert process.poll() is None, log.read_text()
        yield System(address, folder)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(UP_SEC) == 0, log.read_text()
        assert [child for child in children if child.is_running()] == []
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
