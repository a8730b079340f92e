"""What must hold after a kill and a resume, whatever was hit: each check says what it saw that must not be."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from campaign_inspection import Facts, Inspection, Problem
from campaign_leavings import no_lock_left, no_process_left, no_temporary_file_left, no_worktree_left
from repositories import fingerprint_of

from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.test_gate import TestGateState
from prefect_acms.dao.audit import verify
from prefect_acms.dao.schema import StateRow

_OPEN_PATCHES = {"created", "validated", "queued", "awaiting_review", "applied", "verified", "apply_failed"}
_TRAILERS = "--format=%H %(trailers:key=ACMS-Patch,valueonly,separator=%x20)"


def problems_of(at: Inspection, reference: Facts | None) -> Iterator[Problem]:
    """Everything that is not as it must be, and all in which it differs from a run that nobody has killed."""
    for check in _CHECKS:
        for details in check(at):
            yield Problem(check.__name__.strip("_"), details)
    if reference is not None:
        yield from at.differences(reference)


def _one_run(at: Inspection) -> Iterator[str]:
    if at.runs != 1:
        yield f"there are {at.runs} runs in the store"


def _audit_chain(at: Inspection) -> Iterator[str]:
    found = verify(at.store)
    if found.first_bad is not None:
        yield str(found.first_bad)


def _outbox(at: Inspection) -> Iterator[str]:
    path = at.site.repository / ".acms_runs" / at.run_id / "transitions.jsonl"
    written = path.read_bytes() if path.exists() else b""
    if written != at.lines:
        lines = [len(known.splitlines()) for known in (written, at.lines)]
        yield f"{lines[0]} lines in the file, {lines[1]} in the database"


def _every_row_ended(at: Inspection) -> Iterator[str]:
    rows: list[StateRow] = [at.run, *at.workstreams, *at.tasks, *at.gaps, *at.hands, *at.gates]
    # a gate whose dependency has failed stays blocked: it was never run
    ended = {row.id for row in rows if row.state in {*MACHINES[row.machine.entity].terminal, TestGateState.BLOCKED}}
    left = [row for row in rows if row.id not in ended]
    yield from (f"{row.id} is {row.state}" for row in left)
    yield from (f"{entry.id} is {entry.state}" for entry in at.ledger if entry.state in _OPEN_PATCHES)
    yield from (f"phase {phase.name} is open" for phase in at.phases if phase.completed_at is None)


def _one_fate_a_gap(at: Inspection) -> Iterator[str]:
    known = Counter(gap.fingerprint for gap in at.gaps)
    yield from (f"gap {name} is there {number} times" for name, number in known.items() if number > 1)
    lost = [gap for gap in at.gaps if gap.state == "deferred" and not gap.deferred_reason]
    yield from (f"gap {gap.fingerprint} is deferred without a reason" for gap in lost)


def _patches_committed_once(at: Inspection) -> Iterator[str]:
    in_git = [row.split() for row in _log(at, _TRAILERS)]
    named = Counter(patch for _, *patches in in_git for patch in patches)
    yield from (f"patch {patch} is in {number} commits" for patch, number in named.items() if number > 1)
    in_store = {entry.patch_id: entry.commit_sha for entry in at.committed}
    found = {patches[0]: commit for commit, *patches in in_git if patches}
    if found != in_store:
        yield f"the branch has {found}, the ledger {in_store}"
    yield from (f"commit {row[0]} names {row[1:]}" for row in in_git if len(row) > 2)
    yield from (f"commit {row[0]} names no patch" for row in in_git if len(row) == 1)


def _no_change_twice(at: Inspection) -> Iterator[str]:
    commits = _log(at, "--format=%H")
    ids = Counter(_patch_id(at, commit) for commit in commits)
    yield from (f"{number} commits make the change {name}" for name, number in ids.items() if number > 1)


def _log(at: Inspection, form: str) -> list[str]:
    if at.branch not in at.refs:
        return []
    return at.git("log", "--no-merges", form, f"{at.run.base_commit}..{at.branch}").splitlines()


def _patch_id(at: Inspection, commit: str) -> str:
    diff = at.git("show", "--format=", commit)
    command = ["git", "patch-id", "--stable"]
    return subprocess.run(command, input=diff, check=True, capture_output=True, text=True).stdout.split(" ")[0]


def _users_things_untouched(at: Inspection) -> Iterator[str]:
    now, before = fingerprint_of(at.site.repository), at.site.before
    yield from (f"{name} is new" for name in sorted(now.keys() - before.keys()))
    yield from (f"{name} is gone" for name in sorted(before.keys() - now.keys()))
    yield from (f"{name} has changed" for name in sorted(now.keys() & before.keys()) if now[name] != before[name])


def _only_our_refs(at: Inspection) -> Iterator[str]:
    ours = ("refs/heads/acms/", "refs/acms/")
    yield from (f"{ref} is there" for ref in at.refs if ref != "refs/heads/main" and not ref.startswith(ours))
    if at.git("stash", "list"):
        yield "there is a stash"


def _git_is_whole(at: Inspection) -> Iterator[str]:
    command = ["git", "fsck", "--no-dangling", "--no-progress"]
    done = subprocess.run(command, cwd=at.site.repository, check=False, capture_output=True, text=True)
    if done.returncode != 0 or done.stderr:
        yield f"git fsck ends with {done.returncode}: {done.stderr or done.stdout}"


_CHECKS: Iterable[Callable[[Inspection], Iterator[str]]] = (
    no_process_left,
    _one_run,
    _audit_chain,
    _every_row_ended,
    _one_fate_a_gap,
    _patches_committed_once,
    _no_change_twice,
    _outbox,
    _users_things_untouched,
    _only_our_refs,
    _git_is_whole,
    no_worktree_left,
    no_lock_left,
    no_temporary_file_left,
)
