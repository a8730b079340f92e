"""The pattern index: the first that fits, closed where it is not open, extended by the user's files."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest

from prefect_acms.blocks.guardrails import GuardrailSettings, PatchLimits
from prefect_acms.blocks.tool_spec import TaskKind
from prefect_acms.canonical.errors import InvalidDocument, InvalidValue, UnknownName
from prefect_acms.tasks.clustering import cluster
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.patterns import SHIPPED, Pattern, PatternFile, PatternIndex
from prefect_acms.tasks.planning import compile_plan
from prefect_acms.tasks.profiles import load_profiles
from prefect_acms.tasks.tightening import tightened

MakeGap = Callable[..., Gap]

RAILS = GuardrailSettings()


@pytest.mark.parametrize(
    ("facts", "pattern_id"),
    [
        ({"source": "ruff", "rule_id": "F401"}, "lint-fix"),
        ({"source": "ruff", "rule_id": "unformatted", "category": "formatting"}, "format"),
        ({"source": "pytest", "rule_id": "failing-test"}, "failing-test"),
        ({"source": "markers", "rule_id": "TODO"}, "marker"),
        ({"source": "stranger", "rule_id": "X"}, None),
    ],
)
def test_each_shipped_source_has_its_pattern(make_gap: MakeGap, facts: dict[str, str], pattern_id: str | None) -> None:
    """What no pattern covers has none; task patterns never take a gap."""
    found = PatternIndex.load().for_gap(make_gap("a", "a.py", **facts))
    assert (found.id if found else None) == pattern_id


def test_every_allowed_tool_is_shipped_and_can_do_it() -> None:
    """A pattern names tools that exist, made for its kinds of task and its domains."""
    toolbox = load_profiles()
    for pattern in PatternIndex.load():
        for tool_id in pattern.allowed_tools:
            capabilities = set(toolbox.get(tool_id).capabilities)
            assert set(pattern.domains) | set(pattern.kinds) <= capabilities


def test_a_gap_is_refused_with_a_reason(make_gap: MakeGap) -> None:
    """Not fixable, without a file, or a note for a person: each says why."""
    index = PatternIndex.load()
    lint, marker = index.get("lint-fix"), index.get("marker")
    assert lint.refusal(make_gap("a", "a.py", fixable=True), RAILS) is None
    assert "no fix" in (lint.refusal(make_gap("a", "a.py"), RAILS) or "")
    assert "no file" in (lint.refusal(make_gap("a", fixable=True), RAILS) or "")
    assert "no deterministic tool" in (marker.refusal(make_gap("a", "a.py"), RAILS) or "")


def test_a_pattern_of_the_user_replaces_ours(tmp_path: Path, make_gap: MakeGap) -> None:
    """One of the same name stands in ours' place; disabled, it keeps its gaps and nothing is done about them."""
    path = tmp_path / "tools.toml"
    path.write_text(
        '[patterns.lint-fix]\ntitle = "off"\nenabled = false\nsources = ["ruff"]\nkinds = ["implementation"]\n'
        'allowed_tools = ["ruff-fix"]\n'
    )
    gap = make_gap("a", "a.py", fixable=True)
    found = PatternIndex.load([path]).for_gap(gap)
    assert found is not None
    assert found.refusal(gap, RAILS) == "pattern lint-fix is disabled"


def test_a_pattern_of_the_user_is_offered_gaps_before_ours(tmp_path: Path, make_gap: MakeGap) -> None:
    """Rules are globs; what the pattern does not fit goes on to ours; other tables of the file are not looked at."""
    path = tmp_path / "tools.toml"
    path.write_text(
        '[patterns.naming]\ntitle = "Rename"\nsources = ["ruff"]\nrules = ["N8*"]\nkinds = ["implementation"]\n'
        'allowed_tools = ["renamer"]\n[tools.renamer]\ncommand = ["x"]\n'
    )
    index = PatternIndex.load([path])
    found = [index.for_gap(make_gap("a", "a.py", rule_id=rule)) for rule in ("N801", "F401")]
    assert [pattern.id for pattern in found if pattern] == ["naming", "lint-fix"]


def test_what_only_a_model_can_fix_goes_to_one_only_where_one_is_configured(make_gap: MakeGap) -> None:
    """Without any the gap keeps its reason; a note of somebody and a failing test are never handed to a model."""
    lint, types = make_gap("a", "a.py"), make_gap("b", "b.py", source="mypy")
    fixable = make_gap("c", "a.py", fixable=True)
    off, on = PatternIndex.load(), PatternIndex.load(ai_tools=("ai-edit", "claude"))
    for gap, reason in ((lint, "ruff has no fix"), (types, "no model or agent is configured")):
        found = off.for_gap(gap)
        assert found is not None
        assert reason in (found.refusal(gap, RAILS) or "")
        armed = on.for_gap(gap)
        assert armed is not None
        assert (armed.id, armed.allowed_tools, armed.refusal(gap, RAILS)) == ("ai-fix", ("ai-edit", "claude"), None)
    first = on.for_gap(fixable)
    assert first is not None
    assert (first.id, first.allowed_tools) == ("lint-fix", ("ruff-fix", "ruff-fix-unsafe", "ai-edit", "claude"))
    for source, category in (("markers", "marker"), ("pytest", "testing")):
        gap = make_gap("d", "a.py", source=source, category=category)
        assert [on.for_gap(gap), on.get("format").allowed_tools] == [off.for_gap(gap), ("ruff-format",)]


def test_a_pattern_may_let_models_behind_it_or_only_some_of_them(tmp_path: Path, make_gap: MakeGap) -> None:
    """`otherwise` names a pattern with `ai`; anything else is refused."""
    path = tmp_path / "tools.toml"
    own = (
        "[patterns.marker]\ntitle = 'Notes'\nsources = ['markers']\nkinds = []\nallowed_tools = []\notherwise = '{}'\n"
        "[patterns.ai-notes]\ntitle = 'Do them'\nai = true\nkinds = ['implementation']\nallowed_tools = ['claude']\n"
    )
    path.write_text(own.format("ai-notes"))
    gap = make_gap("a", "a.py", source="markers", rule_id="TODO")
    asked = [PatternIndex.load([path], tools).for_gap(gap) for tools in ((), ("ai-edit",), ("ai-edit", "claude"))]
    assert [pattern.id for pattern in asked if pattern] == ["marker", "marker", "ai-notes"]
    path.write_text(own.format("nothing"))
    with pytest.raises(UnknownName, match="unknown pattern 'nothing': expected one of"):
        PatternIndex.load([path])
    path.write_text(own.format("format"))
    with pytest.raises(InvalidValue, match=r"marker\.otherwise is 'format': expected a pattern with ai = true"):
        PatternIndex.load([path])


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("version = 2", "version"),
        ("version = true", "version"),
        ("version = '1'", "version"),
        ("[patterns.x]\ntitle = 'x'\nkinds = []\nallowed_tools = []\nscope = ['[a']", "patterns.x.scope[0]"),
        (
            "[patterns.x]\ntitle = 'x'\nkinds = []\nallowed_tools = []\nrequired_checks = ['FUN']",
            "patterns.x.required_checks[0]",
        ),
        ("patterns = 3", "patterns"),
        ("[patterns]\nx = 3", "patterns.x"),
        ("[[patterns]]\nid = 'x'", "patterns"),
        ("[patterns.x]\ntitle = 'x'\nkinds = ['nonsense']\nallowed_tools = []", "patterns.x.kinds[0]"),
        ("[patterns.x]\ntitle = 'x'\nkinds = []\nallowed_tools = []\ncolour = 'red'", "patterns.x.colour"),
        ("[patterns.'X Y']\ntitle = 'x'\nkinds = []\nallowed_tools = []", "patterns.X Y.id"),
    ],
)
def test_a_broken_pattern_is_refused_with_the_place(tmp_path: Path, text: str, where: str) -> None:
    path = tmp_path / "patterns.toml"
    path.write_text(text)
    with pytest.raises(InvalidDocument) as caught:
        PatternIndex.load([path])
    assert caught.value.facts["where"] == where


def test_an_unknown_name_lists_the_known_ones() -> None:
    index = PatternIndex.load()
    with pytest.raises(UnknownName, match="lint-fix"):
        index.get("nonsense")
    assert index.find("nonsense") is None
    assert index.get("inspection").kinds == (TaskKind.ANALYSIS,)


def test_the_shipped_index_fits_its_schema() -> None:
    """Its version is the one that is read."""
    document = tomllib.loads(SHIPPED.read_text())
    jsonschema.validate(document, PatternFile.model_json_schema())
    assert document["version"] == 1


def test_a_pattern_tightens_the_policy_and_never_loosens_it() -> None:
    """Its limits hold where they are smaller; its operations, checks and scope come to those of the run."""
    run = GuardrailSettings(limits=PatchLimits(max_files=5), scope=("src/",))
    told = {"limits": {"max_files": 9, "max_bytes": 7}, "scope": ["*.py"], "forbidden": ["delete"]}
    pattern = Pattern.model_validate(
        {"id": "x", "title": "x", "kinds": [], "allowed_tools": [], "required_checks": ["UNIT"], **told}
    )
    held = tightened(run, pattern.policy)
    assert (held.limits.max_files, held.limits.max_bytes) == (5, 7)
    assert (held.forbidden, held.required_checks) == (("delete",), ("UNIT",))
    assert [rules.scope for rules in held.path_rules] == [("src/",), ("*.py",)]


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"allowed_tools": ["ruff-format"]}, "the policy allows none of the tools that could fix it"),
        ({"scope": ["src/"]}, "the policy closes it: a.py is outside of src/"),
        ({"protected_paths": ["A.PY"]}, "the policy closes it: a.py must not be changed"),
    ],
)
def test_what_the_policy_closes_is_deferred_and_not_tried(
    make_gap: MakeGap, policy: dict[str, list[str]], reason: str
) -> None:
    """No task is made that could only be refused; the plan gives the reason."""
    gaps = [make_gap("a", "a.py", fixable=True), make_gap("b", "src/b.py", source="pytest", fixable=True)]
    facts = {"repository": "demo", "base_commit": "abc", "has_tests": True}
    guardrails = GuardrailSettings.model_validate(policy)
    compiled = compile_plan(cluster(gaps), gaps, PatternIndex.load(), guardrails=guardrails, **facts)  # type: ignore[arg-type]
    reasons = {gap.fingerprint: why for gap, why in compiled.not_fixable}
    assert reasons[gaps[0].fingerprint].startswith(reason)
    assert compiled.plan.tasks == ()
