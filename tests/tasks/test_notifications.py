"""Channels that are told beside a run: it waits for none of them, and a sweep tells what was left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from services import Service

from prefect_acms.blocks.notifications import NotificationSettings
from prefect_acms.canonical.events import Notice
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.dao.store import Store, open_store
from prefect_acms.tasks.marks import marks_of
from prefect_acms.tasks.notifications import Notifications
from prefect_acms.tasks.overrides import override
from prefect_acms.tasks.sweeping import sweep

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def service() -> Iterator[Service]:
    """A webhook."""
    with Service() as running:
        yield running


@pytest.fixture
def store(canonical_url: str) -> Iterator[Store]:
    """A store with the system's clock: threads wait by it."""
    opened = open_store(canonical_url, synchronous="NORMAL")
    yield opened
    opened.close()


def saved(name: str, url: str, **facts: Any) -> str:
    """A saved webhook, as configurations name it."""
    block = CustomWebhookNotificationBlock(name=name, url=url, json_data={"s": "{{subject}}", "t": "{{body}}"}, **facts)
    block.save(name, overwrite=True)
    return f"custom-webhook/{name}"


def started(store: Store, settings: NotificationSettings) -> str:
    """A run that goes on, with these notifications."""
    config = {"notifications": settings.model_dump(mode="json")}
    with store.begin() as dao:
        run = dao.runs.create(repo_root="/nowhere/shop", mode="full", config=config)
        dao.runs.advance(run.id, RunTrigger.RUN_STARTED)
    return run.id


def note(store: Store, run: str, reason: str) -> None:
    """Something that is a warning."""
    with store.begin() as dao:
        dao.runs.note(run, Notice.MANUAL_OVERRIDE, reason=reason, operator="mia")


def end(store: Store, run: str) -> None:
    """The end of a run, a bad one."""
    with store.begin() as dao:
        dao.runs.advance(run, RunTrigger.RUN_CRASHED, error="it broke", reason="it broke")


def waited_for(service: Service, number: int) -> None:
    """Wait until the service was asked so often."""
    until = time.monotonic() + 20
    while len(service.requests) < number:
        assert time.monotonic() < until, service.bodies
        time.sleep(0.01)


def test_a_run_is_told_while_it_goes_on_and_when_it_has_ended(store: Store, service: Service) -> None:
    """The first at once; what is held back by the window comes with the summary."""
    settings = NotificationSettings(channels=(saved("beside", service.url),))
    run = started(store, settings)

    async def course() -> None:
        async with Notifications(store, run, settings):
            note(store, run, "first")
            await asyncio.to_thread(waited_for, service, 1)
            note(store, run, "second")
            end(store, run)

    asyncio.run(course())
    first, last = (request.json for request in service.requests)
    assert "first" in first["t"]
    assert last["s"] == "acms: shop: failed, 0 of 0 gaps fixed"
    assert "second" in last["t"]


def test_the_window_ends_by_itself(store: Store, service: Service) -> None:
    """What was held back is sent when it is over, though nothing else happens."""
    settings = NotificationSettings(channels=(saved("beside", service.url),), throttle_sec=0.5)
    run = started(store, settings)
    notifications = Notifications(store, run, settings)
    notifications.start()
    note(store, run, "first")
    waited_for(service, 1)
    note(store, run, "second")
    waited_for(service, 2)
    assert notifications.close()


def test_a_channel_that_hangs_delays_nobody_and_a_sweep_tells_it(
    store: Store, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the run nor the other channel; closing takes as long as it may; nothing is lost."""
    monkeypatch.setattr("prefect_acms.tasks.marks.CLAIM_SEC", 0.0)
    with Service() as other:
        service.hangs = True
        slow = saved("slow", service.url, timeout=30)
        settings = NotificationSettings(channels=(slow, saved("quick", other.url)))
        run = started(store, settings)
        notifications = Notifications(store, run, settings)
        notifications.start()
        began = time.monotonic()
        note(store, run, "first")
        assert time.monotonic() - began < 1
        waited_for(service, 1)
        waited_for(other, 1)
        end(store, run)
        began = time.monotonic()
        assert not notifications.close(0.5)
        assert time.monotonic() - began < 2
        waited_for(other, 2)
    service.hangs = False
    service.requests.clear()
    sweep(store)
    (told,) = service.requests
    assert "first" in told.json["t"]
    assert told.json["s"].startswith("acms: shop: failed")
    service.let_go.set()
    assert notifications.close()
    sweep(store)
    assert len(service.requests) == 1, "who was cut off and comes late moves nothing back"


def test_a_channel_that_there_is_not_stops_nothing(
    store: Store, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, and the others are told; saved later, it is told by the next sweep."""
    settings = NotificationSettings(channels=("custom-webhook/later", saved("beside", service.url)))
    run = started(store, settings)
    notifications = Notifications(store, run, settings)
    notifications.start()
    note(store, run, "first")
    end(store, run)
    assert notifications.close()
    assert "there is no saved block 'custom-webhook/later'" in caplog.text
    assert len(service.requests) == 1
    with Service() as later:
        saved("later", later.url)
        sweep(store)
        sweep(store)
        (told,) = later.requests
    assert "first" in told.json["t"]
    assert len(service.requests) == 1


def test_what_a_command_does_is_told_by_the_command(store: Store, service: Service) -> None:
    """An override of a run that nobody drives: the channel hears of it before the command ends, or a sweep tells it."""
    settings = NotificationSettings(channels=(saved("beside", service.url),))
    run = started(store, settings)
    with store.begin() as dao:
        workstream = dao.workstreams.create(run_id=run, name="style").id
    service.statuses = [500]
    override(store, "skip-workstream", workstream, operator="mia", reason="it does odd things")
    assert len(service.requests) == 1
    with store.begin(read_only=True) as dao:
        (mark,) = marks_of(dao.runs.get(run)).values()
    assert "500" in (mark.problem or "")
    end(store, run)
    sweep(store)
    told = service.requests[1].json
    assert f"override by hand (skip-workstream of {workstream}) by mia: it does odd things" in told["t"]
    sweep(store)
    assert len(service.requests) == 2
