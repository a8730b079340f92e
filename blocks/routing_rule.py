"""A routing rule as data: for which tasks it speaks, and how it picks among the tools that could do them."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from prefect_acms.blocks.tool_spec import TaskKind, Tier


class Strategy(StrEnum):
    """How a rule picks one tool of several."""

    FIXED = "fixed"
    ROUND_ROBIN = "round_robin"
    METRICS = "metrics"
    CASCADE = "cascade"


class RoutingRule(BaseModel):
    """One rule; a condition that is left out matches everything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule_id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$", description="Name of the rule.")
    task_kind: TaskKind | None = Field(default=None, description="Kind of task it speaks for.")
    risk: Tier | None = Field(default=None, description="Risk of the task.")
    complexity: Tier | None = Field(default=None, description="Complexity of the task.")
    strategy: Strategy = Field(description="How it picks.")
    tools: tuple[str, ...] = Field(
        default=(),
        description="The tools it picks from, most wanted first; none: every capable one. `cascade` takes the first "
        "that has not been tried in the task; without tools of its own it goes from codemods over tools without a "
        "model to models, cheap ones first.",
    )

    @model_validator(mode="after")
    def _name_the_fixed_one(self) -> Self:
        if self.strategy is Strategy.FIXED and len(self.tools) != 1:
            message = f"a fixed rule names exactly one tool, found {len(self.tools)}"
            raise ValueError(message)
        return self

    def matches(self, task_kind: str, risk: str, complexity: str) -> bool:
        """Whether the rule speaks for such a task."""
        asked = ((self.task_kind, task_kind), (self.risk, risk), (self.complexity, complexity))
        return all(wanted is None or wanted == found for wanted, found in asked)
