"""What models cost: as the tool says, as the run says, or as is known offline; and what a call may cost at most."""

from __future__ import annotations

from decimal import Decimal

import pytest

from prefect_acms.blocks.ai import AiSettings
from prefect_acms.blocks.budget import BudgetSettings, ModelPrice
from prefect_acms.blocks.tool_spec import ToolSpec
from prefect_acms.canonical.budget import Amount
from prefect_acms.tasks.estimates import estimate_of
from prefect_acms.tasks.prices import cost_of, price_of
from prefect_acms.tasks.usage import Usage

pytest.importorskip("genai_prices", reason="it knows the prices of models")

USE = Usage(model="gpt-4o", provider="openai", requests=2, input_tokens=1000, cached_tokens=200, output_tokens=100)


@pytest.mark.parametrize(
    ("use", "cost"),
    [
        (USE, "0.00325"),  # 800 x 2.50 + 200 x 1.25 + 100 x 10 dollars for a million
        (USE.model_copy(update={"provider": "somebody-s-proxy"}), "0.00325"),
        (USE.model_copy(update={"cost_usd": Decimal("0.5")}), "0.5"),
        (USE.model_copy(update={"model": "nobody-knows-it"}), None),
        (USE.model_copy(update={"model": None}), None),
        (Usage(model="nobody-knows-it"), "0"),
    ],
)
def test_a_use_costs_what_the_tool_says_or_what_is_known(use: Usage, cost: str | None) -> None:
    """Tokens of the cache are cheaper; what nobody knows is None, and not nothing."""
    assert cost_of(use) == (None if cost is None else Decimal(cost))


@pytest.mark.parametrize("name", ["gpt-4o", "openai:gpt-4o"])
def test_a_price_of_the_run_s_own_comes_first(name: str) -> None:
    """A local model costs nothing, if its owner says so; one may be named with its provider or without."""
    own = {name: ModelPrice(input_usd=1, output_usd=2)}
    assert cost_of(USE, own) == Decimal("0.0012")
    assert cost_of(USE, {name: ModelPrice()}) == 0
    assert price_of("gpt-4o", "openai", output_tokens=500_000, prices=own) == 1


def test_an_estimate_is_what_a_call_may_use_up_at_most() -> None:
    """Our own model program: every answer as long as it may be, and sent back; another agent: what the run says."""
    ai = AiSettings(
        model="openai:gpt-4o", strong_model="x:y", context_tokens=10_000, max_output_tokens=1000, edit_retries=2
    )
    budget = BudgetSettings(call_tokens=7, call_usd=0.75)
    command = ("{acms_python}", "-I", "-m", "prefect_acms.tasks.ai", "edit")

    def estimate(*arguments: str, **facts: bool) -> Amount:
        profile = ToolSpec.model_validate({"tool_id": "t", "command": arguments, "timeout_sec": 60, **facts})
        return estimate_of(profile, 30, ai, budget)

    assert estimate("ruff") == Amount(wall_sec=30, tool_runs=1)
    assert estimate("claude", ai=True) == Amount(30, 1, 7, Decimal("0.75"))
    weak, strong = estimate(*command, ai=True), estimate(*command, "--strong", ai=True)
    read, written = 3 * 14_000 + 3 * 1000, 3 * 1000
    assert weak == Amount(30, 1, read + written, (read * Decimal("2.5") + written * 10) / 1_000_000)
    assert strong == Amount(30, 1, read + written, Decimal("0.75"))
