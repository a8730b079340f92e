"""A Prefect worker in the store: it lives while it beats, and no task is ever given to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run

from prefect_acms.canonical.errors import GuardRefused
from prefect_acms.canonical.worker import WorkerTrigger
from prefect_acms.dao.store import Store, open_store
from prefect_acms.dao.workers import WorkerRow
from prefect_acms.tasks.presence import AFFINITY, WORKER_TYPE, Presence
from prefect_acms.tasks.sweeping import sweep


def _row(store: Store, worker_id: str) -> WorkerRow:
    with store.begin(read_only=True) as dao:
        return dao.workers.get(worker_id)


def test_a_worker_is_registered_by_its_first_beat_and_shut_down_at_its_end(canonical_url: str) -> None:
    """Of no run, idle, with the reason of its end in the trail; both may be told again."""
    store = open_store(canonical_url)
    presence = Presence("ann", "pool")
    worker_id = presence.beat(store)
    row = _row(store, worker_id)
    assert (row.worker_type, row.run_id, row.state, row.capabilities) == (WORKER_TYPE, None, "idle", [])
    assert row.info["name"] == "ann"
    assert presence.beat(store) == worker_id
    presence.end(store, "told to stop")
    presence.end(store, "told to stop")
    assert _row(store, worker_id).state == "shutdown"
    with store.begin(read_only=True) as dao:
        last = dao.transitions.of_entity("worker", worker_id)[-1]
    assert (last.trigger, last.reason) == ("shutdown_requested", "told to stop")


def test_a_worker_that_was_never_registered_ends_without_a_trace(canonical_url: str) -> None:
    """There is nothing to be shut down."""
    store = open_store(canonical_url)
    Presence("ann", "pool").end(store, "told to stop")
    with store.begin(read_only=True) as dao:
        assert dao.transitions.of_run("global") == []


def test_a_silent_worker_is_unresponsive_until_it_beats_again(canonical_url: str) -> None:
    """Unresponsive after 120 s, idle with its next beat; given up after 300 s, it is registered anew."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    store = open_store(canonical_url, clock=lambda: moment)
    presence = Presence("ann", "pool")
    worker_id = presence.beat(store)
    moment += timedelta(seconds=121)
    assert sweep(store).unresponsive == (worker_id,)
    assert presence.beat(store) == worker_id
    assert _row(store, worker_id).state == "idle"
    moment += timedelta(seconds=301)
    assert sweep(store).shut_down == (worker_id,)
    again = presence.beat(store)
    assert again != worker_id
    assert _row(store, again).state == "idle"


def test_a_worker_that_is_unresponsive_can_be_shut_down(canonical_url: str) -> None:
    """Its end is a sign of life."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    store = open_store(canonical_url, clock=lambda: moment)
    presence = Presence("ann", "pool")
    worker_id = presence.beat(store)
    moment += timedelta(seconds=121)
    sweep(store)
    presence.end(store, "told to stop")
    assert _row(store, worker_id).state == "shutdown"


def test_no_task_is_ever_given_to_a_prefect_worker(canonical_url: str, tmp_path: Path) -> None:
    """Not to the only idle one there is, not by its name, and not to a task that needs no capability."""
    drive = started_run(repository_of(tmp_path / "repository", {"a.py": "x = 1\n"}), canonical_url)
    gap = a_gap("one", "a.py")
    planned = Planned(drive, a_plan(drive, [a_task("ws/look", [gap], required_capabilities=())], [gap]))
    task = planned.queued("ws/look")
    worker_id = Presence("ann", "pool").beat(drive.store)
    with drive.begin() as dao:
        for slot in dao.workers.of_run(drive.run_id):
            dao.workers.advance(slot.id, WorkerTrigger.SHUTDOWN_REQUESTED)
    with pytest.raises(GuardRefused), drive.begin() as dao:
        dao.tasks.claim(task.id, run_id=drive.run_id)
    with pytest.raises(GuardRefused), drive.begin() as dao:
        dao.tasks.claim(task.id, worker_id=worker_id)
    assert _row(drive.store, worker_id).affinity == AFFINITY
    assert _row(drive.store, worker_id).state == "idle"
