"""Fingerprints say what a gap is about, and comparing two scans never calls a gap resolved that is only edited."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from prefect_acms.tasks.fingerprints import Fingerprinter, compare, content_of, fingerprint
from prefect_acms.tasks.gaps import Gap

MakeGap = Callable[..., Gap]


def test_white_space_does_not_change_a_fingerprint() -> None:
    """Normalised code: runs of white space count as one blank, indentation not at all."""
    assert fingerprint("F401", "a.py", ["  import  os"]) == fingerprint("F401", "a.py", ["import os\t"])


def test_rule_path_code_and_number_each_tell_gaps_apart() -> None:
    """Nothing of what identifies a gap is left out, and nothing runs into its neighbour."""
    ours = fingerprint("F401", "a.py", ["x"])
    others = {
        fingerprint("F402", "a.py", ["x"]),
        fingerprint("F401", "b.py", ["x"]),
        fingerprint("F401", "a.py", ["y"]),
        fingerprint("F401", "a.py", ["x", "y"]),
        fingerprint("F401", "a.py", ["x"], 2),
        fingerprint("F401a", ".py", ["x"]),
    }
    assert len(others | {ours}) == 7
    assert all(content_of(name) for name in others)


def test_equal_findings_are_numbered_in_their_order() -> None:
    """The second of two equal findings is the second one, whatever lies between them."""
    numbered = Fingerprinter()
    first, other, second = (numbered.next("W291", "a.py", [code]) for code in ("x", "y", "x"))
    assert (first, second) == (fingerprint("W291", "a.py", ["x"], 1), fingerprint("W291", "a.py", ["x"], 2))
    assert other == fingerprint("W291", "a.py", ["y"], 1)


def test_a_gap_whose_line_was_edited_is_kept_and_not_resolved(make_gap: MakeGap) -> None:
    """Of two unused imports on a line, the fix of one changes the line of the other; only the fixed one is gone."""
    os, sys = make_gap("1", "a.py", title="`os` unused"), make_gap("2", "a.py", title="`sys` unused")
    moved = make_gap("3", "a.py", title="`sys` unused")
    found = compare([os, sys], [moved])
    assert (found.gone, found.kept, found.new) == ((os,), (sys,), ())


def test_a_finding_of_another_message_is_new(make_gap: MakeGap) -> None:
    """A fix that makes another import unused has brought a gap, and has mended the one it was for."""
    before, after = make_gap("1", "a.py", title="`os` unused"), make_gap("2", "a.py", title="`List` unused")
    found = compare([before], [after])
    assert (found.gone, found.kept, found.new) == ((before,), (), (after,))


def test_numbers_in_a_message_do_not_make_a_gap_new(make_gap: MakeGap) -> None:
    """A function of complexity 12 that now has 11 is still too complex."""
    before = make_gap("1", "a.py", rule_id="C901", title="`f` is too complex (12 > 10)")
    after = make_gap("2", "a.py", rule_id="C901", title="`f` is too complex (11 > 10)")
    assert compare([before], [after]).kept == (before,)


@given(st.lists(st.integers(0, 9), unique=True), st.lists(st.integers(0, 9), unique=True))
def test_every_gap_has_exactly_one_fate(make_gap: MakeGap, before: list[int], after: list[int]) -> None:
    """Gone + kept is what was there, kept + new is as much as is there now."""
    then = [make_gap(str(n), f"{n % 2}.py", title="same") for n in before]
    now = [make_gap(str(n), f"{n % 2}.py", title="same") for n in after]
    found = compare(then, now)
    assert sorted(g.fingerprint for g in found.gone + found.kept) == sorted(g.fingerprint for g in then)
    assert len(found.kept) + len(found.new) == len(now)
