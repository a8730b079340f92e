"""Models are named clearly, and a key goes over a protected way only."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from prefect_acms.blocks.ai import AiSettings
from prefect_acms.blocks.ai_model import AiModel


def test_nothing_is_asked_unless_a_model_is_named() -> None:
    """Neither by default, nor by any other setting of the section."""
    assert not AiSettings().asks_models
    assert not AiSettings(scan_focus="leaks", tools=("claude",)).asks_models
    assert AiSettings(model="openai:gpt-5").asks_models
    assert AiSettings(model_block="mine", strong_model="anthropic:claude-opus-5").has_strong_model


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": "gpt-5"}, "should match pattern"),
        ({"model": "openai:gpt 5"}, "should match pattern"),
        ({"model": "openai:gpt-5", "model_block": "mine"}, "not both"),
        ({"strong_model": "openai:gpt-5"}, "stands behind a model"),
        ({"tools": ["claude"], "agent_models": {"cluade": "haiku"}}, "cluade, which is not in `tools`"),
        ({"tools": ["claude"], "agent_models": {"claude": "--yes"}}, "should match pattern"),
        ({"modle": "openai:gpt-5"}, "Extra inputs"),
    ],
)
def test_what_can_not_be_meant_is_refused(settings: dict[str, Any], said: str) -> None:
    """With a sentence about what would be right."""
    with pytest.raises(ValidationError, match=said):
        AiSettings.model_validate(settings)


@pytest.mark.parametrize("address", ["http://models.example.org/v1", "ftp://x", "https://me@models.example.org", "x"])
def test_a_key_goes_nowhere_that_is_not_protected(address: str) -> None:
    """A wrong address is refused, and the error does not tell the key."""
    with pytest.raises(ValidationError, match="base_url") as refused:
        AiModel(model="openai:gpt-5", api_key="hunter2-hunter2", base_url=address)
    assert "hunter2" not in str(refused.value)


def test_a_model_on_this_machine_or_without_a_key_may_be_reached_without_tls() -> None:
    """Models that run locally speak plain http."""
    assert AiModel(model="ollama:qwen", api_key="k", base_url="http://127.0.0.1:11434/v1").base_url
    assert AiModel(model="ollama:qwen", base_url="http://ollama:11434/v1").base_url
