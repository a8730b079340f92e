"""The router over a real store."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_acms.blocks.routing_rule import RoutingRule, Strategy
from prefect_acms.blocks.tool_spec import TaskKind, Tier, ToolSpec
from prefect_acms.canonical.outside_errors import ToolUnavailable
from prefect_acms.dao.store import Store, open_store
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.profiles import Toolbox, load_profiles
from prefect_acms.tasks.routing import Router, complexity_of, risk_of, score

TOOLS = Toolbox(
    ToolSpec(tool_id=name, command=("x",), task_kinds=(TaskKind.IMPLEMENTATION,), domains=("python",))
    for name in ("c", "a", "b")
)


@pytest.fixture
def store(canonical_url: str) -> Iterator[Store]:
    """An open store."""
    opened = open_store(canonical_url, synchronous="NORMAL")
    yield opened
    opened.close()


def rule(strategy: Strategy, *tools: str, rule_id: str = "rule", **conditions: str) -> RoutingRule:
    return RoutingRule.model_validate({"rule_id": rule_id, "strategy": strategy, "tools": tools, **conditions})


def record(store: Store, tool_id: str, successes: int, failures: int, latency_ms: float) -> None:
    for position in range(successes + failures):
        with store.begin() as dao:
            dao.tool_metrics.record(tool_id, success=position < successes, latency_ms=latency_ms)


def test_without_a_rule_it_is_the_first_capable_tool_by_name(store: Store) -> None:
    """The decision names the candidates."""
    decision = Router((), TOOLS, store).choose("implementation")
    assert (decision.tool_id, decision.rule, decision.strategy) == ("a", None, "first")
    assert decision.candidates == ("a", "b", "c")


def test_only_candidates_are_chosen(store: Store) -> None:
    """A pattern allows some tools; unknown ones and those that can't do the task are left out."""
    router = Router((rule(Strategy.FIXED, "a"),), TOOLS, store)
    assert router.choose("implementation", candidates=("c", "b", "unknown")).tool_id == "b"
    for kind, candidates in (("test", None), ("implementation", ("unknown",)), ("implementation", ())):
        with pytest.raises(ToolUnavailable, match=f"no allowed tool is capable of {kind}"):
            router.choose(kind, candidates=candidates)
    with pytest.raises(ToolUnavailable, match="capable of cobol, implementation"):
        router.choose("implementation", required=("cobol",))


def test_the_first_rule_that_matches_decides(store: Store) -> None:
    """By task kind, risk and complexity; what a rule leaves out matches everything."""
    rules = (
        rule(Strategy.FIXED, "a", rule_id="other-kind", task_kind="test"),
        rule(Strategy.FIXED, "b", rule_id="risky", risk="high"),
        rule(Strategy.FIXED, "c", rule_id="hard", risk="low", complexity="high"),
        rule(Strategy.FIXED, "a", rule_id="rest"),
    )
    router = Router(rules, TOOLS, store)

    def chosen(risk: Tier, complexity: Tier) -> tuple[str | None, str]:
        decision = router.choose(TaskKind.IMPLEMENTATION, risk, complexity)
        return decision.rule, decision.tool_id

    assert chosen(Tier.HIGH, Tier.HIGH) == ("risky", "b")
    assert chosen(Tier.LOW, Tier.HIGH) == ("hard", "c")
    assert chosen(Tier.MEDIUM, Tier.HIGH) == ("rest", "a")


def test_a_rule_without_a_candidate_is_passed_over(store: Store) -> None:
    """Its tools are not allowed here, so the next one speaks."""
    rules = (rule(Strategy.FIXED, "c", rule_id="first"), rule(Strategy.FIXED, "b", rule_id="second"))
    assert Router(rules, TOOLS, store).choose("implementation", candidates=("a", "b")).rule == "second"


def test_round_robin_goes_on_where_it_stopped_even_after_a_restart(store: Store) -> None:
    """The index is in the store, one for each rule."""
    rules = (rule(Strategy.ROUND_ROBIN, "b", "a", rule_id="turns"),)
    turns = [Router(rules, TOOLS, store).choose("implementation").tool_id for _ in range(5)]
    assert turns == ["b", "a", "b", "a", "b"]
    other = (rule(Strategy.ROUND_ROBIN, rule_id="others"),)
    assert [Router(other, TOOLS, store).choose("implementation").tool_id for _ in range(4)] == ["a", "b", "c", "a"]


def test_metrics_choose_the_tool_that_worked_best(store: Store) -> None:
    """The scores are part of the decision; a tool that was never tried has a half."""
    record(store, "a", successes=1, failures=3, latency_ms=1000)
    record(store, "b", successes=3, failures=1, latency_ms=4000)
    decision = Router((rule(Strategy.METRICS),), TOOLS, store).choose("implementation")
    assert decision.scores == {"a": pytest.approx(0.325), "b": pytest.approx(0.585), "c": 0.5}
    assert (decision.tool_id, decision.strategy, decision.rule) == ("b", "metrics", "rule")


def test_of_equals_metrics_choose_the_first_by_name(store: Store) -> None:
    """Whatever order the rule names them in."""
    decision = Router((rule(Strategy.METRICS, "c", "b", "a"),), TOOLS, store).choose("implementation")
    assert decision.tool_id == "a"


def test_unsafe_fixes_are_chosen_only_where_the_run_allows_them(store: Store) -> None:
    """The shipped rule prefers the tool that a higher ceiling lets in; without it, it is not even a candidate."""
    toolbox = load_profiles()
    router = Router(toolbox.rules, toolbox, store)
    fixers = ("ruff-fix", "ruff-fix-unsafe")
    assert router.choose("implementation", candidates=fixers).tool_id == "ruff-fix"
    assert router.choose("implementation", candidates=fixers, ceiling=Tier.HIGH).tool_id == "ruff-fix-unsafe"
    assert router.choose("implementation", candidates=("ruff-format",), ceiling=Tier.HIGH).tool_id == "ruff-format"


CASCADE = Toolbox(
    [
        *(
            ToolSpec(tool_id=name, command=("x",), domains=("python", "lint"), deterministic=True)
            for name in ("zap", "codemod-b", "codemod-a")
        ),
        *(
            ToolSpec(tool_id=name, command=("x",), ai=True, network=True)
            for name in ("ai-edit-strong", "ai-edit", "aider")
        ),
        ToolSpec(tool_id="deep", command=("x",), ai=True, safety_tier=Tier.HIGH),
    ]
)
"""Tools of every kind; models name no domain, and none is without."""

OFFERED = ("ai-edit", "ai-edit-strong", "aider", "deep", "gone", "zap", "codemod-b", "codemod-a")


@pytest.mark.parametrize("rules", [(), (rule(Strategy.CASCADE),)], ids=["no rule", "a cascade"])
def test_a_cascade_goes_from_codemods_to_the_strongest_model(store: Store, rules: tuple[RoutingRule, ...]) -> None:
    """Each of them once in a task; models in the order in which they were offered, and none of what is left out."""
    router, tried = Router(rules, CASCADE, store), list[str]()
    while len(tried) < 6:
        decision = router.choose("implementation", candidates=OFFERED, required=("lint",), tried=tried)
        assert decision.tried == tuple(tried)
        tried.append(decision.tool_id)
    assert tried == ["codemod-a", "codemod-b", "zap", "ai-edit", "ai-edit-strong", "aider"]
    assert decision.offered == OFFERED
    assert decision.left_out == {
        **dict.fromkeys(tried[:-1], "it has been tried in this task"),
        "deep": "its safety tier high is above medium, which the run allows",
        "gone": "there is no tool of that name",
    }
    with pytest.raises(ToolUnavailable, match="no allowed tool that has not been tried is capable of"):
        router.choose("implementation", candidates=OFFERED, required=("lint",), tried=tried)


def test_a_cascade_of_a_rule_has_the_order_of_the_rule(store: Store) -> None:
    """A person may want the strong model before the cheap one; what has been tried is passed over."""
    router = Router((rule(Strategy.CASCADE, "ai-edit-strong", "ai-edit"),), CASCADE, store)
    chosen = [router.choose("implementation", candidates=OFFERED, tried=tried) for tried in ((), ("ai-edit-strong",))]
    assert [decision.tool_id for decision in chosen] == ["ai-edit-strong", "ai-edit"]


def test_no_model_is_chosen_that_nobody_has_named(store: Store) -> None:
    """Without candidates it is any tool, but never a model."""
    assert "ai-edit" not in Router((), CASCADE, store).choose("implementation").offered


def test_risk_is_that_of_the_worst_gap_and_complexity_grows_with_files_and_gaps(make_gap: Callable[..., Gap]) -> None:
    """By these a rule may send what is hard or delicate to another tool."""
    small = [make_gap("a", "a.py", severity="low"), make_gap("b", "a.py", severity="medium")]
    assert (risk_of(small), complexity_of(small)) == (Tier.MEDIUM, Tier.LOW)
    large = [make_gap(f"g{number}", f"{number}.py", severity="high") for number in range(16)]
    assert (risk_of(large), complexity_of(large)) == (Tier.HIGH, Tier.HIGH)
    assert (risk_of([]), complexity_of(large[:6])) == (Tier.LOW, Tier.MEDIUM)


@given(st.integers(1, 1000), st.data(), st.floats(0, 1e9))
def test_a_score_lies_between_nothing_and_one(calls: int, data: st.DataObject, total_latency_ms: float) -> None:
    """0.7 for working, 0.3 for being fast, and never more."""
    successes = data.draw(st.integers(0, calls))
    found = score(calls, successes, total_latency_ms)
    assert 0 <= found <= 1.0 + 1e-9
    assert found == pytest.approx(0.7 * successes / calls + 0.3 / (1 + total_latency_ms / 1000 / calls))
