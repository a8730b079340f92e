"""Workstreams partition the gaps, keep the limits, and never touch a file at the same time."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_acms.blocks.config import ClusterBy, ClusteringSettings
from prefect_acms.canonical.errors import InvalidDocument
from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.tasks.clustering import cluster, effort_of, priority_of
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.plans import Effort, Workstream

MakeGap = Callable[..., Gap]

BY = [ClusterBy.CATEGORY, ClusterBy.PROXIMITY]

FILES = st.sets(st.sampled_from([f"{letter}.py" for letter in "abcdefgh"]), max_size=5)


@st.composite
def some_gaps(draw: st.DrawFn) -> list[dict[str, object]]:
    """Facts of gaps whose dependencies have no circle, in any order of the list."""
    count = draw(st.integers(0, 14))
    names = draw(st.permutations([f"g{n}" for n in range(count)]))
    return [
        {
            "fingerprint": name,
            "file_paths": tuple(sorted(draw(FILES))),
            "category": draw(st.sampled_from(["style", "imports", "testing"])),
            "severity": draw(st.sampled_from(GapSeverity)),
            "dependencies": tuple(draw(st.sets(st.sampled_from(names[:place]), max_size=2))) if place else (),
        }
        for place, name in enumerate(names)
    ]


def waits_for(workstreams: Sequence[Workstream]) -> dict[str, set[str]]:
    """Everything that each workstream waits for, at any distance; they come in order."""
    closure: dict[str, set[str]] = {}
    for entry in workstreams:
        assert set(entry.depends_on) <= closure.keys(), "a workstream comes after all it waits for"
        closure[entry.key] = set(entry.depends_on).union(*(closure[need] for need in entry.depends_on))
    return closure


@given(some_gaps(), st.sampled_from(BY), st.integers(1, 6))
def test_the_laws_of_clustering(make_gap: MakeGap, facts: list[dict[str, object]], by: ClusterBy, limit: int) -> None:
    """Whatever the gaps: a partition, within the limit, in a DAG, with no file touched by two at once."""
    gaps = {str(fact["fingerprint"]): make_gap(**fact) for fact in facts}
    settings = ClusteringSettings(by=by, max_files=limit)
    workstreams = cluster(gaps.values(), settings)

    assert sorted(name for entry in workstreams for name in entry.gaps) == sorted(gaps)
    assert len({entry.key for entry in workstreams}) == len(workstreams)
    closure = waits_for(workstreams)
    home = {name: entry.key for entry in workstreams for name in entry.gaps}
    touching = defaultdict(list)
    for entry in workstreams:
        members = [gaps[name] for name in entry.gaps]
        assert set(entry.file_scope) == {path for gap in members for path in gap.file_paths}
        assert len(entry.file_scope) <= limit or all(set(gap.file_paths) == set(entry.file_scope) for gap in members)
        assert by is ClusterBy.PROXIMITY or {gap.category for gap in members} == {entry.category}
        assert len({gap.category == "testing" for gap in members}) == 1
        needed = {home[need] for gap in members for need in gap.dependencies} - {entry.key}
        assert set(entry.depends_on) - set(entry.order_only) == needed
        for path in entry.file_scope:
            touching[path].append(entry.key)
    for keys in touching.values():
        assert all(earlier in closure[later] for place, later in enumerate(keys) for earlier in keys[:place])
    assert cluster(list(gaps.values())[::-1], settings) == workstreams


@given(some_gaps(), st.sampled_from(BY))
def test_failing_tests_come_last(make_gap: MakeGap, facts: list[dict[str, object]], by: ClusterBy) -> None:
    """A workstream of failing tests waits for every other that does not itself wait for one."""
    gaps = [make_gap(**fact) for fact in facts]
    workstreams = cluster(gaps, ClusteringSettings(by=by))
    tests = {entry.key for entry in workstreams if entry.category == "testing"}
    closure = waits_for(workstreams)
    before = {entry.key for entry in workstreams} - tests
    before -= {key for key in before if closure[key] & tests}
    assert all(before <= closure[key] for key in tests)


def test_by_category_packs_files_greedily(make_gap: MakeGap) -> None:
    """25 files of one category with at most 10 a workstream are 3 workstreams; another category is apart."""
    gaps = [make_gap(f"g{n:02}", f"f{n:02}.py") for n in range(25)] + [make_gap("x", "f00.py", category="imports")]
    workstreams = cluster(gaps)
    sizes = sorted((entry.category, len(entry.file_scope)) for entry in workstreams)
    assert sizes == [("imports", 1), ("style", 5), ("style", 10), ("style", 10)]


def test_a_gap_over_the_limit_gets_its_own(make_gap: MakeGap) -> None:
    """It is neither dropped nor split, and nothing is added to it."""
    large = make_gap("large", *(f"f{n}.py" for n in range(4)))
    workstreams = cluster([large, make_gap("a", "f0.py"), make_gap("b", "z.py")], ClusteringSettings(max_files=3))
    assert [entry.gaps for entry in workstreams if len(entry.file_scope) > 3] == [("large",)]


def test_gaps_without_files_are_kept(make_gap: MakeGap) -> None:
    """Both ways."""
    for by in BY:
        (workstream,) = cluster([make_gap("a"), make_gap("b")], ClusteringSettings(by=by))
        assert workstream.gaps == ("a", "b")
        assert workstream.file_scope == ()
        assert workstream.name == "style in no file"


def test_by_proximity_grows_by_the_largest_overlap(make_gap: MakeGap) -> None:
    """From the seed a-b-c, what shares two files comes before what shares one; the limit ends the growth."""
    gaps = [
        make_gap("seed", "a", "b", "c"),
        make_gap("one", "a", "x"),
        make_gap("two", "b", "c", "y"),
        make_gap("far", "z"),
    ]
    workstreams = cluster(gaps, ClusteringSettings(by=ClusterBy.PROXIMITY, max_files=4))
    assert sorted(sorted(entry.gaps) for entry in workstreams) == [["far"], ["one"], ["seed", "two"]]


def test_proximity_is_ranked_again_as_the_group_grows(make_gap: MakeGap) -> None:
    """`late` shares one file with the seed, but two once `middle` is in; then it goes before `single`."""
    gaps = [
        make_gap("seed", "a", "b", "c"),
        make_gap("middle", "b", "c", "d"),
        make_gap("late", "c", "d", "e"),
        make_gap("single", "a", "q"),
    ]
    workstreams = cluster(gaps, ClusteringSettings(by=ClusterBy.PROXIMITY, max_files=5))
    assert sorted(sorted(entry.gaps) for entry in workstreams) == [["late", "middle", "seed"], ["single"]]


def test_crosswise_dependencies_split_and_make_no_cycle(make_gap: MakeGap) -> None:
    """Style needs imports and imports needs style: no order of two workstreams could do it, one of three can."""
    gaps = [
        make_gap("s1", "a.py", dependencies=("i1",)),
        make_gap("s2", "b.py"),
        make_gap("i1", "c.py", category="imports"),
        make_gap("i2", "d.py", category="imports", dependencies=("s2",)),
    ]
    workstreams = cluster(gaps)
    waits_for(workstreams)
    assert len(workstreams) == 3


def test_dependencies_that_make_no_cycle_split_nothing(make_gap: MakeGap) -> None:
    """Style needs imports at one place: two workstreams, one behind the other, before and behind it in the list."""
    gaps = [
        make_gap("s1", "a.py", dependencies=("i1",)),
        make_gap("s2", "b.py"),
        make_gap("i1", "c.py", category="imports"),
    ]
    for order in (gaps, gaps[::-1]):
        imports, style = cluster(order)
        assert (style.depends_on, style.order_only) == ((imports.key,), ())


def test_gaps_that_depend_on_each_other_in_a_circle_are_refused(make_gap: MakeGap) -> None:
    """No order can do it, and the error shows why."""
    with pytest.raises(InvalidDocument, match="a -> b -> a"):
        cluster([make_gap("a", dependencies=("b",)), make_gap("b", dependencies=("a",))])


def test_a_dependency_that_is_not_taken_up_is_no_dependency(make_gap: MakeGap) -> None:
    """What was filtered or is known elsewhere holds nothing up."""
    (workstream,) = cluster([make_gap("a", dependencies=("elsewhere",))])
    assert workstream.depends_on == ()


def test_shared_files_are_an_order_and_no_more(make_gap: MakeGap) -> None:
    """The later one waits, and goes on though the earlier one ended badly; the more severe one comes first."""
    gaps = [make_gap("s", "a.py"), make_gap("i", "a.py", category="bug-risk", severity="high")]
    risk, style = cluster(gaps)
    assert (risk.category, risk.depends_on) == ("bug-risk", ())
    assert (style.depends_on, style.order_only) == ((risk.key,), (risk.key,))


def test_priority_is_the_mean_weight(make_gap: MakeGap) -> None:
    """Critical 10, high 7, medium 5, low 3, info 1."""
    assert priority_of([make_gap(severity=severity) for severity in GapSeverity]) == 5.2
    assert priority_of([make_gap(severity="critical")]) == 10


@pytest.mark.parametrize(
    ("files", "gaps", "effort"),
    [
        (16, 1, Effort.HIGH),
        (1, 11, Effort.HIGH),
        (15, 10, Effort.MEDIUM),
        (6, 1, Effort.MEDIUM),
        (1, 6, Effort.MEDIUM),
        (5, 5, Effort.LOW),
        (0, 1, Effort.LOW),
    ],
)
def test_effort_has_its_thresholds(files: int, gaps: int, effort: Effort) -> None:
    """More than 15 files or 10 gaps high; more than 5 files or 5 gaps medium; else low."""
    assert effort_of(files, gaps) is effort


def test_keys_are_slugs_in_the_order_of_work(make_gap: MakeGap) -> None:
    """A key is part of a branch's name and of a path, whatever a category is called."""
    gaps = [make_gap(str(n), f"{n}.py", category=c) for n, c in enumerate(["Bug Risk!", "..", "ÄÖ", "x/y"])]
    assert [entry.key for entry in cluster(gaps)] == ["ws-01-gaps", "ws-02-bug-risk", "ws-03-x-y", "ws-04-gaps"]


@pytest.mark.parametrize("by", BY)
def test_many_gaps_take_seconds(make_gap: MakeGap, by: ClusterBy) -> None:
    """20,000 gaps that share one file, half of them tests, in a chain of dependencies: nothing recurses or squares."""
    gaps = [
        make_gap(
            f"g{n:05}",
            "hub.py",
            f"f{n}.py",
            category=("style", "testing")[n % 2],
            dependencies=(f"g{n - 2:05}",) if n > 1 else (),
        )
        for n in range(20_000)
    ]
    began = time.monotonic()
    workstreams = cluster(gaps, ClusteringSettings(by=by))
    assert time.monotonic() - began < 20
    assert sum(len(entry.gaps) for entry in workstreams) == len(gaps)
