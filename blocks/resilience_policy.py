"""Retries and circuit breakers as a Prefect block."""

from __future__ import annotations

from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl

from prefect_acms.blocks.appearance import DOCUMENTATION, PROCESS_LOGO
from prefect_acms.blocks.config import ResilienceSettings


class ResiliencePolicy(Block):
    """How often and how patiently a failed tool is tried again, and when it is held back.

    Example:
        ```python
        from prefect_acms.blocks import ResiliencePolicy

        policy = ResiliencePolicy.load("BLOCK_NAME")
        config = PipelineConfig(repository=path, resilience=policy.settings)
        ```
    """

    _block_type_name: ClassVar[str | None] = "ACMS Resilience Policy"
    _block_type_slug: ClassVar[str | None] = "acms-resilience-policy"
    _logo_url: ClassVar[HttpUrl | None] = PROCESS_LOGO
    _documentation_url: ClassVar[HttpUrl | None] = DOCUMENTATION

    settings: ResilienceSettings = Field(
        default=ResilienceSettings(), description="Retry delays and circuit breaker thresholds."
    )
