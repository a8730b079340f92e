"""The Prefect server of a test session: on PostgreSQL where that is installed, otherwise Prefect's own test harness.

On SQLite a server that several load refuses a request now and then with 503, and its clients sleep for seconds before
they repeat it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import postgresql
from faults import until
from ports import free_port
from prefect.context import _temporary_global_settings_context, get_settings_context
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_DATABASE_CONNECTION_URL, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from prefect_acms.deployments.server import HOST, local_url, server_command, server_environment

START_SEC = 180.0


@contextmanager
def prefect_harness(cluster: str | None) -> Iterator[None]:
    """A server that this process uses, in a database of a PostgreSQL cluster or, without one, on SQLite."""
    if cluster is None:
        with prefect_test_harness(server_startup_timeout=int(START_SEC)):
            yield
    else:
        with postgresql.database(cluster, "prefect") as url, _served(url):
            yield


@contextmanager
def _served(url: str) -> Iterator[None]:
    port = free_port()
    database = url.replace("postgresql:", "postgresql+asyncpg:")
    process = subprocess.Popen(
        server_command(HOST, port),
        env=server_environment(HOST, port)
        | {"PREFECT_UI_ENABLED": "false", PREFECT_SERVER_DATABASE_CONNECTION_URL.name: database},
        stdin=subprocess.DEVNULL,
    )
    api_url = f"{local_url(HOST, port)}/api"
    used = {PREFECT_API_URL: api_url, PREFECT_SERVER_DATABASE_CONNECTION_URL: database}
    try:
        until(lambda: _answers(process, api_url), "the Prefect server answers", START_SEC)
        # threads that were started outside of any block have the process's settings, as in Prefect's own harness
        with temporary_settings(used), _temporary_global_settings_context(get_settings_context()):
            yield
            for worker in (APILogWorker, EventsWorker):
                worker.drain_all(timeout=20)
    finally:
        process.terminate()
        process.wait(START_SEC)


def _answers(process: subprocess.Popen[bytes], api_url: str) -> bool:
    assert process.poll() is None, f"the Prefect server has ended with {process.returncode}"
    try:
        return httpx.get(f"{api_url}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False
