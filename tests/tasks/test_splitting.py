"""Exactly the guilty parts of a patch are found, with few tries, and every part applies."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_acms.canonical.outside_errors import PatchDoesNotApply
from prefect_acms.tasks.diffs import read_diff
from prefect_acms.tasks.patches import parse_patch
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.splitting import Place, isolate, split_by_file, split_by_hunk
from prefect_acms.tasks.worktrees import Worktree, open_worktree

Make = Callable[..., Path]
Seen = tuple[Place, ...] | None
FAILS: Seen = ()
"""The trouble is seen, and nobody knows where."""


def lines(count: int, changed: dict[int, str] | None = None) -> str:
    """Numbered lines; a changed one is replaced by its text, which may be none or several."""
    changed = changed or {}
    return "".join(changed.get(n, f"line {n}\n") for n in range(1, count + 1))


def patch_of(files: int, hunks: int, grows: int = 0) -> bytes:
    """A patch of so many files with so many hunks each, of which each adds so many lines."""
    parts = []
    for file in range(files):
        parts.append(f"diff --git a/f{file} b/f{file}\n--- a/f{file}\n+++ b/f{file}\n")
        for hunk in range(hunks):
            at = 10 * hunk + 1
            parts.append(f"@@ -{at},1 +{at + hunk * grows},{1 + grows} @@\n-line {at}\n")
            parts.append("+more\n" * grows + f"+mark {file}.{hunk}\n")
    return "".join(parts).encode()


def marks(patch: bytes) -> list[str]:
    """The names of the parts that a patch made by `patch_of` holds."""
    return [line.removeprefix("+mark ") for line in patch.decode().splitlines() if line.startswith("+mark ")]


@settings(max_examples=200)
@given(st.data(), st.integers(1, 9), st.integers(1, 5))
def test_exactly_the_guilty_parts_are_found_with_few_tries(data: st.DataObject, files: int, hunks: int) -> None:
    """For any set of guilty parts, those and no others stand alone; at most about 2 k log2(n) tries."""
    everything = [f"{file}.{hunk}" for file in range(files) for hunk in range(hunks)]
    guilty = data.draw(st.sets(st.sampled_from(everything), min_size=1))
    tried: list[bytes] = []

    def attempt(patch: bytes) -> Seen:
        tried.append(patch)
        return FAILS if guilty & set(marks(patch)) else None

    found = isolate(patch_of(files, hunks), attempt, most_tries=1_000)
    n, k = len(everything), len(guilty)
    if n == 1:
        assert (found.guilty, tried) == ((patch_of(files, hunks),), [])
        return
    assert sorted(mark for patch in found.guilty for mark in marks(patch)) == sorted(guilty)
    assert sorted(mark for patch in found.kept for mark in marks(patch)) == sorted(set(everything) - guilty)
    assert len(found.guilty) == k
    assert len(tried) <= 2 * k * math.ceil(math.log2(n)) + 2
    assert set(found.kept) | set(found.guilty) <= set(tried), "each was tried just as it is"


def test_one_guilty_part_among_many_takes_few_tries() -> None:
    """One of 256: at most 16 tries, and never the whole again."""
    whole = patch_of(64, 4)
    tried: list[bytes] = []

    def attempt(patch: bytes) -> Seen:
        tried.append(patch)
        return FAILS if "40.2" in marks(patch) else None

    found = isolate(whole, attempt)
    assert [marks(patch) for patch in found.guilty] == [["40.2"]]
    assert len(tried) <= 16
    assert whole not in tried


def test_what_follows_is_not_tried() -> None:
    """When the first half stays and both failed, it is the second: the last of 256 takes nine tries."""
    tried: list[bytes] = []

    def attempt(patch: bytes) -> Seen:
        tried.append(patch)
        return FAILS if "63.3" in marks(patch) else None

    assert len(isolate(patch_of(64, 4), attempt).guilty) == 1
    assert len(tried) == 9


def test_parts_that_are_bad_only_together_lose_the_later_one() -> None:
    """The first stays; the one that breaks on top of it does not."""
    kept: set[str] = set()

    def attempt(patch: bytes) -> Seen:
        if {"0.0", "2.1"} <= kept | set(marks(patch)):
            return FAILS
        kept.update(marks(patch))
        return None

    found = isolate(patch_of(3, 2), attempt)
    assert [marks(patch) for patch in found.guilty] == [["2.1"]]
    assert kept == {"0.0", "0.1", "1.0", "1.1", "2.0"}


@settings(max_examples=200)
@given(st.data(), st.integers(1, 6), st.integers(2, 5))
def test_whoever_is_suspected_is_tried_alone_and_the_others_at_once(
    data: st.DataObject, files: int, hunks: int
) -> None:
    """With places that tell the truth, k guilty parts cost k tries and one for all the rest, wherever the lines are."""
    everything = [f"{file}.{hunk}" for file in range(files) for hunk in range(hunks)]
    guilty = data.draw(st.sets(st.sampled_from(everything), min_size=1))
    below = data.draw(st.integers(0, 8), label="lines below the change where the trouble shows")
    kept: set[str] = set()
    tries: list[list[str]] = []

    def seen(names: set[str]) -> tuple[Place, ...]:
        """Every hunk adds a line, so that those below it move down by as many as are there."""
        return tuple(
            Place(
                f"f{name[0]}".encode(),
                10 * int(name[2]) + 1 + below + sum(other[0] == name[0] and other[2] < name[2] for other in names),
            )
            for name in sorted(names & guilty)
        )

    def attempt(patch: bytes) -> Seen:
        names = set(marks(patch))
        tries.append(sorted(names))
        if guilty & names:
            return seen(names | kept)
        kept.update(names)
        return None

    found = isolate(patch_of(files, hunks, grows=1), attempt, seen=seen(set(everything)))
    assert sorted(mark for patch in found.guilty for mark in marks(patch)) == sorted(guilty)
    assert kept == set(everything) - guilty
    assert len(tries) == len(guilty) + bool(kept)


def test_innocent_parts_that_are_suspected_stay() -> None:
    """The trouble shows in the next hunk, and in a file that the patch does not touch: no part is lost."""

    def attempt(patch: bytes) -> Seen:
        return (Place(b"f0", 12), Place(b"elsewhere", 1)) if "0.0" in marks(patch) else None

    found = isolate(patch_of(2, 2), attempt, seen=(Place(b"f0", 12), Place(b"elsewhere", 1)))
    assert [marks(patch) for patch in found.guilty] == [["0.0"]]
    assert sorted(mark for patch in found.kept for mark in marks(patch)) == ["0.1", "1.0", "1.1"]


def test_a_search_that_may_not_go_on_says_what_it_has_not_tried() -> None:
    """Every part is kept, guilty or among the untried, and no more tries are made than may be."""
    tried: list[bytes] = []

    def attempt(patch: bytes) -> Seen:
        tried.append(patch)
        return FAILS if any(mark.endswith(".1") for mark in marks(patch)) else None

    found = isolate(patch_of(8, 2), attempt, most_tries=9)
    assert len(tried) == 9
    assert found.untried is not None
    parts = [marks(patch) for patch in (*found.kept, *found.guilty, found.untried)]
    assert sorted(chain.from_iterable(parts)) == sorted(f"{file}.{hunk}" for file in range(8) for hunk in range(2))
    assert isolate(patch_of(8, 2), attempt).untried is None


# -- with git ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def worktree(make_repository: Make, tmp_path: Path) -> Worktree:
    files: dict[str, str | bytes] = {
        "a.txt": lines(80),
        "b c.txt": lines(40),
        "crlf.txt": lines(40).replace("\n", "\r\n"),
        "gone.txt": "gone\n",
        "run.sh": lines(40),
        "end.txt": lines(20) + "no newline",
        "empty.txt": "",
    }
    repository = Repository.open(make_repository(files))
    return open_worktree(repository, tmp_path / "w", repository.head())


def edit(worktree: Worktree) -> bytes:
    """A patch with everything in it that can be split, and everything that can't."""
    top = worktree.path
    (top / "a.txt").write_text(lines(80, {5: "", 6: "", 25: "five\nnew\nlines\nmore\nthan\n", 50: "x\n", 78: ""}))
    (top / "b c.txt").write_text(lines(40, {2: "b\n", 30: "b\nb\n"}))
    (top / "crlf.txt").write_bytes(lines(40, {3: "c\n", 33: ""}).replace("\n", "\r\n").encode())
    (top / "gone.txt").unlink()
    (top / "new file").write_text("new\n")
    (top / "empty.txt").write_text("full\n")
    (top / "end.txt").write_text(lines(20, {2: "e\n"}) + "newline\n")
    (top / "run.sh").write_text(lines(40, {4: "r\n", 30: "r\n"}))
    (top / "run.sh").chmod(0o755)
    return worktree.capture()


def test_files_apply_in_any_order_and_make_the_whole(worktree: Worktree) -> None:
    """Split by file, nothing is lost and nothing depends on another."""
    whole = edit(worktree)
    expected = worktree.apply(whole)
    worktree.reset()
    parts = split_by_file(whole)
    assert b"".join(parts) == whole
    assert len(parts) == 8
    for part in reversed(parts):
        worktree.apply(part)
    assert worktree.tree() == expected


def test_hunks_apply_alone_and_in_any_order(worktree: Worktree) -> None:
    """Each is a patch that validates and applies to the commit; one after the other, they make the whole."""
    whole = edit(worktree)
    expected = worktree.apply(whole)
    worktree.reset()
    parts = split_by_hunk(whole)
    assert len(parts) == 4 + 2 + 2 + 1 + 1 + 1 + 2 + 3
    for part in parts:
        assert len(parse_patch(part).files) == 1
        worktree.apply(part)
        worktree.reset()
    for part in reversed(parts):
        worktree.apply(part)
    assert worktree.tree() == expected


@pytest.mark.parametrize("wanted", [0b0, 0b0110101010101011, 0b1000000001])
def test_every_try_states_the_lines_where_it_belongs(worktree: Worktree, wanted: int) -> None:
    """Hunks tried on top of others apply with no offset, so none can land in a wrong place that looks alike."""
    whole = edit(worktree)
    pieces = {bytes(read_diff(part)[0].raw.split(b"@@", 2)[-1]): n for n, part in enumerate(split_by_hunk(whole))}

    def attempt(patch: bytes) -> Seen:
        before = worktree.tree()
        exact = subprocess.run(
            ["git", "apply", "--check", "--verbose", "-"],
            cwd=worktree.path,
            input=patch,
            capture_output=True,
            check=False,
        )
        assert exact.returncode == 0
        assert b"offset" not in exact.stderr
        worktree.apply(patch)
        good = all(wanted >> pieces[part.split(b"@@", 2)[-1]] & 1 for part in split_by_hunk(patch))
        if not good:
            worktree.reset(before)
        return None if good else FAILS

    found = isolate(whole, attempt)
    assert len(found.guilty) == len(pieces) - sum(wanted >> n & 1 for n in range(len(pieces)))
    assert bool(worktree.changed_files()) == bool(found.kept)


def test_a_part_that_does_not_apply_is_guilty(worktree: Worktree) -> None:
    """The caller's word decides, whatever the reason."""
    whole = edit(worktree)

    def attempt(patch: bytes) -> Seen:
        try:
            worktree.apply(patch.replace(b"-line 50\n", b"-nothing like it\n"))
        except PatchDoesNotApply:
            return FAILS
        return None

    found = isolate(whole, attempt)
    assert len(found.guilty) == 1
    assert b"+x\n" in found.guilty[0]
