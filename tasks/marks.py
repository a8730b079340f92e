"""Marks in the row of a run: how far each channel was told of it, and who is telling it right now."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, ConfigDict
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from prefect_acms.canonical.clock import utc_moment, utc_text
from prefect_acms.canonical.errors import LostRace
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store
from prefect_acms.dao.untold import Place

CLAIM_SEC = 120.0
"""Seconds that whoever sends has before another may think that it was cut off."""

MOST_RACES = 5

_KEY = "told:"
"""Key in a run's metadata, followed by the name of a channel; one for each, so that none writes over another's."""


class Mark(BaseModel):
    """How far a channel was told of a run."""

    model_config = ConfigDict(frozen=True)

    run: int = 0
    """Position in the chain of the run."""
    shared: int = 0
    """Position in the chain of what belongs to no run."""
    sent_at: str | None = None
    claimed_until: str | None = None
    problem: str | None = None
    """Why the last message could not be sent; none: it was."""

    @property
    def place(self) -> Place:
        """Where reading goes on."""
        return Place(self.run, self.shared)


def mark_of(run: RunRow, channel: str) -> Mark:
    """How far a channel was told of a run."""
    return Mark.model_validate(run.info.get(_KEY + channel, {}))


def marks_of(run: RunRow) -> dict[str, Mark]:
    """The marks of all channels that were to be told of a run, by name."""
    return {name.removeprefix(_KEY): mark_of(run, name.removeprefix(_KEY)) for name in run.info if name[:5] == _KEY}


def claim(store: Store, run_id: str, channel: str, seen: Mark) -> bool:
    """Become the one who tells what comes after a mark; False when another does, or has."""
    now = store.clock()
    with store.begin() as dao:
        dao.trail.head(run_id)  # nobody else gets past here until the end of the unit
        mark = mark_of(dao.runs.get(run_id), channel)
        taken = mark.claimed_until is not None and utc_moment(mark.claimed_until) > now
        if taken or mark.place != seen.place:
            return False
        claimed = mark.model_copy(update={"claimed_until": utc_text(now + timedelta(seconds=CLAIM_SEC))})
        dao.runs.change(run_id, metadata={_KEY + channel: claimed.model_dump(mode="json")})
    return True


def set_mark(store: Store, run_id: str, channel: str, mark: Mark) -> None:
    """Store how far a channel was told; a claim ends with it. One who was cut off and comes late moves nothing back."""
    for attempt in Retrying(stop=stop_after_attempt(MOST_RACES), retry=retry_if_exception_type(LostRace), reraise=True):
        with attempt, store.begin() as dao:
            dao.trail.head(run_id)
            known = mark_of(dao.runs.get(run_id), channel).place
            if known.run <= mark.run and known.shared <= mark.shared:
                dao.runs.change(run_id, metadata={_KEY + channel: mark.model_dump(mode="json")})
