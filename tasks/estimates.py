"""Estimates: what one run of a tool may use up at most, before anybody knows."""

from __future__ import annotations

from decimal import Decimal

from prefect_acms.blocks.ai import AiSettings
from prefect_acms.blocks.budget import BudgetSettings
from prefect_acms.blocks.tool_spec import ToolSpec
from prefect_acms.tasks.ai.handover import PROGRAM, STRONG, model_of
from prefect_acms.tasks.budgets import Estimate
from prefect_acms.tasks.prices import price_of

OVERHEAD_TOKENS = 4_000
"""What a prompt holds beside the data that `ai.context_tokens` limits: instructions, tools, and what goes back."""


def estimate_of(profile: ToolSpec, timeout_sec: float, ai: AiSettings, budget: BudgetSettings) -> Estimate:
    """The time that a tool has, one run of it, and what the models may use up that it asks."""
    wall_sec = min(profile.timeout_sec, timeout_sec)
    if not profile.ai:
        return Estimate(wall_sec=wall_sec, tool_runs=1)
    unpriced = Decimal(str(budget.call_usd))
    if PROGRAM not in profile.command:
        return Estimate(wall_sec=wall_sec, tool_runs=1, tokens=budget.call_tokens, usd=unpriced)
    read, written = _tokens_of(ai)
    provider, _, model = (model_of(ai, strong=STRONG in profile.command) or "").partition(":")
    usd = price_of(model, provider, input_tokens=read, output_tokens=written, prices=budget.prices)
    return Estimate(wall_sec=wall_sec, tool_runs=1, tokens=read + written, usd=unpriced if usd is None else usd)


def _tokens_of(ai: AiSettings) -> tuple[int, int]:
    """Tokens read and written if every answer is as long as it may be, and every one but the last goes back."""
    answers = ai.edit_retries + 1
    earlier = answers * ai.edit_retries // 2  # answers that are read again, with each further one
    read = answers * (ai.context_tokens + OVERHEAD_TOKENS) + earlier * ai.max_output_tokens
    return read, answers * ai.max_output_tokens
