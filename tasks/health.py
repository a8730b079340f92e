"""Which ages hold for what belongs to a run, and how old something is."""

from __future__ import annotations

from datetime import datetime

from prefect_acms.blocks.config import HealthSettings
from prefect_acms.canonical.clock import utc_moment
from prefect_acms.dao.runs import RunRow


def health_of(run: RunRow | None, given: HealthSettings) -> HealthSettings:
    """What was set by the caller, else what the run was configured with, else the defaults."""
    own = HealthSettings.model_validate((run.config if run else {}).get("health", {}))
    return own.model_copy(update={name: getattr(given, name) for name in given.model_fields_set})


def age_sec(moment: str, now: datetime) -> float:
    """How long ago a stored moment was; one that the clock has not reached yet is 0 s ago."""
    return max(0.0, (now - utc_moment(moment)).total_seconds())
