"""What a task may do; what is not known to be allowed is refused."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytest

from prefect_acms.blocks.guardrails import GuardrailSettings
from prefect_acms.blocks.tool_spec import Tier
from prefect_acms.canonical.errors import GuardrailViolation
from prefect_acms.tasks.guardrails import check_paths, check_task, covered_in_any_case, outside_scope
from prefect_acms.tasks.profiles import load_profiles

RAILS = GuardrailSettings()


@dataclass(frozen=True)
class Rules:
    """A pattern as the index would hand it out."""

    id: str = "lint"
    enabled: bool = True
    allowed_tools: tuple[str, ...] = ("ruff-fix", "ruff-fix-unsafe")


def broken_rule(
    pattern: Rules | None, tool: str = "ruff-fix", files: tuple[str, ...] = ("a.py",), ceiling: Tier = Tier.MEDIUM
) -> str | None:
    """The guardrail that refuses, or None."""
    try:
        check_task(pattern, load_profiles().get(tool), files, scope=("a.py", "src/"), guardrails=RAILS, ceiling=ceiling)
    except GuardrailViolation as violation:
        return str(violation.facts["rule"])
    return None


def test_a_task_within_all_limits_passes() -> None:
    """A known pattern, a tool that it allows, files of the scope."""
    assert broken_rule(Rules(), files=("a.py", "src/deep/b.py")) is None


def test_each_limit_refuses_by_its_name() -> None:
    """Pattern unknown or disabled, tool not allowed or not safe enough, path outside, protected or leaving."""
    assert broken_rule(None) == "pattern"
    assert broken_rule(Rules(enabled=False)) == "pattern"
    assert broken_rule(Rules(), tool="ruff-format") == "tool"
    assert broken_rule(Rules(), tool="ruff-fix-unsafe") == "safety_tier"
    assert broken_rule(Rules(), tool="ruff-fix-unsafe", ceiling=Tier.HIGH) is None
    assert broken_rule(Rules(), files=("b.py",)) == "scope"
    assert broken_rule(Rules(), files=("src/.github/x.py",)) == "protected_paths"
    assert broken_rule(Rules(), files=("../a.py",)) == "path"


@pytest.mark.parametrize(
    "path", ["", ".", "/etc/passwd", "../a", "src/../../a", ".git/config", "src/.GIT/hooks/x", "a\0b"]
)
def test_a_path_that_leaves_the_repository_is_refused_whatever_the_scope(path: str) -> None:
    """Absolute, dotted, empty, or inside .git in any spelling."""
    with pytest.raises(GuardrailViolation, match="guardrail path"):
        check_paths([path], scope=("*", "/", "**", path))


@pytest.mark.parametrize(
    ("policy", "rule"),
    [
        ({}, None),
        ({"allowed_tools": ["ruff-fix"], "scope": ["*.py"]}, None),
        ({"allowed_tools": ["ruff-format"]}, "allowed_tools"),
        ({"scope": ["src/"]}, "scope"),
        ({"further_paths": [{"scope": ["src/"]}]}, "scope"),
        ({"further_paths": [{"protected_paths": ["A.py"]}]}, "protected_paths"),
    ],
)
def test_a_task_does_not_start_where_the_policy_closes_it(policy: dict[str, Any], rule: str | None) -> None:
    """Its tool and each of its files, by the rules of every layer."""
    rails, tool = GuardrailSettings.model_validate(policy), load_profiles().get("ruff-fix")
    with nullcontext() if rule is None else pytest.raises(GuardrailViolation, match=f"guardrail {rule}: "):
        check_task(Rules(), tool, ["a.py"], scope=("a.py",), guardrails=rails)


def test_an_empty_scope_allows_nothing() -> None:
    """Fail closed: no scope is not every scope."""
    with pytest.raises(GuardrailViolation, match=r"a\.py outside of nothing"):
        check_paths(["a.py"], scope=())
    check_paths([], scope=())


def test_a_file_of_the_scope_is_that_file_and_no_namesake() -> None:
    """A scope starts at the top: `setup.py` is not `docs/setup.py`."""
    assert outside_scope(["docs/setup.py", "setup.py"], ["setup.py"]) == ("docs/setup.py",)


def test_a_scope_may_be_a_folder_or_a_glob() -> None:
    """As git reads them; `**` crosses folders, `*` does not."""
    scope = ["src/", "/docs/*.md", "app/**/page.py"]
    inside = ["src/a/b.py", "docs/x.md", "app/page.py", "app/a/b/page.py"]
    outside = ["docs/a/x.md", "lib/src/a.py", "srcs/a.py"]
    assert outside_scope([*inside, *outside], scope) == tuple(sorted(outside))


def test_a_path_with_the_signs_of_a_glob_is_itself() -> None:
    """`app/[id].py` in a scope means that file."""
    assert outside_scope(["app/[id].py"], ["app/[id].py"]) == ()


def test_protected_files_are_found_at_any_depth() -> None:
    """As git finds what .gitignore names; a `!` takes back what came before."""
    assert covered_in_any_case(["a/.gitattributes", ".github/x", "ok.py"], RAILS.protected_paths) == (
        ".github/x",
        "a/.gitattributes",
    )
    assert covered_in_any_case(["docs/a", "docs/b"], ["docs/*", "!docs/b"]) == ("docs/a",)
