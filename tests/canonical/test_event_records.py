"""The event: one record of what happened, ready for JSON."""

from __future__ import annotations

import json
import pickle
from types import MappingProxyType

import pytest

from prefect_acms.canonical.events import CREATED, Context, Event, Notice, event_type
from prefect_acms.canonical.machine import Severity
from prefect_acms.canonical.machines import MACHINES

EVENT = Event(
    event_id="evt_1",
    timestamp="2026-01-31T09:05:00.000000Z",
    event_type="task_state_transition",
    severity=Severity.WARNING,
    entity_type="task",
    entity_id="task_1",
    from_state=None,
    to_state="pending",
    trigger=CREATED,
    reason="planned",
    metadata=MappingProxyType({"plan": [1, 2]}),
    operator="ada",
    context=Context(run_id="run_1", workstream_id="ws_1", phase="planning"),
)


def test_an_event_becomes_plain_values() -> None:
    """The dictionary has every field in its order, survives JSON, and holds no type of ours."""
    plain = EVENT.as_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert list(plain) == [
        "event_id",
        "timestamp",
        "event_type",
        "severity",
        "entity_type",
        "entity_id",
        "from_state",
        "to_state",
        "trigger",
        "reason",
        "metadata",
        "operator",
        "context",
    ]
    assert type(plain["severity"]) is str
    assert plain["context"] == {"run_id": "run_1", "workstream_id": "ws_1", "phase": "planning"}
    assert plain["metadata"] == {"plan": [1, 2]}


def test_an_event_can_be_short() -> None:
    """Reason, metadata, operator and context are empty unless told."""
    event = Event("evt_2", "t", "run_degraded", Severity.WARNING, "run", "run_1", "running", "running", "run_degraded")
    assert (event.reason, event.metadata, event.operator, event.context) == (None, {}, None, Context())


def test_an_event_does_not_change() -> None:
    """What happened has happened."""
    with pytest.raises(AttributeError):
        EVENT.reason = "other"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(EVENT.context)) == EVENT.context  # noqa: S301 - our own bytes


@pytest.mark.parametrize("entity", MACHINES)
def test_the_type_of_a_transition_names_its_entity(entity: str) -> None:
    """Transitions and creations are `<entity>_state_transition`, whatever the trigger."""
    for trigger in [CREATED, *(trigger.value for trigger in MACHINES[entity].triggers)]:
        assert event_type(entity, trigger) == f"{entity}_state_transition"


def test_a_notice_is_its_own_type() -> None:
    """The nine events that are not transitions keep their names."""
    assert [event_type("run", notice) for notice in Notice] == [
        "run_resumed",
        "run_degraded",
        "manual_override",
        "anti_pattern_detected",
        "guardrail_violation",
        "budget_exceeded",
        "drift_detected",
        "post_success_rollback",
        "codemod_decided",
    ]
