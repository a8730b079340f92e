"""What a run and each of its tasks may use up."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field

from prefect_acms.blocks.section import Section
from prefect_acms.canonical.budget import Limits


class BudgetLimits(Section):
    """How much may be used up at most; what is left out is not limited."""

    wall_sec: float | None = Field(
        default=None, gt=0, description="seconds that tools and models may work, added up over those that work at once"
    )
    tool_runs: int | None = Field(default=None, ge=0, description="runs of tools and calls of models")
    tokens: int | None = Field(default=None, ge=0, description="tokens that models may read and write")
    usd: float | None = Field(default=None, ge=0, description="US dollars that models may cost")

    @property
    def limits(self) -> Limits:
        """The same, as budgets are reckoned."""
        usd = None if self.usd is None else Decimal(str(self.usd))
        return Limits(self.wall_sec, self.tool_runs, self.tokens, usd)


class ModelPrice(Section):
    """What a model costs, in US dollars for a million tokens."""

    input_usd: float = Field(default=0, ge=0, description="US dollars for a million tokens that it reads")
    output_usd: float = Field(default=0, ge=0, description="US dollars for a million tokens that it writes")


class BudgetSettings(Section):
    """Limits that hold before each call of a tool or model, and what is set aside for one whose use isn't known yet."""

    run: BudgetLimits = Field(default=BudgetLimits(), description="what the whole run may use up")
    task: BudgetLimits = Field(default=BudgetLimits(), description="what each task may use up")
    call_tokens: int = Field(
        default=50_000, ge=0, description="tokens set aside for an agent's run, whose use is known only afterwards"
    )
    call_usd: float = Field(
        default=0.5, ge=0, description="US dollars set aside for a run of an agent, or of a model without a known price"
    )
    prices: dict[str, ModelPrice] = Field(
        default={}, description="prices of models by name, before those that are known; a local one may cost nothing"
    )
