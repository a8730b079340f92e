"""Selection holds gaps back with a reason, and loses none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_acms.blocks.config import DiscoverySettings
from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.canonical.gap import GapSeverity, GapTrigger
from prefect_acms.tasks.fingerprints import Fingerprinter
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.selection import select

MakeGap = Callable[..., Gap]


@pytest.mark.parametrize(
    ("only", "taken"),
    [
        (("ruff",), {"a", "b"}),
        (("F401",), {"a"}),
        (("bug-risk",), {"c"}),
        (("src/",), {"a", "c"}),
        (("*.py", "!src/**"), {"b"}),
        (("**/deep/*",), {"c"}),
        (("nobody",), set()),
        (("F401", "pytest"), {"a", "c"}),
        ((), {"a", "b", "c"}),
    ],
)
def test_only_names_sources_rules_categories_or_paths(
    make_gap: MakeGap, only: tuple[str, ...], taken: set[str]
) -> None:
    """Each entry stands for whatever bears its name; globs are read as git reads them; no match is fine."""
    gaps = [
        make_gap("a", "src/x.py"),
        make_gap("b", "y.py", rule_id="E711"),
        make_gap("c", "src/deep/z.py", source="pytest", rule_id="failing-test", category="bug-risk"),
    ]
    selection = select(gaps, DiscoverySettings(only=only))
    assert {gap.fingerprint for gap in selection.taken} == taken
    assert all(held.trigger is GapTrigger.FILTERED for held in selection.deferred)
    assert all(", ".join(only) in held.reason for held in selection.deferred)


def test_a_broken_glob_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"discovery\.only"):
        select([], DiscoverySettings(only=("!",)))


def test_the_baseline_holds_back_what_it_knows(make_gap: MakeGap) -> None:
    """By fingerprint, whatever else changed."""
    selection = select([make_gap("a"), make_gap("b")], DiscoverySettings(), [make_gap("a", title="older words")])
    assert [(held.gap.fingerprint, held.trigger) for held in selection.deferred] == [("a", GapTrigger.BASELINED)]


def test_max_gaps_takes_the_most_severe(make_gap: MakeGap) -> None:
    """Most severe first, then in the order of the files; the rest says why."""
    gaps = [make_gap(s, "a.py", severity=s) for s in ("info", "low", "critical", "high")]
    selection = select(gaps, DiscoverySettings(max_gaps=2))
    assert {gap.fingerprint for gap in selection.taken} == {"critical", "high"}
    assert {held.reason for held in selection.deferred} == {"beyond max_gaps = 2"}


@given(
    st.lists(st.tuples(st.integers(0, 20), st.sampled_from(GapSeverity)), unique_by=lambda pair: pair[0]),
    st.sets(st.integers(0, 20)),
    st.one_of(st.none(), st.integers(1, 5)),
)
def test_every_gap_is_taken_or_deferred(
    make_gap: MakeGap, found: list[tuple[int, GapSeverity]], known: set[int], limit: int | None
) -> None:
    """Together they are every gap once, whatever the order in which they come."""
    gaps = [make_gap(str(n), f"{n}.py", severity=severity) for n, severity in found]
    settings = DiscoverySettings(max_gaps=limit, only=("1*.py", "2*.py"))
    baseline = [make_gap(str(n)) for n in known]
    selection = select(gaps, settings, baseline)
    both = [*selection.taken, *(held.gap for held in selection.deferred)]
    assert sorted(gap.fingerprint for gap in both) == sorted(gap.fingerprint for gap in gaps)
    assert limit is None or len(selection.taken) <= limit
    assert select(gaps[::-1], settings, baseline) == selection


def test_the_baseline_knows_edited_lines_and_renamed_files(make_gap: MakeGap) -> None:
    """One for one: a second gap of the same kind is new, and so is a copy of a file that is still there."""
    name = Fingerprinter().next("F401", "old.py", ["import os"])
    renamed = Fingerprinter().next("F401", "new.py", ["import os"])
    baseline = [make_gap(name, "old.py"), make_gap("before", "a.py", title="same")]
    found = [make_gap(renamed, "new.py"), *(make_gap(one, "a.py", title="same") for one in ("edited", "second"))]
    gone = select(found, DiscoverySettings(), baseline, is_there={"new.py", "a.py"}.__contains__)
    assert sorted(held.gap.fingerprint for held in gone.deferred) == sorted(["edited", renamed])
    copied = select(found, DiscoverySettings(), baseline, is_there={"old.py", "new.py", "a.py"}.__contains__)
    assert [held.gap.fingerprint for held in copied.deferred] == ["edited"]
