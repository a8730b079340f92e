"""Which ages hold for what belongs to a run, and how old something is."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from prefect_acms.blocks.config import HealthSettings
from prefect_acms.blocks.section import Section
from prefect_acms.canonical.clock import utc_moment
from prefect_acms.dao.runs import RunRow

S = TypeVar("S", bound=Section)


def health_of(run: RunRow | None, given: HealthSettings) -> HealthSettings:
    """What was set by the caller, else what the run was configured with, else the defaults."""
    own = stored_settings(HealthSettings, run, "health") if run else HealthSettings()
    return own.model_copy(update={name: getattr(given, name) for name in given.model_fields_set})


def stored_settings(section: type[S], run: RunRow, name: str) -> S:
    """A section of a run's stored configuration; what an older or newer version called otherwise is passed over."""
    stored = run.config.get(name, {})
    return section.model_validate({key: stored[key] for key in section.model_fields if key in stored})


def age_sec(moment: str, now: datetime) -> float:
    """How long ago a stored moment was; one that the clock has not reached yet is 0 s ago."""
    return max(0.0, (now - utc_moment(moment)).total_seconds())
