"""The event: one record for each transition, and for the few other things that the trail must tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from prefect_acms.canonical.machine import Severity


class Notice(StrEnum):
    """Events that are not a change of state."""

    RUN_RESUMED = "run_resumed"
    RUN_DEGRADED = "run_degraded"
    MANUAL_OVERRIDE = "manual_override"
    ANTI_PATTERN_DETECTED = "anti_pattern_detected"
    GUARDRAIL_VIOLATION = "guardrail_violation"
    BUDGET_EXCEEDED = "budget_exceeded"
    DRIFT_DETECTED = "drift_detected"
    POST_SUCCESS_ROLLBACK = "post_success_rollback"
    CODEMOD_DECIDED = "codemod_decided"


CREATED = "created"
"""The trigger of a creation, whose from_state is None."""

NOTICES = frozenset(notice.value for notice in Notice)


def event_type(entity_type: str, trigger: str) -> str:
    """The type of an event: the notice itself, or `<entity>_state_transition`."""
    return trigger if trigger in NOTICES else f"{entity_type}_state_transition"


@dataclass(frozen=True, slots=True)
class Context:
    """Where in the work an event happened."""

    run_id: str | None = None
    workstream_id: str | None = None
    phase: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to one entity; `timestamp` is UTC text, `from_state` is None at a creation."""

    event_id: str
    timestamp: str
    event_type: str
    severity: Severity
    entity_type: str
    entity_id: str
    from_state: str | None
    to_state: str
    trigger: str
    reason: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    operator: str | None = None
    context: Context = Context()

    def as_dict(self) -> dict[str, Any]:
        """The event as plain values, ready for JSON, in the order of its fields."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return plain | {
            "severity": str(self.severity),
            "metadata": dict(self.metadata),
            "context": asdict(self.context),
        }
