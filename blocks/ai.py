"""Which models may be asked, and how much of a repository they are shown; without a model nothing is ever sent."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from prefect_acms.blocks.saved import AI_MODEL, BlockName, Saved
from prefect_acms.blocks.section import Section

MODEL_NAME = r"^[a-z0-9][a-z0-9_./-]*:\S+$"
"""`provider:model`, as pydantic-ai names models."""

ModelName = Annotated[str, Field(pattern=MODEL_NAME)]

AGENT_MODEL = r"^[A-Za-z0-9][\w./:@+-]{0,199}$"
"""A model as agents name them; it can be no option of theirs."""


class AiSettings(Section):
    """Models and agents that may find and fix gaps; AI is off unless a model or an agent is named here."""

    model: ModelName | None = Field(
        default=None,
        description="model that finds and fixes gaps, as provider:model (openai:gpt-5-mini, anthropic:claude-haiku-4-5 "
        "…); its key comes from the provider's own environment variable; none: no model is asked",
    )
    model_block: Annotated[BlockName, Saved(AI_MODEL)] | None = Field(
        default=None, description="saved ACMS AI Model, with its key and address, in place of `model`"
    )
    strong_model: ModelName | None = Field(
        default=None, description="stronger model that is asked where the first one could not fix a gap"
    )
    strong_model_block: Annotated[BlockName, Saved(AI_MODEL)] | None = Field(
        default=None, description="saved ACMS AI Model in place of `strong_model`"
    )
    tools: tuple[str, ...] = Field(
        default=(), description="AI agents that may be used as tools: aider, claude, codex, copilot, gemini"
    )
    agent_models: dict[str, Annotated[str, Field(pattern=AGENT_MODEL)]] = Field(
        default={}, description="model that an agent in `tools` is to ask, by the agent's name; else its own"
    )
    context_tokens: int = Field(
        default=16_000, ge=1_000, le=1_000_000, description="tokens of repository text that one prompt may hold"
    )
    max_output_tokens: int = Field(default=8_000, ge=256, le=200_000, description="tokens that one answer may have")
    request_timeout_sec: float = Field(default=120, gt=0, le=3600, description="seconds that one request may take")
    request_retries: int = Field(
        default=3,
        ge=0,
        le=10,
        description="how often a request is repeated that found the provider busy, broken or away; it is waited as "
        "long as the provider asks for",
    )
    patience_sec: float = Field(
        default=60, ge=0, le=3600, description="seconds that are waited at most before a request is repeated"
    )
    edit_retries: int = Field(
        default=2, ge=0, le=10, description="how often edits that don't fit the files go back to the model"
    )
    scan_files: int = Field(
        default=20, ge=1, le=10_000, description="files that the gap source `ai` shows to the model, most changed first"
    )
    scan_gaps: int = Field(default=50, ge=1, le=1_000, description="gaps that the gap source `ai` may find at most")
    scan_focus: str = Field(
        default="", max_length=2_000, description="what the gap source `ai` is to look for; empty: any real fault"
    )

    @property
    def asks_models(self) -> bool:
        """Whether there is a model to ask."""
        return self.model is not None or self.model_block is not None

    @property
    def has_strong_model(self) -> bool:
        """Whether there is a second, stronger model."""
        return self.strong_model is not None or self.strong_model_block is not None

    @model_validator(mode="after")
    def _one_word_for_each(self) -> Self:
        for name in ("model", "strong_model"):
            if getattr(self, name) and getattr(self, f"{name}_block"):
                message = f"give {name}, or choose a saved one in {name}_block, not both"
                raise ValueError(message)
        if self.has_strong_model and not self.asks_models:
            message = "a strong_model stands behind a model: name that in `model` too"
            raise ValueError(message)
        if strangers := sorted(set(self.agent_models) - set(self.tools)):
            message = f"agent_models names {', '.join(strangers)}, which is not in `tools`"
            raise ValueError(message)
        return self
