"""Phase plans are read into plans and written from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from prefect_acms.canonical.errors import BadInput, CyclicPlan, InvalidDocument
from prefect_acms.tasks.clustering import cluster
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.patterns import PatternIndex
from prefect_acms.tasks.phase_plans import export_phase_plan, import_phase_plan
from prefect_acms.tasks.planning import compile_plan
from prefect_acms.tasks.plans import Plan


def step(name: str, kind: str = "implementation", *needs: str, **facts: Any) -> dict[str, Any]:
    """One step in the form that all phase plans share."""
    return {"step_id": name, "title": f"do {name}", "type": kind, "depends_on": list(needs), **facts}


def imported(*steps: dict[str, Any]) -> Plan:
    """The plan of these steps."""
    return import_phase_plan({"phase": "ignored", "steps": list(steps)}, repository="demo", base_commit="abc")


def test_a_step_becomes_a_task_with_a_gap_and_a_pattern() -> None:
    """The four keys are enough; ids are put into our spelling, types are read in any of the usual ones."""
    plan = imported(step("PH01_Look", "Analyze"), step("s.2", "code", "PH01_Look"), step("s3", "validate", "s.2"))
    assert [(t.key, t.kind, t.pattern_id, t.depends_on) for t in plan.tasks] == [
        ("ph01-look", "analysis", "inspection", ()),
        ("s-2", "implementation", "planned-step", ("ph01-look",)),
        ("s3", "test", "verification", ("s-2",)),
    ]
    assert [gap.title for gap in plan.gaps] == ["do PH01_Look", "do s.2", "do s3"]
    assert [entry.key for entry in plan.workstreams] == ["ws-01-phase-plan"]


def test_a_compiled_plan_goes_out_and_comes_back(make_gap: Callable[..., Gap]) -> None:
    """The same tasks with the same titles, kinds, patterns, files, workstreams and order."""
    gaps = [
        make_gap("i", "shared.py", category="imports", severity="high", fixable=True),
        make_gap("s", "shared.py", "own.py", fixable=True, dependencies=("i",)),
        make_gap("t", "test_a.py", source="pytest", category="testing"),
    ]
    facts = {"repository": "demo", "base_commit": "abc", "has_tests": True}
    plan = compile_plan(cluster(gaps), gaps, PatternIndex.load(), **facts).plan  # type: ignore[arg-type]
    document = export_phase_plan(plan)
    back = import_phase_plan(document, repository="demo", base_commit="abc")

    def told(a_plan: Plan) -> list[dict[str, Any]]:
        kept = {"key", "workstream", "kind", "description", "pattern_id", "tool_id", "file_scope", "depends_on"}
        return [task.model_dump(include={*kept, "order_only"}) for task in a_plan.tasks]

    def links(a_plan: Plan) -> list[tuple[str, ...]]:
        return [(entry.key, *entry.depends_on, "|", *entry.order_only) for entry in a_plan.workstreams]

    assert told(back) == told(plan)
    assert links(back) == links(plan)
    assert export_phase_plan(back) == document


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([], "at least 1"),
        ([step("a", "dance")], "(a).type: expected one of analysis"),
        ([step("a"), step("A")], "'a' is taken already"),
        ([step("a", "code", "b")], "steps[0] (a).depends_on: there is no step 'b'"),
        ([{"step_id": "a", "type": "code"}], "(a).title: Field required"),
        ([step("a", colour="red")], "(a).colour"),
        ([step("../a")], "(../a).step_id"),
        ([step("a", pattern_id="nonsense")], "unknown pattern 'nonsense'"),
        ([step("a", tool_id="rm")], "allows ruff-fix"),
        ([step("a", file_scope=["/x"])], "inside the repository"),
        ([step("a", order_only=["b"]), step("b")], "which depends_on does not"),
    ],
)
def test_a_broken_phase_plan_is_refused(steps: list[dict[str, Any]], said: str) -> None:
    """With the step that is wrong."""
    with pytest.raises(InvalidDocument) as caught:
        imported(*steps)
    assert said in str(caught.value)


def test_a_cycle_is_refused_with_its_path() -> None:
    with pytest.raises(CyclicPlan, match="a -> b -> a"):
        imported(step("a", "code", "b"), step("b", "code", "a"))


def test_every_refusal_is_bad_input() -> None:
    with pytest.raises(BadInput):
        import_phase_plan({"steps": 3}, repository="demo", base_commit="abc")
