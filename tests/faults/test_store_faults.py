"""The store is locked, full, or has a clock that goes back: nothing is lost, and nothing is told that is not so."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from disks import small_disk
from faults import Site

from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.canonical.events import Event
from prefect_acms.dao.store import open_store
from prefect_acms.flows.pipeline import run_pipeline
from prefect_acms.tasks import driving

pytestmark = pytest.mark.usefixtures("prefect_server")

LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few megabytes."""
    with small_disk(tmp_path / "disk", megabytes=16) as folder:
        yield folder


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """A block during which not a byte is left on the disk."""
    rest = disk / "rest"
    with rest.open("wb", buffering=0) as sink:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    sink.write(b"x" * size)
        yield
    rest.unlink()


def _campaign(*values: str) -> object:
    return pytest.param(*values, marks=pytest.mark.campaign)


@pytest.mark.parametrize(
    ("holds", "hangs_in"),
    [
        ("home", "gate"),
        _campaign("home", "discovery"),
        _campaign("home", "tool"),
        _campaign("repository", "discovery"),
        _campaign("repository", "tool"),
        _campaign("repository", "gate"),
    ],
)
def test_a_full_disk_stops_the_run_and_nothing_else(
    disk: Path, site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch, holds: str, hangs_in: str
) -> None:
    """The run stops as it is, without a lie; once there is room again, it goes on and succeeds."""
    here = site(hangs_in=hangs_in, **{holds: disk / holds})
    options = {"discovery": ("--source", "pytest"), "tool": ("--tool-file", str(here.tool_file))}.get(hangs_in, ())
    driver = here.run_it(*options)
    here.wait_for_mark()
    with full(disk):
        here.release()
        stopped = here.ended(driver)
    assert stopped.code not in {0, 130}, stopped
    assert here.run.state == "running", here.run.error
    here.assert_nothing_lies()
    monkeypatch.setenv("ACMS_HOME", str(here.home))
    assert here.resume() == 0
    here.assert_succeeded(here.run)


@pytest.mark.parametrize(
    "seconds", [5, pytest.param(30, marks=pytest.mark.campaign), pytest.param(45, marks=pytest.mark.campaign)]
)
def test_a_run_waits_for_a_locked_database(site: Callable[..., Site], seconds: int) -> None:
    """Another process holds the write lock for so long in the middle of the run: it goes on, and succeeds."""
    here = site()
    driver = here.run_it()
    here.wait_for_mark()
    command = [sys.executable, "-c", LOCK, str(here.home / "canonical.db"), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as lock:
        assert lock.stdout is not None
        assert lock.stdout.readline() == "locked\n"
        began = time.monotonic()
        here.release()
        ended = here.ended(driver)
        took = time.monotonic() - began
    assert ended.code == 0, ended
    assert took >= seconds
    here.assert_succeeded(here.run)


@pytest.mark.parametrize(
    "moment",
    [
        "retrying",
        pytest.param("running", marks=pytest.mark.campaign),
        pytest.param("completed", marks=pytest.mark.campaign),
    ],
)
def test_a_clock_that_is_set_back_by_an_hour_delays_and_ends_nothing(
    site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """While a task is in that state: its retry comes as soon as it would have, and the trail stays in order."""
    here = site(hangs_in="nothing")
    here.use_tool(f"p = pathlib.Path({str(here.mark)!r})\nif not p.exists(): p.touch(); sys.exit(9)\n")
    back: list[timedelta] = []
    store = open_store(here.url, clock=lambda: datetime.now(UTC) - sum(back, timedelta()))
    monkeypatch.setitem(driving._STORES, here.url, store)

    def set_back(events: Sequence[Event]) -> None:
        if not back and any(event.entity_type == "task" and event.to_state == moment for event in events):
            back.append(timedelta(hours=1))

    config = PipelineConfig.model_validate(here.config(execution={"tool_files": [str(here.tool_file)]}))
    began = time.monotonic()
    outcome = run_pipeline(config, set_back)
    took = time.monotonic() - began
    assert back
    assert outcome.exit_code == 0
    assert took < 60
    with store.begin(read_only=True) as dao:
        assert dao.runs.get(outcome.run_id).lease_expires_at is None
        trail = dao.transitions.of_run(outcome.run_id)
    told = {row.entity_id: [own.transitioned_at for own in trail if own.entity_id == row.entity_id] for row in trail}
    assert all(times == sorted(times) for times in told.values())
    assert [row.chain_seq for row in trail] == list(range(1, len(trail) + 1))
    here.assert_succeeded(here.run)
