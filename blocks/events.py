"""What Prefect is told of a run by events."""

from __future__ import annotations

from pydantic import Field

from prefect_acms.blocks.section import Section


class EventSettings(Section):
    """Whether every change of state becomes a Prefect event, and how many at most."""

    enabled: bool = Field(
        default=True, description="whether each change of state is sent to the Prefect server as an event"
    )
    per_sec: float = Field(
        default=20.0, gt=0, description="events a second that a process sends for the run in the long term"
    )
    burst: int = Field(
        default=1000, ge=1, le=100_000, description="events that it may send at once before that limit is felt"
    )
