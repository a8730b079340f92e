"""Channels with a level of their own, as a Prefect block."""

from __future__ import annotations

from typing import ClassVar, Self

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, model_validator

from prefect_acms.blocks.appearance import DOCUMENTATION, WEBHOOK_LOGO
from prefect_acms.blocks.notifications import NotificationSettings

NOTIFIER = "acms-notifier"
"""The slug of the block."""


class Notifier(Block):
    """Channels that are told about runs, from which level on and how often: one for the team, one for who is on call.

    Example:
        ```python
        from prefect_acms.blocks import Notifier

        notifier = Notifier.load("BLOCK_NAME")
        config = PipelineConfig(repository=path, notifications={"channels": ["acms-notifier/BLOCK_NAME"]})
        ```
    """

    _block_type_name: ClassVar[str | None] = "ACMS Notifier"
    _block_type_slug: ClassVar[str | None] = NOTIFIER
    _logo_url: ClassVar[HttpUrl | None] = WEBHOOK_LOGO
    _documentation_url: ClassVar[HttpUrl | None] = DOCUMENTATION

    settings: NotificationSettings = Field(
        default=NotificationSettings(), description="The channels, from which level on and how often they are told."
    )

    @model_validator(mode="after")
    def _names_no_notifier(self) -> Self:
        for name in self.settings.channels:
            if name.startswith(f"{NOTIFIER}/"):
                message = f"a notifier names channels, and {name} is a notifier"
                raise ValueError(message)
        return self
