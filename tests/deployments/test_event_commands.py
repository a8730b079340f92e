"""Commands that change a state tell Prefect of it, and don't hang at their end when it is away."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from event_listener import EventListener
from operated import Rows

from prefect_acms.dao.store import open_store


@pytest.fixture
def rows(canonical_url: str) -> Rows:
    """A run that nobody drives, with a task that runs in it."""
    return Rows(open_store(canonical_url))


def failed_by_hand(rows: Rows, api_url: str) -> subprocess.CompletedProcess[str]:
    """`acms override fail-task`, with that server, in a process of its own."""
    task, _worker = rows.running(rows.stream())
    order = ("override", "fail-task", task, "--operator", "ada", "--reason", "it hangs")
    called = (sys.executable, "-c", "from prefect_acms.deployments.cli import main; main()", *order)
    return subprocess.run(
        [*called, "--database-url", rows.store.url],
        env=os.environ | {"PREFECT_API_URL": api_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_override_in_a_terminal_is_told(rows: Rows) -> None:
    """All that it has changed, in order, before the command ends."""
    with EventListener() as listener:
        done = failed_by_hand(rows, listener.api_url)
    assert (done.returncode, done.stderr) == (0, "")
    with rows.store.begin(read_only=True) as dao:
        trail = [row.event_id for row in dao.transitions.of_run(rows.run_id)]
    sent = [event["payload"]["event_id"] for event in listener.taken]
    assert "acms.task.manual_override" in listener.names()
    assert "acms.task.failed" in listener.names()
    assert sent == trail[-len(sent) :]


def test_a_server_that_is_away_is_no_trouble_to_a_command(rows: Rows) -> None:
    """It has done its work, says nothing of it, and ends soon."""
    began = time.monotonic()
    done = failed_by_hand(rows, "http://127.0.0.1:9/api")
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - began < 30
