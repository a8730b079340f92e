"""What Prefect missed of a run, sent later: once, and only what an automation may wait for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from faults import until
from prefect.client.orchestration import get_client
from prefect.events.filters import EventFilter, EventIDFilter
from prefect_side import asked

from prefect_acms.canonical.events import Notice
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store, open_store
from prefect_acms.tasks.event_sending import post_events
from prefect_acms.tasks.missing_events import send_missing
from prefect_acms.tasks.prefect_events import prefect_event, prefect_id
from prefect_acms.tasks.reconciling import reconcile_here


class Cut:
    """A run that was quarantined an hour ago, of which the server has only the first event."""

    def __init__(self, url: str) -> None:
        hour = timedelta(hours=1)
        store = open_store(url, clock=lambda: datetime.now(UTC) - hour)
        told: list[Any] = []
        store.subscribe(told.extend)
        with store.begin() as dao:
            run = dao.runs.create(repo_root="/srv/shop", config={})
            dao.gaps.create(run_id=run.id, source="ruff", rule_id="F401", title="a", category="style", fingerprint="a")
            dao.runs.advance(run.id, RunTrigger.RUN_STARTED)
            dao.runs.note(run.id, Notice.GUARDRAIL_VIOLATION, reason="it wrote outside")
            dao.runs.advance(run.id, RunTrigger.SAFETY_VIOLATION, quarantine_reason="it wrote outside")
        self.run_id = run.id
        self.ids = [prefect_id(event.event_id) for event in told]
        with get_client(sync_client=True) as client:
            post_events(client, [prefect_event(told[0], run, store.scrubber)])
        until(lambda: len(self.there()) == 1, "the first event is there", 30)

    def there(self) -> list[str]:
        """What the server has of it, in order."""
        wanted = EventFilter(id=EventIDFilter(id=self.ids))
        found = asked(lambda client: client.read_events(wanted, limit=50)).events
        return [event.event for event in sorted(found, key=lambda event: self.ids.index(event.id))]


def sent(store: Store, run: RunRow) -> int:
    """How many are sent."""
    return asked(lambda client: send_missing(client, store, run))


@pytest.mark.usefixtures("prefect_server")
def test_reconciliation_sends_what_a_killed_process_has_not(canonical_url: str) -> None:
    """All but what nobody waits for, while it is news; a second time there is nothing to send."""
    cut = Cut(canonical_url)
    store = open_store(canonical_url)
    with store.begin(read_only=True) as dao:
        run = dao.runs.get(cut.run_id)
    late = open_store(canonical_url, clock=lambda: datetime.now(UTC) + timedelta(days=2))
    assert sent(late, run) == 0
    reconcile_here(store)
    loud = ["acms.run.pending", "acms.run.running", "acms.run.guardrail_violation", "acms.run.quarantined"]
    until(lambda: cut.there() == loud, "what was missed is there", 30)
    assert sent(store, run) == 0


@pytest.mark.usefixtures("prefect_server")
def test_what_was_told_just_now_is_left_to_who_has_told_it(canonical_url: str) -> None:
    """A reconciliation tells drifts, whose events its own process sends: the server bears none of them twice."""
    cut = Cut(canonical_url)
    store = open_store(canonical_url)
    with store.begin() as dao:
        dao.runs.note(cut.run_id, Notice.DRIFT_DETECTED, reason="a drift")
        run = dao.runs.get(cut.run_id)
    assert sent(store, run) == 3
