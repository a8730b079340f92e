"""What Prefect calls our events, and what is in them."""

from __future__ import annotations

from uuid import UUID

from prefect_acms.canonical.events import CREATED, NOTICES, Context, Event
from prefect_acms.canonical.machine import Severity
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.dao.ids import Ids
from prefect_acms.dao.redaction import Scrubber
from prefect_acms.tasks.prefect_events import MOST_TEXT, event_name, is_loud, prefect_event, prefect_id


def an_event(**facts: object) -> Event:
    given = {
        "event_id": Ids().new("evt"),
        "timestamp": "2026-01-31T09:05:00.000001Z",
        "event_type": "gap_state_transition",
        "severity": Severity.INFO,
        "entity_type": "gap",
        "entity_id": "gap_1",
        "from_state": None,
        "to_state": "discovered",
        "trigger": CREATED,
    }
    return Event(**{**given, **facts})  # type: ignore[arg-type]


def test_every_state_and_notice_has_a_name_of_its_own() -> None:
    """No notice is called like a state of what it is told about."""
    for machine in MACHINES.values():
        states = {event_name(machine.entity, state.value, CREATED) for state in machine.states}
        notices = {event_name(machine.entity, "any", notice) for notice in NOTICES}
        assert len(states | notices) == len(machine.states) + len(NOTICES)
        assert all(name.startswith(f"acms.{machine.entity}.") for name in states | notices)


def test_the_id_is_the_ulid_of_the_event() -> None:
    """The same however often it is made, and all of its 128 bits."""
    first, second = "evt_01M8HNBSRX5YPBG7R1RDDTB6X7", "evt_01M8HNBSRX5YPBG7R1RDDTB6X8"
    assert prefect_id(first) == UUID("01a22355-e71d-2fac-b81f-01c35ba59ba7")
    assert prefect_id(second).int == prefect_id(first).int + 1


def test_an_event_says_where_it_belongs() -> None:
    """Its labels can be matched by a trigger; the payload is the whole record."""
    event = an_event(reason="found", context=Context("run_1", "ws_1", "discovery"))
    made = prefect_event(event, None, Scrubber())
    assert made.resource.root == {
        "prefect.resource.id": "acms.gap.gap_1",
        "prefect.resource.name": "gap_1",
        "acms.entity": "gap",
        "acms.state": "discovered",
        "acms.trigger": "created",
        "acms.severity": "info",
    }
    assert [resource.id for resource in made.related] == ["acms.run.run_1", "acms.workstream.ws_1"]
    assert made.payload == event.as_dict()


def test_a_long_record_is_not_sent_whole() -> None:
    """The database has it."""
    made = prefect_event(an_event(metadata={"out": "x" * (MOST_TEXT + 1)}), None, Scrubber())
    assert "acms audit export" in made.payload["metadata"]["left_out"]


def test_what_an_automation_may_wait_for_is_loud() -> None:
    """Errors, notices and what happens to the run itself."""
    assert not is_loud(an_event())
    assert is_loud(an_event(severity=Severity.CRITICAL))
    assert is_loud(an_event(trigger="guardrail_violation"))
    assert is_loud(an_event(entity_type="run"))
