"""Who is told what about a run, and how often."""

from __future__ import annotations

import re
from enum import StrEnum

from pydantic import Field, field_validator

from prefect_acms.blocks.section import Section

_SAVED = re.compile(r"[a-z0-9][a-z0-9-]*/[^/\s][^/]*")


class NotificationLevel(StrEnum):
    """How much has to be at stake for a channel to be told at once, the least first."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class Digest(StrEnum):
    """Which runs a channel gets a summary of when they end."""

    ALWAYS = "always"
    NEWS = "news"
    NEVER = "never"


class NotificationSettings(Section):
    """Who is told what about a run, and how often; a channel that fails never fails a run."""

    channels: tuple[str, ...] = Field(
        default=(),
        description="saved Prefect blocks that are told, as TYPE/NAME: slack-webhook/team, acms-email/ops, "
        "acms-github-issues/project … or acms-notifier/NAME, which names channels with a level of their own",
    )
    level: NotificationLevel = Field(
        default=NotificationLevel.WARNING,
        description="told while the run goes on from this level: critical (run quarantined, commits that nobody "
        "ordered), error (run failed, patch rolled back), warning (patch quarantined or waiting for a review, breaker "
        "open, override by hand), info (run ended)",
    )
    digest: Digest = Field(
        default=Digest.NEWS,
        description="summary at the end: always; news: when something was fixed or quarantined, or the run did not "
        "succeed; never",
    )
    throttle_sec: float = Field(
        default=300.0,
        ge=0,
        description="seconds between two messages of a run to a channel: the first is sent at once, what comes within "
        "them is gathered into one; critical news and the summary don't wait",
    )

    @field_validator("channels")
    @classmethod
    def _names_of_blocks(cls, channels: tuple[str, ...]) -> tuple[str, ...]:
        for name in channels:
            if not _SAVED.fullmatch(name):
                message = f"TYPE/NAME of saved blocks, as `prefect block ls` lists them, and {name!r} is none"
                raise ValueError(message)
        return channels
