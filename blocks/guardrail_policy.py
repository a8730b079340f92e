"""What no patch may do, as a Prefect block."""

from __future__ import annotations

from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl

from prefect_acms.blocks.appearance import DOCUMENTATION, SECRET_LOGO
from prefect_acms.blocks.guardrails import GuardrailSettings


class GuardrailPolicy(Block):
    """What no patch may do, and which patches a person has to see: paths, tools, limits, checks and reviews.

    Example:
        ```python
        from prefect_acms.blocks import GuardrailPolicy

        policy = GuardrailPolicy.load("BLOCK_NAME")
        config = PipelineConfig(repository=path, guardrails=policy.settings)
        ```
    """

    _block_type_name: ClassVar[str | None] = "ACMS Guardrail Policy"
    _block_type_slug: ClassVar[str | None] = "acms-guardrail-policy"
    _logo_url: ClassVar[HttpUrl | None] = SECRET_LOGO
    _documentation_url: ClassVar[HttpUrl | None] = DOCUMENTATION

    settings: GuardrailSettings = Field(
        default=GuardrailSettings(),
        description="The policy of a run. A repository's own policy can only tighten it.",
    )
