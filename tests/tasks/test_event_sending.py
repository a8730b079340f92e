"""The way of events to Prefect: every commit's, in order, within limits, and nothing waits for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
from event_listener import EventListener
from faults import until
from operated import Rows
from prefect.events.filters import EventFilter, EventIDFilter
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_side import asked

from prefect_acms.canonical.events import Notice
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.dao.store import Store, open_store
from prefect_acms.tasks.event_sending import LIMIT, SERVER, Sender, begin_sending, send_events
from prefect_acms.tasks.following import close_followers
from prefect_acms.tasks.prefect_events import HELD_BACK, prefect_id

SECRET = "sk-very-secret-0123456789"  # noqa: S105 - it is none


@pytest.fixture
def listener() -> Iterator[EventListener]:
    """A server that PREFECT_API_URL names."""
    with EventListener() as listener, temporary_settings({PREFECT_API_URL: listener.api_url}):
        yield listener


def run_of(store: Store, **settings: Any) -> str:
    """A run with these settings of its events."""
    with store.begin() as dao:
        return dao.runs.create(repo_root="/srv/shop", config={"repository": "/srv/shop", "events": settings}).id


def gaps(store: Store, run_id: str, number: int) -> None:
    """So many events of one commit that nobody waits for."""
    with store.begin() as dao:
        for name in range(number):
            dao.gaps.create(
                run_id=run_id,
                source="ruff",
                rule_id="F401",
                title="a",
                category="style",
                fingerprint=f"{number}-{name}",
            )


@pytest.mark.usefixtures("prefect_server")
def test_prefect_is_told_every_change_once_with_its_run_and_repository(canonical_url: str) -> None:
    """The real server has them by the ids that follow from ours, in order, each after the one before; no secret."""
    store = open_store(canonical_url, redact=lambda text: text.replace(SECRET, "[redacted]"))
    send_events(store)
    with store.begin() as dao:
        run_id = dao.runs.create(
            repo_root="/srv/shop", prefect_flow_run_id="7a2f7d3e-0000-4000-8000-000000000001", config={}
        ).id
    with store.begin() as dao:
        dao.runs.advance(run_id, RunTrigger.RUN_STARTED)
        dao.runs.note(run_id, Notice.RUN_DEGRADED, reason=f"the key is {SECRET}")
    close_followers()
    with store.begin(read_only=True) as dao:
        rows = dao.transitions.of_run(run_id)
    ids = [prefect_id(row.event_id) for row in rows]
    wanted = EventFilter(id=EventIDFilter(id=ids))

    def found() -> Any:
        page = asked(lambda client: client.read_events(wanted, limit=50))
        return page if len(page.events) == len(rows) else None

    events = sorted(until(found, "the events are there", 30).events, key=lambda event: ids.index(event.id))
    assert [event.event for event in events] == ["acms.run.pending", "acms.run.running", "acms.run.run_degraded"]
    assert [event.follows for event in events] == [None, *ids[:2]]
    related = {(resource.role, resource.id) for resource in events[0].related}
    assert related == {
        ("acms-repository", "/srv/shop"),
        ("flow-run", "prefect.flow-run.7a2f7d3e-0000-4000-8000-000000000001"),
    }
    assert events[2].resource.id == f"acms.run.{run_id}"
    assert events[2].payload["reason"] == "the key is [redacted]"
    assert events[2].payload["event_id"] == rows[2].event_id


def test_commits_are_sent_in_their_order_and_together(listener: EventListener, store: Store) -> None:
    """What comes within half a second goes in one request; one at most carries 200 events."""
    sender = Sender(store)
    rows = Rows(store)
    task, _worker = rows.running(rows.stream())
    gaps(store, rows.run_id, 210)
    assert sender.follower.close()
    with store.begin(read_only=True) as dao:
        trail = dao.transitions.of_run(rows.run_id)
    assert [event["payload"]["event_id"] for event in listener.taken] == [row.event_id for row in trail]
    assert listener.posts() < 5
    of_task = [event for event in listener.taken if event["resource"]["prefect.resource.id"] == f"acms.task.{task}"]
    assert [event["event"] for event in of_task] == ["acms.task.pending", "acms.task.queued", "acms.task.running"]
    assert [event["follows"] for event in of_task] == [None, of_task[0]["id"], of_task[1]["id"]]
    roles = {resource["prefect.resource.role"] for resource in of_task[2]["related"]}
    assert roles == {"acms-run", "acms-workstream", "acms-repository"}


def test_what_is_too_much_is_counted_and_the_count_is_told(listener: EventListener, store: Store) -> None:
    """When the limit lets go, and of another run at once; what an automation may wait for comes through."""
    sender = Sender(store)
    quiet, loud = run_of(store), run_of(store, burst=5, per_sec=0.001)
    gaps(store, loud, 10)
    gaps(store, quiet, 3)
    with store.begin() as dao:
        dao.runs.note(loud, Notice.BUDGET_EXCEEDED, reason="too much")
    assert sender.follower.close()
    of_loud = [event for event in listener.taken if event["payload"].get("context", {}).get("run_id") == loud]
    names = [event["event"] for event in of_loud]
    assert names == ["acms.run.pending", *["acms.gap.discovered"] * 4, "acms.run.budget_exceeded"]
    assert len([event for event in listener.taken if event["payload"].get("context", {}).get("run_id") == quiet]) == 4
    (count,) = (event for event in listener.taken if event["event"] == HELD_BACK)
    assert count["resource"]["prefect.resource.id"] == f"acms.run.{loud}"
    assert count["payload"] == {"count": 6, "reasons": {LIMIT: 6}}


def test_a_run_may_have_none(listener: EventListener, store: Store) -> None:
    """Its settings say so; nothing is counted for it."""
    sender = Sender(store)
    run_of(store, enabled=False)
    assert sender.follower.close()
    assert listener.taken == []


def test_a_server_in_trouble_is_left_alone_and_told_later_what_it_missed(listener: EventListener, store: Store) -> None:
    """No commit waits for it, no event is sent twice, and none says that it follows one that was never sent."""
    sender = Sender(store, away_sec=0.3)
    listener.status = HTTPStatus.INTERNAL_SERVER_ERROR
    began = time.monotonic()
    run_id = run_of(store)
    assert time.monotonic() - began < 0.5
    until(listener.posts, "it was asked")
    time.sleep(0.6)
    listener.status = HTTPStatus.OK
    with store.begin() as dao:
        dao.runs.advance(run_id, RunTrigger.RUN_STARTED)
    sender.follower.close()
    assert listener.names() == ["acms.run.running", HELD_BACK]
    assert listener.taken[0]["follows"] is None
    assert listener.taken[1]["payload"] == {"count": 1, "reasons": {SERVER: 1}}


def test_a_server_that_is_away_delays_no_end(store: Store) -> None:
    """Nobody listens at its address."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        sender = Sender(store)
        run_of(store)
        began = time.monotonic()
        sender.follower.close()
        assert time.monotonic() - began < 4


def test_without_a_server_to_tell_nothing_is_sent(store: Store) -> None:
    """Neither a URL nor a flow: the store's owner has no use for a thread."""
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert not begin_sending(store, ())
