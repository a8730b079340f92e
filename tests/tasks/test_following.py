"""Followers of a store: in order, beside the commits, within bounds."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from prefect_acms.canonical.events import Event, Notice
from prefect_acms.dao.store import Store
from prefect_acms.tasks.following import Follower

PATIENCE_SEC = 20.0


@pytest.fixture
def run_id(store: Store) -> str:
    """A run that something can be noted about."""
    with store.begin() as dao:
        return dao.runs.create(repo_root="/a").id


def _note(store: Store, run_id: str, *reasons: str) -> None:
    with store.begin() as dao:
        for reason in reasons:
            dao.runs.note(run_id, Notice.DRIFT_DETECTED, reason=reason)


def test_each_commit_is_handed_on_whole_and_in_order(store: Store, run_id: str) -> None:
    """In a thread of its own, which has handled all of it once the follower is closed."""
    told: list[list[str | None]] = []
    threads: set[int] = set()

    def handle(events: Sequence[Event]) -> None:
        told.append([event.reason for event in events])
        threads.add(threading.get_ident())

    with Follower(store, handle, "test") as follower:
        _note(store, run_id, "a", "b")
        _note(store, run_id, "c")
    _note(store, run_id, "after the end")
    assert told == [["a", "b"], ["c"]]
    assert threads.isdisjoint({threading.get_ident()})
    assert follower.held_back == 0
    assert follower.close(), "closing it twice is as closing it once"


def test_what_many_threads_commit_comes_in_the_order_of_the_chain(store: Store, run_id: str) -> None:
    """A commit of another thread that nobody was told of yet is waited for at the end."""
    told: list[str] = []

    def commit() -> None:
        for number in range(10):
            _note(store, run_id, str(number))

    with Follower(store, lambda events: told.extend(event.event_id for event in events), "test"):
        threads = [threading.Thread(target=commit) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with store.begin(read_only=True) as dao:
        rows = dao.transitions.of_entity("run", run_id)
    assert told == [row.event_id for row in rows][1:]


def test_no_commit_waits_for_a_handler_that_hangs(store: Store, run_id: str) -> None:
    """There is room for so many events; the others are counted, and the end waits no longer than it is told to."""
    hangs, goes_on = threading.Event(), threading.Event()
    told: list[str | None] = []

    def handle(events: Sequence[Event]) -> None:
        told.extend(event.reason for event in events)
        hangs.set()
        goes_on.wait(PATIENCE_SEC)

    follower = Follower(store, handle, "test", room=3)
    _note(store, run_id, "taken")
    assert hangs.wait(PATIENCE_SEC)
    began = time.monotonic()
    for reasons in (["a", "b"], ["c", "too many"], ["c"], ["too many as well"]):
        _note(store, run_id, *reasons)
    assert follower.held_back == 3
    assert not follower.close(within_sec=0.2)
    assert time.monotonic() - began < PATIENCE_SEC / 4
    assert follower.held_back == 6
    goes_on.set()
    assert told == ["taken"]


def test_a_handler_that_fails_is_handed_the_next_commit(
    store: Store, run_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And the log says whose it was."""
    told: list[str | None] = []

    def handle(events: Sequence[Event]) -> None:
        if events[0].reason == "bad":
            raise ZeroDivisionError
        told.extend(event.reason for event in events)

    with Follower(store, handle, "the test's follower"):
        _note(store, run_id, "bad")
        _note(store, run_id, "good")
    assert told == ["good"]
    assert "the test's follower failed" in caplog.text
