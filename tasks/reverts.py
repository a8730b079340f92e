"""Reverts as git sees them: the tree without some commits, and the later commits that build on them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from prefect_acms.canonical.outside_errors import MergeConflict, RevertConflict
from prefect_acms.tasks.git import run_git, text_of
from prefect_acms.tasks.repository import Repository


def reverted_tree(repository: Repository, commit: str, head: str, when: datetime) -> str:
    """The tree of `head` (a commit or a tree) without what `commit` has changed; raises MergeConflict with the files.

    `head` need not descend from the commit: it is enough that it holds the same change.
    """
    return _merged(repository, base=commit, ours=head, theirs=f"{commit}^", when=when)


def carried_tree(repository: Repository, before: str, after: str, head: str, when: datetime) -> str:
    """The tree of `head` with what leads from one tree to another as well; raises MergeConflict with the files."""
    return _merged(repository, base=before, ours=head, theirs=after, when=when)


def reverted_trees(repository: Repository, commits: Sequence[str], head: str, when: datetime) -> tuple[str, ...]:
    """The trees of `head` without the first commit, without the first two, and so on; raises RevertConflict."""
    trees: list[str] = []
    for commit in commits:
        try:
            trees.append(reverted_tree(repository, commit, trees[-1] if trees else head, when))
        except MergeConflict as conflict:
            raise RevertConflict(commit=commit, files=conflict.facts["files"]) from conflict
    return tuple(trees)


def first_in_the_way(
    repository: Repository, gone: Sequence[str], stuck: str, head: str, when: datetime, *, passing: Collection[str]
) -> str | None:
    """The oldest commit between `stuck` and `head` from which on `stuck` can't be taken back, if there is one.

    `gone` are the commits that are taken back, the newest first; neither they nor the `passing` ones are blamed.
    """
    touched = set(repository.changed_files(f"{stuck}^", stuck))
    for later in _descendants(repository, stuck, head):
        if later in gone or later in passing or touched.isdisjoint(repository.changed_files(f"{later}^", later)):
            continue
        there = [commit for commit in gone if repository.is_ancestor(commit, later)]
        try:
            reverted_trees(repository, there, later, when)
        except RevertConflict:
            return later
    return None


def in_order(repository: Repository, commits: Collection[str], base: str) -> list[str]:
    """These commits, the newest first, parents after children."""
    listed = text_of(run_git(["rev-list", "--topo-order", *sorted(commits), f"^{base}"], cwd=repository.top)).split()
    return [commit for commit in listed if commit in commits]


def is_checked_out(repository: Repository, ref: str) -> bool:
    """Whether some working tree has that branch checked out: moving it would change what its user sees."""
    listed = text_of(run_git(["worktree", "list", "--porcelain"], cwd=repository.top)).splitlines()
    return f"branch {ref}" in listed


def rollback_message(title: str, reason: str, trailers: Sequence[tuple[str, str]]) -> str:
    """The message of a commit that takes another one back."""
    said = " ".join(reason.split())
    return "\n".join([f'Revert "{title}"', "", said, "", *(f"{key}: {value}" for key, value in trailers), ""])


def _descendants(repository: Repository, commit: str, head: str) -> list[str]:
    """The commits between the two that build on the first, oldest first, without merges."""
    asked = ["rev-list", "--reverse", "--topo-order", "--no-merges", "--ancestry-path", f"{commit}..{head}"]
    return text_of(run_git(asked, cwd=repository.top)).split()


def _merged(repository: Repository, *, base: str, ours: str, theirs: str, when: datetime) -> str:
    """Merge two trees over a third, which need not be their ancestor.

    git before 2.40 takes the base of a merge from the history only, so it gets one in which it is so.
    """
    root = repository.commit_tree(repository.tree_of(base), [], "base", when)
    sides = [repository.commit_tree(repository.tree_of(side), [root], side, when) for side in (ours, theirs)]
    return repository.merge_tree(*sides)
