"""The client asks the store what the commands ask it, gives typed records, and writes nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from commands import Acms
from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run
from pydantic import BaseModel
from tried import Unanswered

from prefect_acms.canonical.circuit_breaker import CircuitBreakerTrigger
from prefect_acms.canonical.errors import InvalidValue, NotFound, StoreUnavailable, UnknownName
from prefect_acms.dao.store import open_store
from prefect_acms.deployments.client import AcmsClient

from .conftest import DIFF, Stored


def test_it_tells_what_the_commands_tell(acms: Acms, stored: Stored) -> None:
    """The same records, for a run that is meant by a part of its id."""
    with AcmsClient(stored.url) as client:
        asked: dict[tuple[str, ...], Sequence[BaseModel]] = {
            ("runs",): client.runs(),
            ("gaps", "latest"): client.gaps(),
            ("patches", stored.run): client.patches(stored.run[-8:]),
            ("quarantine", "list"): client.quarantined(),
        }
        assert client.summary().model_dump(mode="json") == json.loads(
            acms("show", "latest", "--json", "--database-url", stored.url).stdout
        )
        assert client.diff(stored.entry) == DIFF
        audit = client.verify(stored.run)
    for command, records in asked.items():
        told = json.loads(acms(*command, "--json", "--database-url", stored.url).stdout)
        (record,) = (record.model_dump(mode="json") for record in records)
        assert [{name: record[name] for name in told[0]}] == told
    told = json.loads(acms("audit", "verify", stored.run, "--json", "--database-url", stored.url).stdout)
    assert audit.model_dump(mode="json") == told


def test_it_filters_and_pages(tmp_path: Path, canonical_url: str) -> None:
    """Runs from the newest, others by position; what nobody can ask for is refused in a sentence."""
    repository = repository_of(tmp_path / "shop", {"a.py": "A = 1\n", "b.py": "B = 1\n"})
    for _ in range(3):
        started_run(repository, canonical_url)
    drive = started_run(repository, canonical_url)
    gaps = [a_gap("x", "a.py"), a_gap("y", "b.py", severity="high")]
    tasks = [
        a_task("ws-01/scan", gaps[:1]),
        a_task("ws-01/fix", gaps[:1], "ws-01/scan"),
        a_task("ws-02/scan", gaps[1:]),
    ]
    planned = Planned(drive, a_plan(drive, tasks, gaps, ws_02=["ws-01"]))
    planned.running("ws-01/scan")
    with drive.begin() as dao:
        breaker = dao.circuit_breakers.create(tool_id="ruff-fix", failure_threshold=1)
        dao.circuit_breakers.advance(breaker.id, CircuitBreakerTrigger.FAILURE_THRESHOLD_EXCEEDED, failure_count=1)
    client = AcmsClient(canonical_url)

    first = client.runs(limit=3)
    assert first[0].id == drive.run_id
    rest = client.runs(before=first[-1].id)
    assert len({run.id for run in [*first, *rest]}) == len(first) + len(rest) == 4
    assert client.runs(state="succeeded") == []
    assert len(client.runs(repository=repository)) == 4
    assert [gap.title for gap in client.gaps()] == ["y", "x"]
    assert [gap.title for gap in client.gaps(limit=1, offset=1)] == ["x"]
    assert [gap.title for gap in client.gaps(path="b.py", severity="high", state="planned")] == ["y"]
    assert [(task.key, task.state) for task in client.tasks(state="running")] == [("ws-01/scan", "running")]
    assert {row.key: row.depends_on for row in client.workstreams()}["ws-02"] == (planned.workstream("ws-01").id,)
    (busy,) = (worker for worker in client.workers() if worker.state == "busy")
    assert busy.task_id == planned.task("ws-01/scan").id
    assert client.workers(drive.run_id) == client.workers()
    (open_breaker,) = client.breakers()
    assert (open_breaker.tool_id, open_breaker.state) == ("ruff-fix", "OPEN")
    for ask, error in (
        (lambda: client.runs(limit=0), InvalidValue),
        (lambda: client.gaps(state="lost"), UnknownName),
        (lambda: client.tasks("nobody"), NotFound),
        (lambda: client.gates(offset=-1), InvalidValue),
    ):
        with pytest.raises(error):
            ask()


def test_events_are_handed_out_once_each(stored: Stored) -> None:
    """Asked again with the number of the last one, nothing is told twice and nothing is left out."""
    client = AcmsClient(stored.url)
    found, after = [], 0
    while page := client.events(after, run=stored.run, limit=2):
        found += page
        after = page[-1].transition_id
    everything = client.events()
    assert [event.event_id for event in found] == [row.event_id for row in everything if row.run_id == stored.run]
    assert everything[-1].transition_id == client.last_event()
    assert client.events(client.last_event()) == []


def test_a_waiting_patch_is_found_with_what_was_asked(tmp_path: Path, canonical_url: str) -> None:
    """With its review, and in the snapshot with its fate; that says of tasks and workstreams what the summary says."""
    unanswered = Unanswered(tmp_path, canonical_url)
    client = AcmsClient(canonical_url)
    (waiting,) = client.waiting()
    assert client.waiting(unanswered.drive.run_id) == [waiting] == [client.patch(waiting.id[-8:])]
    assert waiting.review is not None
    assert "+A = 2" in waiting.diff
    snapshot, summary = client.snapshot(), client.summary()
    (fate,) = snapshot.patches
    assert (fate.state, fate.expires_at) == ("awaiting_review", waiting.review.expires_at)
    assert fate.reason == "; ".join(waiting.review.reasons)
    assert snapshot.tasks == summary.tasks
    assert snapshot.workstreams == summary.workstreams


def test_it_serves_any_thread_and_writes_nothing(stored: Stored) -> None:
    """So async code asks it from a thread; a store that there is not is not made."""
    before = open_store(stored.url)
    with before.begin(read_only=True) as dao:
        rows = dao.transitions.last_id()

    async def ask() -> list[int]:
        with AcmsClient(stored.url) as client:
            counts = await asyncio.gather(*(asyncio.to_thread(client.gaps) for _ in range(3)))
        return [len(found) for found in counts]

    assert asyncio.run(ask()) == [1, 1, 1]
    assert AcmsClient(store=before).last_event() == rows


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """One sentence instead."""
    with pytest.raises(StoreUnavailable, match="there is none yet"):
        AcmsClient(f"sqlite:///{tmp_path / 'none.db'}")
    assert list(tmp_path.iterdir()) == []
