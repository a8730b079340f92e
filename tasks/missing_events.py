"""Events that the Prefect server missed of a run that nobody drives any more, sent later: those that matter most."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.events.filters import EventFilter, EventIDFilter, EventOccurredFilter

from prefect_acms.canonical.clock import utc_moment, utc_text
from prefect_acms.canonical.events import Event
from prefect_acms.dao.lines import event_of, trail
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store
from prefect_acms.tasks.event_sending import settings_of
from prefect_acms.tasks.prefect_events import is_loud, prefect_event, prefect_id

PAGE = 50
"""Events that are asked for at once: the most that a server gives."""

RECENT = timedelta(days=1)
"""How old an event may be that is sent later: the server forgets old ones, and those must not come again."""

UNDERWAY = timedelta(minutes=1)
"""How long an event may be on its way: what was told just now, as by a reconciliation, its own process sends."""

_log = logging.getLogger(__name__)


async def send_missing(client: PrefectClient, store: Store, run: RunRow) -> int:
    """Send what an automation may wait for and the server has not; how many events that were.

    Only for a run whose events have had the time to be written, or they would be sent twice, which the server does not
    bear. Done twice, the second time finds nothing.
    """
    if not settings_of(run).enabled:
        return 0
    oldest, newest = utc_text(store.clock() - RECENT), utc_text(store.clock() - UNDERWAY)
    with store.begin(read_only=True) as dao:
        told = map(event_of, trail(dao.connection, run.id))
        loud = [event for event in told if is_loud(event) and oldest < event.timestamp < newest]
    sent = 0
    for start in range(0, len(loud), PAGE):
        page = loud[start : start + PAGE]
        known = await _known(client, page, run)
        missing = [event for event in page if prefect_id(event.event_id) not in known]
        if missing:
            made = [prefect_event(event, run, store.scrubber) for event in missing]
            await client.request("POST", "/events", json=[event.model_dump(mode="json") for event in made])
            sent += len(missing)
    if sent:
        _log.info("Prefect was sent %d events of %s that it had missed", sent, run.id)
    return sent


async def _known(client: PrefectClient, events: Sequence[Event], run: RunRow) -> set[UUID]:
    wanted = EventFilter(
        occurred=EventOccurredFilter(since=utc_moment(run.created_at)),
        id=EventIDFilter(id=[prefect_id(event.event_id) for event in events]),
    )
    page = await client.read_events(wanted, limit=PAGE)
    return {event.id for event in page.events}
