"""Commits of kept patches: made from the trees that the gates judged, with trailers that say what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefect_acms.tasks.bench import Bench
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.trials import Kept

NAMED_FILES = 2
"""Files and rules that a commit's title names; the rest is counted."""


def commit_kept(bench: Bench, kept: Sequence[Kept], before: Sequence[Gap]) -> None:
    """Put the kept patches on the workstream's branch, a commit each, and the branch's worktree on the last of them."""
    repository, base = bench.drive.repository, bench.worktree.commit
    with bench.drive.reading() as dao:
        branch = dao.workstreams.get(bench.task.workstream_id).branch
    head = list(commits_of(bench, kept, before).values())[-1]
    ref = f"refs/heads/{branch}"
    bench.drive.move_ref(ref, head, base if repository.ref(ref) else None)
    bench.worktree.reset(head)


def commits_of(bench: Bench, kept: Sequence[Kept], before: Sequence[Gap]) -> dict[str, str]:
    """The commits of the kept patches by their entries, one on top of the other, noted and on no branch yet."""
    gone = {gap.fingerprint for gap in bench.rescanner.compared(before, bench.files).gone}
    fixed = _by_patch([gap for gap in bench.gaps if gap.fingerprint in gone], kept)
    head = bench.worktree.commit
    found: dict[str, str] = {}
    for patch in kept:
        message = message_of(bench.drive.run_id, patch, fixed[patch.patch_id])
        head = found[patch.entry_id] = bench.drive.repository.commit_tree(
            patch.tree, [head], message, bench.drive.store.clock()
        )
        with bench.drive.begin() as dao:
            dao.ledger.change(patch.entry_id, metadata={"commit": head})
    return found


def _by_patch(gaps: Sequence[Gap], kept: Sequence[Kept]) -> Mapping[str, list[Gap]]:
    """Each gap with the first patch that touches one of its files."""
    found: dict[str, list[Gap]] = {patch.patch_id: [] for patch in kept}
    for gap in gaps:
        touching = [patch for patch in kept if set(patch.files) & set(gap.file_paths)] or list(kept)
        found[touching[0].patch_id].append(gap)
    return found


def message_of(run_id: str, patch: Kept, gaps: Sequence[Gap]) -> str:
    """The message of a patch's commit: what it fixes and where, each gap, and the trailers."""
    rules = sorted({gap.rule_id for gap in gaps})
    title = (
        f"Fix {_listed(rules)} in {_listed(sorted(patch.files))}" if rules else f"Change {_listed(sorted(patch.files))}"
    )
    lines = [f"- {gap.file_paths[0] if gap.file_paths else ''}: {gap.rule_id} {gap.title}" for gap in gaps]
    trailers = [f"ACMS-Run: {run_id}", f"ACMS-Patch: {patch.patch_id}"]
    trailers += [f"ACMS-Gap: {gap.fingerprint}" for gap in gaps]
    return "\n".join([title, "", *lines, *([""] if lines else []), *trailers, ""])


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMED_FILES
    return ", ".join(names[:NAMED_FILES]) + (f" and {more} more" if more > 0 else "")
