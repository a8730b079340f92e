"""The canonical event as Prefect shows it: its name, its resources, its payload, and an id that is always the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any
from uuid import UUID, uuid4

from prefect.events import Event as PrefectEvent
from prefect.events import RelatedResource, Resource
from ulid import ULID

from prefect_acms.canonical.clock import system_clock, utc_moment
from prefect_acms.canonical.events import NOTICES, Event
from prefect_acms.canonical.machine import Severity
from prefect_acms.canonical.run import RUN
from prefect_acms.dao.redaction import Scrubber
from prefect_acms.dao.runs import RunRow

HELD_BACK = "acms.events.held_back"
"""Tells how many events were not sent; its payload says why."""

PUSHED = "acms.repository.pushed"
"""Tells us that a repository has new commits; who knows it emits it, with the repository's path as the resource."""

STORE = "acms.store"
"""The resource of what belongs to no run."""

MOST_TEXT = 16_384
"""Characters of the metadata of an event at most; what is longer is left to the database."""

_LOUD = frozenset({Severity.ERROR, Severity.CRITICAL})


def event_name(entity_type: str, to_state: str, trigger: str) -> str:
    """What Prefect calls an event: `acms.<entity>.<state>`, and `acms.<entity>.<notice>` for what changes no state."""
    return f"acms.{entity_type}.{trigger if trigger in NOTICES else to_state}"


def prefect_id(event_id: str) -> UUID:
    """The id that an event has for Prefect: the 128 bits of its ULID."""
    return ULID.from_str(event_id.rpartition("_")[2]).to_uuid()


def is_loud(event: Event) -> bool:
    """Whether an automation may wait for the event: errors, notices, and everything about the run itself."""
    return event.severity in _LOUD or event.trigger in NOTICES or event.entity_type == RUN.entity


def prefect_event(
    event: Event, run: RunRow | None, scrubber: Scrubber, follows: PrefectEvent | None = None
) -> PrefectEvent:
    """The event for Prefect, without secrets; `follows` is the one that was sent before of the same entity."""
    resource = {
        "prefect.resource.id": f"acms.{event.entity_type}.{event.entity_id}",
        "prefect.resource.name": event.entity_id,
        "acms.entity": event.entity_type,
        "acms.state": event.to_state,
        "acms.trigger": event.trigger,
        "acms.severity": str(event.severity),
    }
    return PrefectEvent(
        id=prefect_id(event.event_id),
        occurred=utc_moment(event.timestamp),
        event=event_name(event.entity_type, event.to_state, event.trigger),
        resource=Resource(scrubber.value(resource)),
        related=_related(event, run, scrubber),
        payload=scrubber.value(_payload(event)),
        follows=follows.id if follows else None,
    )


def held_back_event(run: RunRow | None, counts: Mapping[str, int]) -> PrefectEvent:
    """Tells how many events of a run, or of none, were not sent, by the reason for it."""
    name = f"acms.run.{run.id}" if run else STORE
    return PrefectEvent(
        id=uuid4(),
        occurred=system_clock(),
        event=HELD_BACK,
        resource=Resource({"prefect.resource.id": name, "prefect.resource.name": run.id if run else STORE}),
        related=_flow_run(run),
        payload={"count": sum(counts.values()), "reasons": dict(counts)},
    )


def _payload(event: Event) -> dict[str, Any]:
    record = event.as_dict()
    if len(str(record["metadata"])) > MOST_TEXT:
        record["metadata"] = {"left_out": "it is long: `acms audit export` has it"}
    return record


def _related(event: Event, run: RunRow | None, scrubber: Scrubber) -> list[RelatedResource]:
    found: list[RelatedResource] = []
    if event.context.run_id and event.entity_type != RUN.entity:
        found.append(_resource("acms-run", f"acms.run.{event.context.run_id}", event.context.run_id))
    if event.context.workstream_id and event.context.workstream_id != event.entity_id:
        name = event.context.workstream_id
        found.append(_resource("acms-workstream", f"acms.workstream.{name}", name))
    if run is not None:
        path = scrubber.text(run.repo_root)
        found.append(_resource("acms-repository", path, PurePath(path).name))
    return [*found, *_flow_run(run)]


def _flow_run(run: RunRow | None) -> list[RelatedResource]:
    if run is None or not run.prefect_flow_run_id:
        return []
    return [_resource("flow-run", f"prefect.flow-run.{run.prefect_flow_run_id}", None)]


def _resource(role: str, name: str, shown: str | None) -> RelatedResource:
    labels = {"prefect.resource.id": name, "prefect.resource.role": role}
    return RelatedResource(labels | ({"prefect.resource.name": shown} if shown else {}))
