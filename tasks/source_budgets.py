"""The budget of a run as a gap source knows it: so many tokens of a model, for so many seconds."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from decimal import Decimal

from prefect_acms.tasks.budgets import Budgets, Estimate, Reservation
from prefect_acms.tasks.prices import price_of


@dataclass(frozen=True, slots=True)
class SourceBudget:
    """Sets aside, out of the budget of a run, what one call of a model by a gap source may use up."""

    budgets: Budgets
    run_id: str

    def reserved(
        self, *, tool_id: str, model: str | None, input_tokens: int, output_tokens: int, wall_sec: float
    ) -> AbstractContextManager[Reservation]:
        """A block in which the call may be made; raises BudgetExceeded before anything is spent."""
        settings = self.budgets.settings
        provider, _, name = (model or "").partition(":")
        price = price_of(name, provider, input_tokens=input_tokens, output_tokens=output_tokens, prices=settings.prices)
        usd = Decimal(str(settings.call_usd)) if price is None else price
        estimate = Estimate(wall_sec=wall_sec, tool_runs=1, tokens=input_tokens + output_tokens, usd=usd)
        return self.budgets.reserved(run_id=self.run_id, tool_id=tool_id, estimate=estimate)
