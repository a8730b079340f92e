"""What the form of the Prefect UI leaves in the parameters of a schedule."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from prefect_acms.blocks.config import PipelineConfig


def test_a_schedule_of_the_ui_means_what_was_typed() -> None:
    """A JSON field that was left alone is not given, and one that was filled in is read."""
    gates = {"timeouts_sec": {"__prefect_kind": "json"}, "reports": {"__prefect_kind": "json", "value": "{}"}}
    config = PipelineConfig.model_validate({"repository": "shop", "gates": gates})
    assert config == PipelineConfig(repository="shop")
    typed = {"unit": {"__prefect_kind": "json", "value": '["make", "test"]'}}
    assert PipelineConfig.model_validate({"repository": "shop", "gates": typed}).gates.unit == ("make", "test")


def test_what_is_no_json_is_refused() -> None:
    """With a sentence, as everything else is."""
    with pytest.raises(ValidationError, match="Invalid JSON"):
        PipelineConfig.model_validate({"repository": {"__prefect_kind": "json", "value": "{"}})
