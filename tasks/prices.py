"""Prices of models: what a use of one has cost, from the prices that genai-prices brings along, offline."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from prefect_acms.blocks.budget import ModelPrice

if TYPE_CHECKING:
    from prefect_acms.tasks.usage import Usage

_MILLION = 1_000_000


def cost_of(usage: Usage, prices: Mapping[str, ModelPrice] | None = None) -> Decimal | None:
    """US dollars that a use has cost: as the tool says, by the given prices, or by known ones; None if nobody knows."""
    if usage.cost_usd is not None or usage.is_nothing:
        return usage.cost_usd or Decimal(0)
    return price_of(
        usage.model,
        usage.provider,
        input_tokens=usage.input_tokens,
        cached_tokens=usage.cached_tokens,
        output_tokens=usage.output_tokens,
        prices=prices,
    )


def price_of(
    model: str | None,
    provider: str | None = None,
    *,
    input_tokens: int = 0,
    cached_tokens: int = 0,
    output_tokens: int = 0,
    prices: Mapping[str, ModelPrice] | None = None,
) -> Decimal | None:
    """US dollars for so many tokens of a model, those from its cache being part of the input; None if nobody knows."""
    if not model:
        return None
    named = (f"{provider}:{model}", model)
    own = next((price for name, price in (prices or {}).items() if name in named), None)
    if own is not None:
        read, written = Decimal(str(own.input_usd)), Decimal(str(own.output_usd))
        return (read * input_tokens + written * output_tokens) / _MILLION
    try:
        from genai_prices import Usage as Tokens  # noqa: PLC0415 - slow to import, and an extra
        from genai_prices import calc_price  # noqa: PLC0415
    except ImportError:
        return None
    tokens = Tokens(
        input_tokens=input_tokens, cache_read_tokens=min(cached_tokens, input_tokens), output_tokens=output_tokens
    )
    for known in dict.fromkeys((provider or None, None)):
        try:
            return calc_price(tokens, model, provider_id=known).total_price
        except LookupError:
            continue  # a provider of that name need not be known, the model may be all the same
    return None
