"""A patch applies to a worktree whole, byte for byte, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from worktrees import GOOD, on_disk

from prefect_acms.canonical.outside_errors import PatchDoesNotApply
from prefect_acms.tasks.worktrees import Worktree

Git = Callable[..., str]
Write = Callable[..., None]

BAD = b"diff --git a/pkg/b.py b/pkg/b.py\n--- a/pkg/b.py\n+++ b/pkg/b.py\n@@ -1 +1 @@\n-not there\n+x\n"


def test_a_patch_applies_whole_or_not_at_all(worktree: Worktree) -> None:
    """One hunk that doesn't fit, and nothing of the patch is in the tree."""
    before = on_disk(worktree)
    with pytest.raises(PatchDoesNotApply, match=r"pkg/b\.py"):
        worktree.apply(GOOD + BAD)
    assert on_disk(worktree) == before
    assert worktree.changed_files() == ()
    worktree.apply(GOOD)
    assert worktree.changed_files() == ("a.py",)


def test_a_patch_that_can_not_be_written_leaves_nothing_half_done(worktree: Worktree, write: Write) -> None:
    """A new file in the place of a folder that the setup made: git finds out while it writes."""
    write(worktree.path, {"build/lib.so": "x"})
    worktree.keep_leavings()
    before = on_disk(worktree)
    new = b"diff --git a/build b/build\nnew file mode 100644\n--- /dev/null\n+++ b/build\n@@ -0,0 +1 @@\n+x\n"
    with pytest.raises(PatchDoesNotApply):
        worktree.apply(GOOD + new)
    assert on_disk(worktree) == before


@pytest.mark.parametrize("patch", [b"", b"no diff at all\n", b"diff --git a/a.py b/a.py\n", GOOD[:-8]])
def test_what_is_no_patch_does_not_apply(worktree: Worktree, patch: bytes) -> None:
    """Empty, prose, a header alone, a torn hunk."""
    with pytest.raises(PatchDoesNotApply):
        worktree.apply(patch)
    assert worktree.changed_files() == ()


def test_a_patch_applies_on_files_that_were_only_touched(worktree: Worktree) -> None:
    """Times are no content."""
    os.utime(worktree.path / "a.py", (1, 1))
    worktree.apply(GOOD)


def test_whitespace_settings_change_no_byte(top: Path, worktree: Worktree, run_in: Git) -> None:
    """What was validated is what is applied: trailing blanks stay."""
    run_in(top, "config", "apply.whitespace", "fix")
    worktree.apply(GOOD.replace(b"+2\n", b"+2   \t\n"))
    assert (worktree.path / "a.py").read_bytes() == b"one\n2   \t\nthree\n"
