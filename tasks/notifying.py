"""Telling channels what they have not been told of a run: the trail is the queue, a mark in the run's row the place.

What is told is read from the database, so that nothing is lost with a process, and nothing is held in memory. A mark is
moved after a message was sent: one that a crash cuts off in between is sent twice, none is sent never.
"""

from __future__ import annotations

import threading
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from prefect.utilities.urls import url_for
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, stop_when_event_set, wait_exponential
from tenacity.nap import sleep_using_event

from prefect_acms.blocks.notifications import Digest, NotificationLevel, NotificationSettings
from prefect_acms.canonical.clock import utc_moment, utc_text
from prefect_acms.canonical.errors import NotARepository, NotFound, RepositoryUnfit
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.outside_errors import ChannelFailed
from prefect_acms.canonical.run import RunState
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store
from prefect_acms.dao.untold import Place, untold_rows
from prefect_acms.tasks.channels import Channel, open_channels, send
from prefect_acms.tasks.marks import CLAIM_SEC, Mark, claim, mark_of, set_mark
from prefect_acms.tasks.messages import Message, digest, gathered
from prefect_acms.tasks.news import KEPT, RANKS, News, news_of
from prefect_acms.tasks.published import published_of
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.summary import build_summary
from prefect_acms.tasks.summary_model import Summary

ATTEMPTS = 3
"""How often a message is sent before it is left for later."""


def channels_of(store: Store, run_id: str, name: str, settings: NotificationSettings) -> list[Channel]:
    """The channels behind a name in the configuration of a run; raises ChannelFailed or NotFound, and keeps why."""
    with store.begin(read_only=True) as dao:
        mark = mark_of(dao.runs.get(run_id), name)
    try:
        found = open_channels(name, settings)
    except (ChannelFailed, NotFound) as problem:
        told = store.scrubber.text(str(problem))
        # what is known already is no change of the run, which would be one of the last week for ever
        if mark.problem != told:
            set_mark(store, run_id, name, mark.model_copy(update={"problem": told}))
        raise
    if mark.problem is not None and mark.sent_at is None:
        set_mark(store, run_id, name, mark.model_copy(update={"problem": None}))
    return found


class Untold(NamedTuple):
    """What a channel was not told yet."""

    run: RunRow
    mark: Mark
    reached: Mark
    """How far the channel was told once it is told that."""
    news: list[News]
    """What the channel wants to know of it."""
    has_ended: bool
    """Whether the end of the run is in it."""


def untold(store: Store, run_id: str, channel: Channel) -> Untold:
    """What a channel was not told yet of a run; what is older than a week is let go."""
    oldest = utc_text(store.clock() - KEPT)
    wanted = RANKS[channel.settings.level]
    news: list[News] = []
    ended = False
    with store.begin(read_only=True) as dao:
        run = dao.runs.get(run_id)
        mark = mark_of(run, channel.name)
        place = mark.place
        for row in list(untold_rows(dao, run, place)):
            own = row["run_id"] is not None
            place = Place(row["chain_seq"], place.shared) if own else Place(place.run, row["chain_seq"])
            if row["transitioned_at"] < oldest:
                continue
            ended |= row["entity_type"] == "run" and row["to_state"] in MACHINES["run"].terminal
            news += [item for item in news_of(dao, row) if RANKS[item.level] >= wanted]
    return Untold(run, mark, Mark(run=place.run, shared=place.shared, sent_at=mark.sent_at), news, ended)


def tell(store: Store, run_id: str, channel: Channel, closing: threading.Event, *, at_end: bool) -> float | None:
    """Tell a channel what it was not told yet of a run; in how many seconds to try again, None when nothing waits.

    How a run ended is told `at_end` only, when its reports are written. Raises ChannelFailed, and keeps why.
    """
    found = untold(store, run_id, channel)
    if found.has_ended and not at_end:
        return None
    now = store.clock()
    wait = _wait_sec(found, channel.settings, now)
    if found.news and wait > 0:
        return wait
    message = _message(store, found, channel.settings)
    if message is None:
        if found.has_ended:
            set_mark(store, run_id, channel.name, found.reached)
        return None
    if not claim(store, run_id, channel.name, found.mark):
        return CLAIM_SEC
    try:
        _send(channel, message, closing, utc_moment(found.run.created_at))
    except ChannelFailed as problem:
        kept = {"claimed_until": None, "problem": store.scrubber.text(str(problem))}
        set_mark(store, run_id, channel.name, found.mark.model_copy(update=kept))
        raise
    set_mark(store, run_id, channel.name, found.reached.model_copy(update={"sent_at": utc_text(store.clock())}))
    return None


def _wait_sec(found: Untold, settings: NotificationSettings, now: datetime) -> float:
    """How long what is untold has to wait: not at all when it is critical, or the end."""
    urgent = found.has_ended or any(item.level is NotificationLevel.CRITICAL for item in found.news)
    if urgent or found.mark.sent_at is None:
        return 0.0
    return settings.throttle_sec - (now - utc_moment(found.mark.sent_at)).total_seconds()


def _message(store: Store, found: Untold, settings: NotificationSettings) -> Message | None:
    """What is to be told, without secrets; None when that is nothing."""
    run, link = found.run, _link(found.run)
    message = gathered(run, found.news, link) if found.news else None
    if found.has_ended and settings.digest is not Digest.NEVER:
        summary = build_summary(store, run.id, _repository(run))
        if settings.digest is Digest.ALWAYS or found.news or _is_news(summary):
            message = digest(run, summary, found.news, published_of(run), link)
    if message is None:
        return None
    clean = store.scrubber.text
    return message._replace(subject=clean(message.subject), body=clean(message.body))


def _is_news(summary: Summary) -> bool:
    """Whether a run has something to tell: it kept or quarantined patches, or did not succeed."""
    return bool(summary.kept() or summary.quarantined()) or summary.run.state != RunState.SUCCEEDED


def _link(run: RunRow) -> str | None:
    """The run in the Prefect UI, where there is one."""
    return url_for("flow-run", run.prefect_flow_run_id) if run.prefect_flow_run_id else None


def _repository(run: RunRow) -> Repository | None:
    try:
        return Repository.open(Path(run.repo_root))
    except (NotARepository, RepositoryUnfit):
        return None


def _send(channel: Channel, message: Message, closing: threading.Event, since: datetime) -> None:
    """Send it, a few times if need be; while the process ends, once."""
    for attempt in Retrying(
        stop=stop_after_attempt(ATTEMPTS) | stop_when_event_set(closing),
        wait=wait_exponential(multiplier=1, max=10),
        sleep=sleep_using_event(closing),
        retry=retry_if_exception_type(ChannelFailed),
        reraise=True,
    ):
        with attempt:
            send(channel, message, since)
