"""Policy says which valid patch may not go in, and which one a person has to see, each time with the reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from prefect_acms.blocks.guardrails import GuardrailSettings, Integrity, PathRules, ReviewSettings, Untested
from prefect_acms.blocks.tool_spec import Tier
from prefect_acms.canonical.test_gate import GateType
from prefect_acms.tasks.integrity import IntegrityFinding, IntegrityRule
from prefect_acms.tasks.review_policy import PatchFacts, refusals, review_reasons

FOUND = IntegrityFinding(IntegrityRule.TEST_SKIPPED, "tests/test_a.py", 3, "a test is skipped")

GOOD = PatchFacts(
    files=("src/a.py", "src/b.py"),
    lines=12,
    tool_id="ruff-fix",
    tier=Tier.LOW,
    ai_made=False,
    judging=frozenset({GateType.LINT, GateType.UNIT}),
)


def rails(**settings: Any) -> GuardrailSettings:
    """Guardrails that differ from the default in these settings."""
    return GuardrailSettings.model_validate(settings)


def test_the_default_lets_a_tested_patch_of_a_deterministic_tool_in() -> None:
    assert refusals(GuardrailSettings(), GOOD) == ()
    assert review_reasons(GuardrailSettings(), GOOD) == ()


@pytest.mark.parametrize(
    ("settings", "facts", "reason"),
    [
        ({"review": {"always": True}}, {}, "the policy wants every patch to be seen"),
        ({}, {"ai_made": True}, "ruff-fix, which made it, is not deterministic"),
        ({"review": {"tools": ["ruff-fix"]}}, {}, "ruff-fix made it"),
        ({"review": {"tiers": ["low"]}}, {}, "ruff-fix, which made it, has safety tier low"),
        ({"review": {"max_files": 1}}, {}, "it touches 2 files, 1 may go in unseen"),
        ({"review": {"max_lines": 11}}, {}, "it changes 12 lines, 11 may go in unseen"),
        ({"review": {"paths": ["b.py"]}}, {}, "it touches src/b.py"),
        ({"review": {"paths": ["/src/B.py"]}}, {}, "it touches src/b.py"),
        ({"further_paths": [{"review_paths": ["/src/"]}]}, {}, "it touches src/a.py, src/b.py"),
        (
            {},
            {"integrity": (FOUND,)},
            "it changes what judges it: TEST_SKIPPED at tests/test_a.py:3: a test is skipped",
        ),
        ({"unavailable_gates": "review"}, {"judging": frozenset({GateType.LINT})}, "no tests can judge it"),
        (
            {"review": {"ai_made": False}},
            {"ai_made": True, "judging": frozenset({GateType.LINT})},
            "no tests can judge it",
        ),
    ],
)
def test_each_setting_sends_a_patch_to_review_by_its_reason(
    settings: dict[str, Any], facts: dict[str, Any], reason: str
) -> None:
    """One setting or fact changed, one reason: none is given twice, none hides another."""
    assert review_reasons(rails(**settings), GOOD.model_copy(update=facts)) == (reason,)


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"review": {"max_files": 2, "max_lines": 12}}, {}),
        ({"review": {"tools": ["aider"], "tiers": ["medium", "high"], "paths": ["/a.py"]}}, {}),
        ({"review": {"paths": ["*.py", "!src/*.py"]}}, {}),
        ({"review": {"ai_made": False}}, {"ai_made": True}),
        ({}, {"judging": frozenset({GateType.LINT})}),
        ({"unavailable_gates": "review"}, {"judging": frozenset({GateType.INTEGRATION})}),
        ({"unavailable_gates": "allow", "review": {"ai_made": False}}, {"ai_made": True, "judging": frozenset()}),
    ],
)
def test_what_is_within_the_bounds_goes_in_unseen(settings: dict[str, Any], facts: dict[str, Any]) -> None:
    """The bound itself is within; LINT suffices for deterministic tools."""
    assert review_reasons(rails(**settings), GOOD.model_copy(update=facts)) == ()
    assert refusals(rails(**settings), GOOD.model_copy(update=facts)) == ()


def test_a_list_that_takes_back_can_not_take_back_what_another_list_says() -> None:
    """Each list of paths holds on its own."""
    settings = GuardrailSettings(
        review=ReviewSettings(paths=("src/",)), further_paths=(PathRules(review_paths=("!src/",)),)
    )
    assert review_reasons(settings, GOOD) == ("it touches src/a.py, src/b.py",)


@pytest.mark.parametrize(
    ("settings", "facts", "reason"),
    [
        ({"allowed_tools": ["ruff-format"]}, {}, "the policy allows the tools ruff-format, not ruff-fix"),
        ({"allowed_tools": []}, {}, "the policy allows the tools none, not ruff-fix"),
        (
            {"required_checks": ["UNIT", "SECURITY", "INTEGRATION"]},
            {},
            "the policy requires that INTEGRATION, SECURITY can judge, and not all of them can",
        ),
        ({}, {"policy_files": ("acms.toml",)}, "it changes the repository's own policy: acms.toml"),
        ({"unavailable_gates": Untested.REFUSE}, {"judging": frozenset({GateType.LINT})}, "no tests can judge it"),
        (
            {"integrity": Integrity.REFUSE},
            {"integrity": (FOUND,)},
            "it changes what judges it: TEST_SKIPPED at tests/test_a.py:3: a test is skipped",
        ),
    ],
)
def test_each_setting_refuses_by_its_reason(settings: dict[str, Any], facts: dict[str, Any], reason: str) -> None:
    """What is refused need not be seen by anybody."""
    assert refusals(rails(**settings), GOOD.model_copy(update=facts)) == (reason,)
    assert review_reasons(rails(**settings), GOOD.model_copy(update=facts)) == ()


def test_the_facts_are_stored_and_read_again_as_they_were() -> None:
    """What policy was asked about can be asked again, by another policy."""
    facts = GOOD.model_copy(update={"integrity": (FOUND,), "policy_files": ("acms.toml",)})
    assert PatchFacts.model_validate(json.loads(json.dumps(facts.record))) == facts
