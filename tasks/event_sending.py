"""Sends the events of this process to the Prefect server: in order, beside the run, and never more than it may.

They don't go the way of Prefect's own events, which a flood of ours would delay. What can't be sent is counted, and the
count is an event itself; the database is the truth, and `acms reconcile` sends what an automation may still wait for.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.context import FlowRunContext, TaskRunContext
from prefect.events import Event as PrefectEvent
from prefect.settings import PREFECT_API_URL

from prefect_acms.blocks.events import EventSettings
from prefect_acms.canonical.errors import StoreUnavailable
from prefect_acms.canonical.events import Event
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store
from prefect_acms.tasks.following import Follower
from prefect_acms.tasks.prefect_events import held_back_event, is_loud, prefect_event
from prefect_acms.tasks.prefect_server import REQUEST_SEC, UNREACHABLE, ask_no_patience, no_retries, problem_of, trust

GATHER_SEC = 0.5
"""Seconds in which commits are gathered for one request."""

AT_ONCE = 200
"""Events that one request carries at most."""

AWAY_SEC = 15.0
"""Seconds for which a server that did not answer is left alone."""

FOLLOWED = timedelta(minutes=5)
"""How long after an event another may say that it follows it; Prefect's own rule."""

REMEMBERED = 4096
"""Entities whose last event is remembered at most."""

LIMIT, SERVER, ROOM = "limit", "server", "room"
"""Why an event was not sent: the limit of its run, a server that was away, or more than could wait."""

_log = logging.getLogger(__name__)


def send_events(store: Store) -> None:
    """Send what is committed from now on, as soon as a Prefect server is told of this process."""

    def begin(events: Sequence[Event]) -> None:
        if begin_sending(store, events):
            unsubscribe()

    unsubscribe = store.subscribe(begin)


def begin_sending(store: Store, events: Sequence[Event]) -> bool:
    """Send these events and all that follow, if Prefect is told of this process; whether it is.

    It is where PREFECT_API_URL names a server, and else in a flow or a task.
    """
    is_told = bool(PREFECT_API_URL.value() or FlowRunContext.get() or TaskRunContext.get())
    if is_told:
        Sender(store).follower.notice(events)
    return is_told


class Bucket:
    """Tokens for the events of one run: so many at once, and so many a second after that.

    What an automation may wait for has as many again.
    """

    def __init__(self, settings: EventSettings, now: float) -> None:
        self._settings = settings
        self._tokens = float(settings.burst)
        self._filled_at = now
        self.held_back: Counter[str] = Counter()

    def admits(self, *, loud: bool, now: float) -> bool:
        """Take a token, if there is one."""
        gained = (now - self._filled_at) * self._settings.per_sec
        self._tokens, self._filled_at = min(float(self._settings.burst), self._tokens + gained), now
        if self._tokens < (1.0 - self._settings.burst if loud else 1.0):
            return False
        self._tokens -= 1.0
        return True


class Sender:
    """Sends what the store's commits bring, from a thread of its own."""

    def __init__(self, store: Store, *, away_sec: float = AWAY_SEC) -> None:
        self._store = store
        self._away_sec = away_sec
        self._client: SyncPrefectClient | None = None
        self._opened = ExitStack()
        self._buckets: dict[str | None, Bucket] = {}
        self._last: OrderedDict[tuple[str, str], PrefectEvent] = OrderedDict()
        self._away_until = 0.0
        self._without_room = 0
        self.follower = Follower(store, self._handle, "events for Prefect", gather_sec=GATHER_SEC, at_end=self._end)

    def _handle(self, events: Sequence[Event]) -> None:
        runs = self._runs({event.context.run_id for event in events} | self._counting())
        limited: set[str | None] = set()
        chosen: list[tuple[str | None, PrefectEvent]] = []
        for event in events:
            name = event.context.run_id
            run, now = runs.get(name), time.monotonic()
            settings = settings_of(run)
            bucket = self._buckets.setdefault(name, Bucket(settings, now))
            if not settings.enabled:
                continue
            if bucket.admits(loud=is_loud(event), now=now):
                chosen.append((name, self._following(event, run)))
            else:
                bucket.held_back[LIMIT] += 1
                limited.add(name)
        self._send(chosen)
        self._tell_counts(runs, but=limited)

    def _end(self) -> None:
        self._tell_counts(self._runs(self._counting()))
        self._opened.close()

    def _runs(self, names: Collection[str | None]) -> dict[str | None, RunRow | None]:
        """The rows of these runs; without the store they are sent as events of no known run."""
        found: dict[str | None, RunRow | None] = dict.fromkeys(names)
        asked = [name for name in names if name]
        with suppress(StoreUnavailable):
            if asked:
                with self._store.begin(read_only=True) as dao:
                    found |= {name: dao.runs.find(name) for name in asked}
        return found

    def _following(self, event: Event, run: RunRow | None) -> PrefectEvent:
        entity = event.entity_type, event.entity_id
        before = self._last.pop(entity, None)
        made = prefect_event(event, run, self._store.scrubber)
        if before is not None and abs(made.occurred - before.occurred) < FOLLOWED:
            made.follows = before.id
        self._last[entity] = made
        if len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
        return made

    # what was held back

    def _counting(self) -> set[str | None]:
        lost, self._without_room = self.follower.held_back - self._without_room, self.follower.held_back
        if lost:
            bucket = self._buckets.setdefault(None, Bucket(EventSettings(), time.monotonic()))
            bucket.held_back[ROOM] += lost
        return {name for name, bucket in self._buckets.items() if bucket.held_back}

    def _tell_counts(self, runs: Mapping[str | None, RunRow | None], but: Collection[str | None] = ()) -> None:
        """Tell what was held back of the runs whose limit has let go."""
        for name in runs.keys() - but:
            bucket = self._buckets.get(name)
            if bucket is not None and bucket.held_back and self._post([held_back_event(runs[name], bucket.held_back)]):
                bucket.held_back.clear()

    # the server

    def _send(self, chosen: Sequence[tuple[str | None, PrefectEvent]]) -> None:
        for start in range(0, len(chosen), AT_ONCE):
            part = chosen[start : start + AT_ONCE]
            if not self._post([made for _, made in part]):
                # None of them may be followed: who waits for one that never comes is held up by Prefect.
                self._last.clear()
                for name, _ in chosen[start:]:
                    self._buckets[name].held_back[SERVER] += 1
                return

    def _post(self, events: Sequence[PrefectEvent]) -> bool:
        """Whether the server has taken them; what it may have taken is not sent twice, which would break its batch."""
        if time.monotonic() < self._away_until:
            return False
        try:
            if self._client is None:
                self._client = self._opened.enter_context(_client())
            post_events(self._client, events)
        except UNREACHABLE as trouble:
            _log.info("Prefect gets no events for %.0f s: %s", self._away_sec, problem_of(trouble))
            self._away_until = time.monotonic() + self._away_sec
            return False
        return True


@contextmanager
def _client() -> Iterator[SyncPrefectClient]:
    """A client that asks once, and takes its own time whatever the server wants it to wait."""
    ours = {"timeout": REQUEST_SEC, "verify": trust(), "event_hooks": {"response": [ask_no_patience]}}
    with no_retries(), get_client(ours, sync_client=True) as client:
        yield client


def post_events(client: SyncPrefectClient, events: Sequence[PrefectEvent]) -> None:
    """Hand the events to the server in one request."""
    client.request("POST", "/events", json=[made.model_dump(mode="json") for made in events])


def settings_of(run: RunRow | None) -> EventSettings:
    """What a run says of its events; of no run, the defaults."""
    return EventSettings.model_validate(run.config.get("events", {})) if run else EventSettings()
