"""The form of a run in the Prefect UI: what it draws, and what Prefect's server says of what is filled in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from prefect.utilities.schema_tools.validation import ValidationError, validate

from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.blocks.section import title_of
from prefect_acms.flows.pipeline import acms_pipeline

FORM: dict[str, Any] = acms_pipeline.parameters.model_dump()


def refusal(**config: Any) -> str:
    """What the server says of these values; it enforces the schema with this very function."""
    with pytest.raises(ValidationError) as refused:
        validate({"config": config}, FORM, raise_on_error=True)
    return str(refused.value)


def fields(definition: str = "PipelineConfig") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every field of the form, with its place."""
    for name, field in FORM["definitions"][definition]["properties"].items():
        yield f"{definition}.{name}", field
        below = str(field.get("$ref", "")).rpartition("/")[2]
        if "properties" in FORM["definitions"].get(below, {}):
            yield from fields(below)


def test_every_field_says_what_it_is_and_keeps_its_place() -> None:
    """A title or the name of its enum as label, a help text below it, and the order of the model."""
    found = dict(fields())
    assert len(found) > 60
    for place, field in found.items():
        assert field["description"], place
        assert "title" in field or "$ref" in field, place
    positions = [field["position"] for name, field in found.items() if name.startswith("PipelineConfig.")]
    assert positions == list(range(len(PipelineConfig.model_fields)))


def test_nothing_is_drawn_as_tabs_with_none() -> None:
    """A field that may be left out is the field itself; of `anyOf` with null the UI would make tabs."""
    assert [place for place, field in fields() if "anyOf" in field or field.get("default", "") is None] == []


def test_no_default_is_drawn_as_a_page_of_lines() -> None:
    """The list of protected paths is left to its help text; opened and left empty, it does not turn protection off."""
    assert max(len(field["default"]) for _, field in fields() if isinstance(field.get("default"), list)) <= 20
    assert refusal(repository="/r", guardrails={"protected_paths": []}).endswith("[] should be non-empty")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "field 'config'. Failure reason: 'repository' is a required property"),
        ({"repository": ""}, "field 'config.repository'. Failure reason: '' should be non-empty"),
        (
            {"repository": "/r", "clustering": {"by": "age"}},
            "field 'config.clustering.by'. Failure reason: 'age' is not one of ['category', 'proximity']",
        ),
        (
            {"repository": "/r", "mode": "execute_only"},
            "field 'config'. Failure reason: 'plan' is a required property",
        ),
        (
            {"blocks": {"workspace": "a/b"}},
            "field 'config.blocks.workspace'. Failure reason: 'a/b' does not match '^[^/\\\\s%&<>][^/%&<>]*$'",
        ),
        (
            {"repository": "/r", "discovery": {"max_gaps": 0}},
            "field 'config.discovery.max_gaps'. Failure reason: 0 is less than the minimum of 1",
        ),
        (
            {"repository": "/r", "execution": {"concurrency": 65}},
            "field 'config.execution.concurrency'. Failure reason: 65 is greater than the maximum of 64",
        ),
        (
            {"repository": "/r", "gates": {"lint": "ruff check"}},
            "field 'config.gates.lint'. Failure reason: 'ruff check' is not valid under any of the given schemas",
        ),
        (
            {"repository": "/r", "speed": 1},
            "field 'config'. Failure reason: Additional properties are not allowed ('speed' was unexpected)",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_the_field_and_the_reason(config: dict[str, Any], said: str) -> None:
    """Before a run exists, and readable."""
    assert refusal(**config) == f"Validation failed for {said}"


def test_a_repository_is_all_that_is_needed() -> None:
    """And so is what the form sends, which is every default, and what Python sends, with its nulls."""
    whole = PipelineConfig(repository=Path("/r")).model_dump(mode="json")
    assert whole["discovery"]["max_gaps"] is None
    workspace = {"$ref": {"block_document_id": "7c9a2c1e-0d5f-4b43-8ea3-9f0f5a3c8a11"}}
    for config in ({"repository": "/r"}, whole, {"blocks": {"workspace": workspace}}, {"blocks": {"workspace": "w"}}):
        assert validate({"config": config}, FORM) == []


def test_saved_blocks_are_chosen_from_a_list() -> None:
    """The UI draws a selector where a field has the slug of a block type, in a list too."""
    found = FORM["definitions"]["SavedBlocks"]["properties"]
    drawn = {name: field.get("items", field)["block_type_slug"] for name, field in found.items()}
    assert drawn == {
        "workspace": "acms-workspace",
        "store": "acms-canonical-store",
        "guardrails": "acms-guardrail-policy",
        "resilience": "acms-resilience-policy",
        "tools": "acms-tool-profile",
    }


@pytest.mark.parametrize(
    ("name", "title"),
    [("retry_base_sec", "Retry base (seconds)"), ("database_url", "Database URL"), ("ai_made", "AI made")],
)
def test_a_field_is_called_by_words(name: str, title: str) -> None:
    """Units are spelled out."""
    assert title_of(name) == title
