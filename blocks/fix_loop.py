"""The fix loop: how often a tool that asks a model is told what was wrong, and when it is given up."""

from __future__ import annotations

from pydantic import Field

from prefect_acms.blocks.section import Section


class FixLoopSettings(Section):
    """How often what was said against a patch goes back to the tool that made it; only to tools that ask a model."""

    attempts: int = Field(
        default=3,
        ge=0,
        le=20,
        description="how often what was said against its patch goes back to a tool, before the next tool has its "
        "turn; 0: never",
    )
    same_error: int = Field(
        default=3,
        ge=1,
        description="attempts of a tool that may fail by the same error; line numbers in it don't count",
    )
    window: int = Field(default=4, ge=2, description="among so many last attempts no two may have made the same change")
    plans: int = Field(
        default=3,
        ge=1,
        description="plans in a row of the same commit and configuration that may be carried out without any patch; "
        "the next one holds only the most severe gaps, and the one after that is not carried out",
    )
    plans_alike: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="two plans without a patch that share more than this of what they hold are enough",
    )
    gaps_kept: int = Field(default=5, ge=1, description="gaps that are left in a plan when plans have led to nothing")
