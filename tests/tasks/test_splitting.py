"""Exactly the guilty parts of a patch are found, with few tries, and every part applies."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_acms.canonical.outside_errors import PatchDoesNotApply
from prefect_acms.tasks.diffs import read_diff
from prefect_acms.tasks.patches import parse_patch
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.splitting import isolate, split_by_file, split_by_hunk
from prefect_acms.tasks.worktrees import Worktree, open_worktree

Make = Callable[..., Path]


def lines(count: int, changed: dict[int, str] | None = None) -> str:
    """Numbered lines; a changed one is replaced by its text, which may be none or several."""
    changed = changed or {}
    return "".join(changed.get(n, f"line {n}\n") for n in range(1, count + 1))


def patch_of(files: int, hunks: int) -> bytes:
    """A patch of so many files with so many hunks each, of which some grow and some shrink."""
    parts = []
    for file in range(files):
        parts.append(f"diff --git a/f{file} b/f{file}\n--- a/f{file}\n+++ b/f{file}\n")
        for hunk in range(hunks):
            at = 10 * hunk + 1
            parts.append(f"@@ -{at},1 +{at},1 @@\n-line {at}\n+mark {file}.{hunk}\n")
    return "".join(parts).encode()


def marks(patch: bytes) -> list[str]:
    """The names of the parts that a patch made by `patch_of` holds."""
    return [line.removeprefix("+mark ") for line in patch.decode().splitlines() if line.startswith("+mark ")]


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 9), st.integers(1, 5))
def test_exactly_the_guilty_parts_are_found_with_few_tries(data: st.DataObject, files: int, hunks: int) -> None:
    """For any set of guilty parts, those and no others stand alone; at most about 2 k log2(n) tries."""
    everything = [f"{file}.{hunk}" for file in range(files) for hunk in range(hunks)]
    guilty = data.draw(st.sets(st.sampled_from(everything), min_size=1))
    tried: list[bytes] = []

    def keep(patch: bytes) -> bool:
        tried.append(patch)
        return not guilty & set(marks(patch))

    found = isolate(patch_of(files, hunks), keep)
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

    def keep(patch: bytes) -> bool:
        tried.append(patch)
        return "40.2" not in marks(patch)

    found = isolate(whole, keep)
    assert [marks(patch) for patch in found.guilty] == [["40.2"]]
    assert len(tried) <= 16
    assert whole not in tried


def test_what_follows_is_not_tried() -> None:
    """When the first half stays and both failed, it is the second: the last of 256 takes nine tries."""
    tried: list[bytes] = []

    def keep(patch: bytes) -> bool:
        tried.append(patch)
        return "63.3" not in marks(patch)

    assert len(isolate(patch_of(64, 4), keep).guilty) == 1
    assert len(tried) == 9


def test_parts_that_are_bad_only_together_lose_the_later_one() -> None:
    """The first stays; the one that breaks on top of it does not."""
    kept: set[str] = set()

    def keep(patch: bytes) -> bool:
        if {"0.0", "2.1"} <= kept | set(marks(patch)):
            return False
        kept.update(marks(patch))
        return True

    found = isolate(patch_of(3, 2), keep)
    assert [marks(patch) for patch in found.guilty] == [["2.1"]]
    assert kept == {"0.0", "0.1", "1.0", "1.1", "2.0"}


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

    def keep(patch: bytes) -> bool:
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
        return good

    found = isolate(whole, keep)
    assert len(found.guilty) == len(pieces) - sum(wanted >> n & 1 for n in range(len(pieces)))
    assert bool(worktree.changed_files()) == bool(found.kept)


def test_a_part_that_does_not_apply_is_guilty(worktree: Worktree) -> None:
    """The caller's word decides, whatever the reason."""
    whole = edit(worktree)

    def keep(patch: bytes) -> bool:
        try:
            worktree.apply(patch.replace(b"-line 50\n", b"-nothing like it\n"))
        except PatchDoesNotApply:
            return False
        return True

    found = isolate(whole, keep)
    assert len(found.guilty) == 1
    assert b"+x\n" in found.guilty[0]
