"""What follows from what: states derived from children, and the effects that spread. Pure functions over facts."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

MET = frozenset({"completed", "skipped"})
"""States of a prerequisite workstream that let its dependents start."""

LOST = frozenset({"failed", "cancelled"})
"""States of a prerequisite that can never be met any more."""

ENDED_TASK = frozenset({"completed", "failed", "cancelled"})
ENDED_WORKSTREAM = MET | LOST
KEPT_PATCH = frozenset({"verified", "committed"})
GONE_PATCH = frozenset({"dropped", "rolled_back"})


class Verdict(StrEnum):
    """What children say about their parent."""

    STAY = "stay"
    VALIDATING = "validating"
    COMPLETED = "completed"
    SUCCEEDED = "succeeded"
    DEGRADED = "degraded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Child:
    """A task or a workstream as its parent sees it."""

    state: str
    is_critical: bool = False


@dataclass(frozen=True, slots=True)
class PatchFact:
    """A patch as its task and workstream see it; `replaced` says that a later patch supersedes it."""

    state: str
    replaced: bool = False
    is_critical: bool = False


def workstream_verdict(current: str, tasks: Collection[Child]) -> Verdict:
    """Derive a workstream from its tasks; only an executing one is moved, and never backward."""
    if current != "executing" or not tasks:
        return Verdict.STAY
    if any(task.is_critical and task.state == "failed" for task in tasks):
        return Verdict.FAILED
    states = [task.state for task in tasks]
    if all(state == "completed" for state in states):
        return Verdict.VALIDATING
    if not all(state in ENDED_TASK for state in states):
        return Verdict.STAY
    return Verdict.FAILED if "failed" in states else Verdict.CANCELLED


def run_verdict(workstreams: Collection[Child], *, allow_noncritical_failures: bool = True) -> Verdict:
    """Derive a run from its workstreams; DEGRADED is a success in which something not critical failed."""
    states = [workstream.state for workstream in workstreams]
    if all(state in MET for state in states):
        return Verdict.SUCCEEDED
    if any(child.is_critical and child.state == "failed" for child in workstreams):
        return Verdict.FAILED
    if not all(state in ENDED_WORKSTREAM for state in states):
        return Verdict.STAY
    return Verdict.DEGRADED if allow_noncritical_failures and "completed" in states else Verdict.FAILED


def prerequisites_met(states: Iterable[str]) -> bool:
    """Whether every prerequisite is completed or skipped."""
    return all(state in MET for state in states)


def prerequisites_lost(states: Iterable[str]) -> bool:
    """Whether some prerequisite failed or was cancelled."""
    return any(state in LOST for state in states)


def gates_passed(states: Iterable[str]) -> bool:
    """Whether every gate is PASSED; no gate at all counts as passed."""
    return all(state == "PASSED" for state in states)


def live_patches(patches: Iterable[PatchFact]) -> list[PatchFact]:
    """The patches that rules look at: dropped, rolled back and replaced ones are ignored."""
    return [patch for patch in patches if patch.state not in GONE_PATCH and not patch.replaced]


def patches_kept(patches: Iterable[PatchFact]) -> bool:
    """Whether every live patch that was not quarantined is verified or committed."""
    return all(patch.state in KEPT_PATCH for patch in live_patches(patches) if patch.state != "quarantined")


def quarantine_fails_workstream(patches: Iterable[PatchFact]) -> bool:
    """Whether a quarantined patch takes its workstream down: its task is critical and nothing replaces it."""
    return any(patch.state == "quarantined" and patch.is_critical for patch in live_patches(patches))


def tasks_blocked_by_gate(states: Iterable[tuple[str, str]]) -> list[str]:
    """The ids of the tasks, of (id, state), that a failed gate they need blocks; a running one is not blocked."""
    return [task_id for task_id, state in states if state in {"pending", "queued"}]


_PATCH_ON_RUN_END = {
    "created": ("dropped", "run_ended"),
    "validated": ("dropped", "run_ended"),
    "awaiting_review": ("dropped", "run_ended"),
    "queued": ("dropped", "run_ended"),
    "apply_failed": ("quarantined", "apply_exhausted"),  # only an operator may drop it, so its evidence is kept
    "applied": ("quarantined", "run_ended"),
    "verified": ("quarantined", "commit_failed"),  # its commit will not come any more
}


def patch_on_run_end(state: str) -> Verdict | str:
    """Where a patch goes when its run is cancelled or fails: `dropped`, `quarantined`, or STAY."""
    return _PATCH_ON_RUN_END.get(state, (Verdict.STAY, ""))[0]


def patch_trigger_on_run_end(state: str) -> str | None:
    """The trigger by which a patch goes where `patch_on_run_end` says; None where it stays."""
    return _PATCH_ON_RUN_END[state][1] if state in _PATCH_ON_RUN_END else None
