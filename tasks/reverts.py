"""Reverts as git sees them: the tree without a commit, and the later commits that build on it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from prefect_acms.canonical.errors import MergeConflict
from prefect_acms.tasks.git import Repository, run_git, text_of


def reverted_tree(repository: Repository, commit: str, head: str, when: datetime) -> str:
    """The tree of `head` without what `commit` has changed; raises MergeConflict with the files."""
    return _merged(repository, base=commit, ours=head, theirs=f"{commit}^", when=when)


def builds_on(repository: Repository, later: str, commit: str, when: datetime) -> bool:
    """Whether a later commit can't be had without an earlier one: they change the same lines, or lines side by side."""
    try:
        _merged(repository, base=f"{later}^", ours=f"{commit}^", theirs=later, when=when)
    except MergeConflict:
        return True
    return False


def is_checked_out(repository: Repository, ref: str) -> bool:
    """Whether some working tree has that branch checked out: moving it would change what its user sees."""
    listed = text_of(run_git(["worktree", "list", "--porcelain"], cwd=repository.top)).splitlines()
    return f"branch {ref}" in listed


def rollback_message(title: str, reason: str, trailers: Sequence[tuple[str, str]]) -> str:
    """The message of a commit that takes another one back."""
    said = " ".join(reason.split())
    return "\n".join([f'Revert "{title}"', "", said, "", *(f"{key}: {value}" for key, value in trailers), ""])


def _merged(repository: Repository, *, base: str, ours: str, theirs: str, when: datetime) -> str:
    """Merge two trees over a third, which need not be their ancestor.

    git before 2.40 takes the base of a merge from the history only, so it gets one in which it is so.
    """
    root = repository.commit_tree(repository.tree_of(base), [], "base", when)
    sides = [repository.commit_tree(repository.tree_of(side), [root], side, when) for side in (ours, theirs)]
    return repository.merge_tree(*sides)
