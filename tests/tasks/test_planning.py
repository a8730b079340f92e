"""Compiling: every gap has a task or a reason, the tasks are a DAG, and the same input is the same bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_acms.blocks.config import ClusterBy, ClusteringSettings, ExecutionSettings
from prefect_acms.blocks.tool_spec import TaskKind
from prefect_acms.canonical.errors import CyclicPlan, InvalidDocument
from prefect_acms.tasks.clustering import cluster
from prefect_acms.tasks.documents import document_bytes
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.patterns import PatternIndex
from prefect_acms.tasks.planning import Compiled, compile_plan, validate_plan
from prefect_acms.tasks.plans import Plan

MakeGap = Callable[..., Gap]

INDEX = PatternIndex.load()


def compiled(gaps: Iterable[Gap], *, has_tests: bool = True, by: ClusterBy = ClusterBy.CATEGORY) -> Compiled:
    """Cluster and compile."""
    found = list(gaps)
    workstreams = cluster(found, ClusteringSettings(by=by))
    return compile_plan(workstreams, found, INDEX, repository="demo", base_commit="abc", has_tests=has_tests)


def shape(plan: Plan) -> list[tuple[str, tuple[str, ...]]]:
    """The tasks and what they wait for."""
    return [(task.key, task.depends_on) for task in plan.tasks]


def test_a_workstream_is_analysed_then_fixed_then_tested(make_gap: MakeGap) -> None:
    """Each waits for the one before, names its pattern, and has the gaps and the files."""
    plan = compiled([make_gap("a", "a.py", fixable=True)]).plan
    assert shape(plan) == [
        ("ws-01-style/analysis", ()),
        ("ws-01-style/implementation", ("ws-01-style/analysis",)),
        ("ws-01-style/test", ("ws-01-style/implementation",)),
    ]
    assert [task.pattern_id for task in plan.tasks] == ["inspection", "lint-fix", "verification"]
    assert [task.tool_id for task in plan.tasks] == [None, None, "pytest"]
    assert all(task.gaps == ("a",) and task.file_scope == ("a.py",) for task in plan.tasks)
    assert plan.tasks[1].required_capabilities == ("implementation", "lint", "python")


@pytest.mark.parametrize(
    ("category", "files", "has_tests", "tested"),
    [
        ("style", 1, False, False),
        ("style", 1, True, True),
        ("quality", 1, False, True),
        ("validation", 1, False, True),
        ("style", 6, False, True),
    ],
)
def test_when_a_workstream_ends_with_a_test(
    make_gap: MakeGap, category: str, files: int, *, has_tests: bool, tested: bool
) -> None:
    """When its category is quality or validation, its effort is at least medium, or the repository has tests."""
    gaps = [make_gap(f"g{n}", f"{n}.py", category=category, fixable=True) for n in range(files)]
    kinds = [task.kind for task in compiled(gaps, has_tests=has_tests).plan.tasks]
    assert (TaskKind.TEST in kinds) is tested


def test_the_first_task_waits_for_the_last_of_the_prerequisite(make_gap: MakeGap) -> None:
    """A dependency of gaps must end well; a shared file is an order only."""
    gaps = [
        make_gap("i", "i.py", "s.py", category="imports", severity="high", fixable=True),
        make_gap("s", "s.py", fixable=True),
        make_gap("m", "m.py", category="modernisation", dependencies=("i",), fixable=True),
    ]
    tasks = {task.key: task for task in compiled(gaps).plan.tasks}
    style, modern = tasks["ws-03-style/analysis"], tasks["ws-02-modernisation/analysis"]
    assert (modern.depends_on, modern.order_only) == (("ws-01-imports/test",), ())
    assert (style.depends_on, style.order_only) == (("ws-01-imports/test",), ("ws-01-imports/test",))


def test_gaps_of_several_patterns_are_several_tasks_in_a_row(make_gap: MakeGap) -> None:
    """In the order of the index: a workstream with formatting and lint gaps formats first, unless a gap says else."""
    lint = make_gap("lint", "a.py", fixable=True)
    formatting = make_gap("format", "a.py", "b.py", rule_id="unformatted", category="formatting", fixable=True)
    plan = compiled([lint, formatting], by=ClusterBy.PROXIMITY).plan
    assert [(t.key.partition("/")[2], t.pattern_id, t.gaps) for t in plan.tasks[1:3]] == [
        ("implementation", "format", ("format",)),
        ("implementation-2", "lint-fix", ("lint",)),
    ]
    turned = formatting.model_copy(update={"dependencies": ("lint",)})
    plan = compiled([lint, turned], by=ClusterBy.PROXIMITY).plan
    assert [task.pattern_id for task in plan.tasks[1:3]] == ["lint-fix", "format"]


def test_what_no_tool_can_fix_has_a_reason_and_no_task(make_gap: MakeGap) -> None:
    """A mixed workstream shrinks to its fixable gaps; one with none is left out."""
    gaps = [
        make_gap("good", "a.py", fixable=True),
        make_gap("bad", "b.py"),
        make_gap("note", "c.py", source="markers", category="marker"),
        make_gap("odd", "d.py", source="stranger", category="other"),
    ]
    result = compiled(gaps)
    assert {gap.fingerprint: reason.split()[0] for gap, reason in result.not_fixable} == {
        "bad": "ruff",
        "note": "what",
        "odd": "no",
    }
    (workstream,) = result.plan.workstreams
    assert (workstream.gaps, workstream.file_scope) == (("good",), ("a.py",))
    assert [gap.fingerprint for gap in result.plan.gaps] == ["good"]


def test_what_waits_for_something_that_cannot_be_fixed_is_not_fixable(make_gap: MakeGap) -> None:
    """At any distance, with the gap in the way named."""
    gaps = [
        make_gap("a", "a.py"),
        make_gap("b", "b.py", dependencies=("a",), fixable=True),
        make_gap("c", "c.py", dependencies=("b",), fixable=True),
    ]
    reasons = {gap.fingerprint: reason for gap, reason in compiled(gaps).not_fixable}
    assert reasons["b"] == "gap a has to be fixed first, and can't be"
    assert reasons["c"] == "gap b has to be fixed first, and can't be"


def test_order_survives_a_workstream_that_is_left_out(make_gap: MakeGap) -> None:
    """The middle one of three that share a file vanishes: the last still waits for the first."""
    gaps = [
        make_gap("1", "a.py", category="one", severity="high", fixable=True),
        make_gap("2", "a.py", category="two", severity="medium"),
        make_gap("3", "a.py", category="three", severity="low", fixable=True),
    ]
    plan = compiled(gaps).plan
    assert [(entry.key, entry.depends_on) for entry in plan.workstreams] == [
        ("ws-01-one", ()),
        ("ws-03-three", ("ws-01-one",)),
    ]


def test_failing_tests_are_run_again_when_all_else_is_done(make_gap: MakeGap) -> None:
    """Nothing implements them; they are judged on what the fixes made, however those ended."""
    test = make_gap("t", "test_a.py", source="pytest", rule_id="failing-test", category="testing", severity="high")
    plan = compiled([make_gap("a", "a.py", fixable=True), make_gap("b", "b.py", fixable=True), test]).plan
    last = [task for task in plan.tasks if task.workstream == "ws-02-testing"]
    assert [(task.kind, task.pattern_id, task.tool_id) for task in last] == [
        ("analysis", "inspection", None),
        ("test", "failing-test", "pytest"),
    ]
    assert last[0].depends_on == last[0].order_only == ("ws-01-style/test",)


def test_a_failing_test_alone_is_not_planned(make_gap: MakeGap) -> None:
    """Where nothing changes code, a test that fails would fail again."""
    test = make_gap("t", "test_a.py", source="pytest", rule_id="failing-test", category="testing")
    result = compiled([test, make_gap("a", "a.py")])
    assert result.plan.tasks == ()
    assert {gap.fingerprint: reason for gap, reason in result.not_fixable}["t"].startswith("a test that fails")


def test_nothing_found_is_an_empty_plan() -> None:
    assert compiled([]) == Compiled(
        Plan(repository="demo", base_commit="abc", gaps=(), workstreams=(), tasks=()), not_fixable=()
    )


def test_limits_come_from_the_settings(make_gap: MakeGap) -> None:
    gap = make_gap("a", "a.py", fixable=True)
    result = compile_plan(
        cluster([gap]),
        [gap],
        INDEX,
        repository="demo",
        base_commit="abc",
        has_tests=False,
        execution=ExecutionSettings(task_timeout_sec=7),
        max_retries=1,
    )
    assert {(task.timeout_sec, task.max_retries) for task in result.plan.tasks} == {(7, 1)}


def test_workstreams_that_contradict_themselves_are_refused(make_gap: MakeGap) -> None:
    """Unknown gaps, a key twice, and a circle of workstreams, with its path."""
    gaps = [make_gap("a", "a.py", dependencies=("b",), fixable=True), make_gap("b", "b.py", fixable=True)]
    (whole,) = cluster(gaps)
    facts = {"repository": "demo", "base_commit": "abc", "has_tests": False}
    with pytest.raises(InvalidDocument, match="unknown gap 'b'"):
        compile_plan([whole], gaps[:1], INDEX, **facts)  # type: ignore[arg-type]
    with pytest.raises(InvalidDocument, match="another workstream"):
        compile_plan([whole, whole], gaps, INDEX, **facts)  # type: ignore[arg-type]
    more = [*gaps, make_gap("c", "c.py", dependencies=("a",), fixable=True)]
    crossed = [whole.model_copy(update={"key": "x", "gaps": ("b", "c")}), whole.model_copy(update={"gaps": ("a",)})]
    with pytest.raises(CyclicPlan, match="ws-01-style -> x -> ws-01-style"):
        compile_plan(crossed, more, INDEX, **facts)  # type: ignore[arg-type]


@st.composite
def some_gaps(draw: st.DrawFn) -> list[dict[str, object]]:
    """Facts of gaps of every shipped source."""
    count = draw(st.integers(0, 12))
    sources = {"ruff": "style", "markers": "marker", "pytest": "testing", "stranger": "quality"}
    facts: list[dict[str, object]] = []
    for n in range(count):
        source = draw(st.sampled_from(sorted(sources)))
        facts.append(
            {
                "fingerprint": f"g{n}",
                "source": source,
                "category": sources[source] if draw(st.booleans()) else "formatting",
                "file_paths": tuple(draw(st.sets(st.sampled_from("abcd"), max_size=3))),
                "fixable": draw(st.booleans()),
                "dependencies": tuple(draw(st.sets(st.sampled_from(range(n)).map("g{}".format), max_size=2)))
                if n
                else (),
            }
        )
    return facts


@given(some_gaps(), st.sampled_from(ClusterBy), st.booleans())
def test_the_laws_of_planning(
    make_gap: MakeGap,
    facts: list[dict[str, object]],
    by: ClusterBy,
    has_tests: bool,  # noqa: FBT001 - drawn by Hypothesis
) -> None:
    """Whatever the gaps: each is planned or has a reason; each task has gaps, a pattern, and its needs behind it."""
    gaps = [make_gap(**fact) for fact in facts]
    result = compiled(gaps, has_tests=has_tests, by=by)
    planned = {gap.fingerprint for gap in result.plan.gaps}
    assert sorted([*planned, *(gap.fingerprint for gap, _ in result.not_fixable)]) == sorted(
        gap.fingerprint for gap in gaps
    )
    done: set[str] = set()
    for task in result.plan.tasks:
        assert set(task.depends_on) <= done, "tasks come after all they wait for"
        assert task.gaps
        assert task.kind in INDEX.get(task.pattern_id).kinds
        done.add(task.key)
    working = {gap for task in result.plan.tasks if task.pattern_id != "inspection" for gap in task.gaps}
    assert working == planned, "every gap has a task beside its analysis"
    assert validate_plan(result.plan, INDEX) is result.plan
    again = compiled(gaps[::-1], has_tests=has_tests, by=by)
    assert document_bytes(again.plan) == document_bytes(result.plan)


@pytest.mark.parametrize("count", [3_334, pytest.param(33_334, marks=pytest.mark.campaign)])
def test_a_chain_of_many_tasks_compiles(make_gap: MakeGap, count: int) -> None:
    """Workstreams, each of three tasks, each behind the one before, 100,000 in all; nothing recurses."""
    gaps = [
        make_gap(
            f"g{n:05}",
            f"{n}.py",
            category=f"c{n % 2}",
            fixable=True,
            dependencies=(f"g{n - 1:05}",) if n else (),
        )
        for n in range(count)
    ]
    began = time.monotonic()
    plan = compiled(gaps).plan
    assert len(plan.tasks) == 3 * count
    assert time.monotonic() - began < 200
