"""What a model has used up in a run of a tool."""

from __future__ import annotations

from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field


class Usage(BaseModel):
    """Requests, tokens and cost of one model; the cost is None where nobody has told it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = Field(default=None, description="name of the model")
    provider: str | None = Field(default=None, description="name of its provider")
    requests: int = Field(default=0, ge=0, description="how often it was asked")
    input_tokens: int = Field(default=0, ge=0, description="tokens that it has read, those of its cache included")
    cached_tokens: int = Field(default=0, ge=0, description="tokens that were read from its cache")
    output_tokens: int = Field(default=0, ge=0, description="tokens that it has written")
    cost_usd: Decimal | None = Field(default=None, ge=0, description="US dollars, where the tool tells them")

    def __add__(self, other: Usage) -> Usage:
        """Both together; a cost that is not known of one is not known of both."""
        costs = [one.cost_usd for one in (self, other) if one.requests]
        return Usage(
            model=self.model or other.model,
            provider=self.provider or other.provider,
            requests=self.requests + other.requests,
            input_tokens=self.input_tokens + other.input_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_usd=None if None in costs else sum((cost for cost in costs if cost is not None), Decimal(0)),
        )
