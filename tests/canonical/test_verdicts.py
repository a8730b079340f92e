"""What follows from what: every rule of deriving and propagating, in its order."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.verdicts import (
    ENDED_TASK,
    ENDED_WORKSTREAM,
    Child,
    PatchFact,
    Verdict,
    gates_passed,
    live_patches,
    patch_on_run_end,
    patch_trigger_on_run_end,
    patches_kept,
    prerequisites_lost,
    prerequisites_met,
    quarantine_fails_workstream,
    run_verdict,
    tasks_blocked_by_gate,
    workstream_verdict,
)

TASK_STATES = ("pending", "queued", "blocked", "running", "validating", "retrying", "completed", "failed", "cancelled")
WORKSTREAM_STATES = (
    "planned", "ready", "blocked", "executing", "validating", "completed", "failed", "cancelled", "skipped",
)  # fmt: skip

children = st.builds(Child, state=st.sampled_from(TASK_STATES), is_critical=st.booleans())
workstreams = st.builds(Child, state=st.sampled_from(WORKSTREAM_STATES), is_critical=st.booleans())


def family(text: str) -> list[Child]:
    """Children from words; `!` marks a critical one."""
    return [Child(word.strip("!"), is_critical=word.endswith("!")) for word in text.split()]


@pytest.mark.parametrize(
    ("tasks", "verdict"),
    [
        ("", Verdict.STAY),
        ("completed", Verdict.VALIDATING),
        ("completed completed! completed", Verdict.VALIDATING),
        ("completed running", Verdict.STAY),
        ("completed failed running", Verdict.STAY),
        ("completed failed", Verdict.FAILED),
        ("completed failed cancelled", Verdict.FAILED),
        ("completed cancelled", Verdict.CANCELLED),
        ("cancelled cancelled!", Verdict.CANCELLED),
        ("failed!", Verdict.FAILED),
        ("failed! running pending", Verdict.FAILED),
        ("failed! cancelled", Verdict.FAILED),
        ("cancelled! running", Verdict.STAY),
        ("retrying", Verdict.STAY),
        ("validating completed", Verdict.STAY),
        ("blocked completed", Verdict.STAY),
    ],
)
def test_a_workstream_follows_from_its_tasks(tasks: str, verdict: Verdict) -> None:
    """Critical failure first, then all completed, then all ended; anything else stays."""
    assert workstream_verdict("executing", family(tasks)) is verdict


@given(st.sampled_from([s for s in WORKSTREAM_STATES if s != "executing"]), st.lists(children))
def test_a_workstream_that_does_not_execute_is_never_moved(current: str, tasks: list[Child]) -> None:
    """Never backward, never over a terminal state."""
    assert workstream_verdict(current, tasks) is Verdict.STAY


@given(st.lists(children, min_size=1))
def test_the_order_of_precedence_of_a_workstream_holds_for_any_tasks(tasks: list[Child]) -> None:
    """The four rules in their order, whatever the tasks and in whatever order they come."""
    states = {task.state for task in tasks}
    if any(task == Child("failed", is_critical=True) for task in tasks):
        expected = Verdict.FAILED
    elif states == {"completed"}:
        expected = Verdict.VALIDATING
    elif states <= {"completed", "failed", "cancelled"}:
        expected = Verdict.FAILED if "failed" in states else Verdict.CANCELLED
    else:
        expected = Verdict.STAY
    assert workstream_verdict("executing", tasks) is expected
    assert workstream_verdict("executing", tasks[::-1]) is expected


@pytest.mark.parametrize(
    ("children_", "allowed", "verdict"),
    [
        ("", True, Verdict.SUCCEEDED),
        ("completed skipped completed!", True, Verdict.SUCCEEDED),
        ("skipped", False, Verdict.SUCCEEDED),
        ("completed failed!", True, Verdict.FAILED),
        ("executing failed!", True, Verdict.FAILED),
        ("completed executing", True, Verdict.STAY),
        ("completed failed planned", True, Verdict.STAY),
        ("completed failed", True, Verdict.DEGRADED),
        ("completed cancelled", True, Verdict.DEGRADED),
        ("completed failed skipped", True, Verdict.DEGRADED),
        ("completed cancelled!", True, Verdict.DEGRADED),
        ("completed failed", False, Verdict.FAILED),
        ("completed cancelled", False, Verdict.FAILED),
        ("failed", True, Verdict.FAILED),
        ("skipped failed", True, Verdict.FAILED),
        ("cancelled", True, Verdict.FAILED),
    ],
)
def test_a_run_follows_from_its_workstreams(children_: str, *, allowed: bool, verdict: Verdict) -> None:
    """All met, then a critical failure, then still open, then what the policy says of the rest."""
    assert run_verdict(family(children_), allow_noncritical_failures=allowed) is verdict


def test_failures_that_are_not_critical_are_allowed_by_default() -> None:
    """The default policy degrades instead of failing."""
    assert run_verdict(family("completed failed")) is Verdict.DEGRADED


@given(st.lists(workstreams), st.booleans())
def test_a_run_never_ends_well_with_a_critical_failure_or_without_an_end(found: list[Child], allowed: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
    """Success needs every workstream ended and no critical one failed; and the order they come in is nothing."""
    verdict = run_verdict(found, allow_noncritical_failures=allowed)
    if verdict in {Verdict.SUCCEEDED, Verdict.DEGRADED}:
        assert all(child.state in {"completed", "skipped", "failed", "cancelled"} for child in found)
        assert Child("failed", is_critical=True) not in found
        assert verdict is Verdict.SUCCEEDED or (allowed and Child("completed") in [Child(c.state) for c in found])
    assert verdict is run_verdict(found[::-1], allow_noncritical_failures=allowed)


def test_prerequisites_count_as_met_when_completed_or_skipped() -> None:
    """Any other state is not met; failed and cancelled are lost."""
    assert [s for s in WORKSTREAM_STATES if prerequisites_met([s])] == ["completed", "skipped"]
    assert [s for s in WORKSTREAM_STATES if prerequisites_lost([s])] == ["failed", "cancelled"]
    for first, second in product(WORKSTREAM_STATES, repeat=2):
        assert prerequisites_met([first, second]) == (prerequisites_met([first]) and prerequisites_met([second]))
        assert prerequisites_lost([first, second]) == (prerequisites_lost([first]) or prerequisites_lost([second]))
    assert prerequisites_met([])
    assert not prerequisites_lost([])


def test_the_endings_that_verdicts_know_are_those_of_the_machines() -> None:
    """Names written out in the verdicts can't drift from the tables."""
    assert set(MACHINES["task"].terminal) == ENDED_TASK
    assert set(MACHINES["workstream"].terminal) == ENDED_WORKSTREAM


def test_gates_pass_together_or_not_at_all() -> None:
    """No gate counts as passed; one that is not PASSED is enough for a no."""
    assert gates_passed([])
    assert gates_passed(["PASSED", "PASSED"])
    for state in ("PENDING", "RUNNING", "FAILED", "BLOCKED", "passed"):
        assert not gates_passed(["PASSED", state])


PATCH_STATES = [state.value for state in MACHINES["patch_ledger"].states]


@pytest.mark.parametrize("state", PATCH_STATES)
def test_dropped_and_superseded_patches_are_ignored_by_every_rule(state: str) -> None:
    """A patch that is gone or replaced is not live, and changes no verdict."""
    gone = state in {"dropped", "rolled_back"}
    assert live_patches([PatchFact(state)]) == ([] if gone else [PatchFact(state)])
    replaced = PatchFact(state, replaced=True, is_critical=True)
    assert live_patches([replaced]) == []
    assert patches_kept([replaced])
    assert not quarantine_fails_workstream([replaced])


@pytest.mark.parametrize("state", PATCH_STATES)
def test_a_live_patch_must_be_verified_or_committed_unless_it_was_quarantined(state: str) -> None:
    """Of the states of a patch, exactly these let its task and workstream complete."""
    kept = state in {"verified", "committed", "quarantined", "dropped", "rolled_back"}
    assert patches_kept([PatchFact("committed"), PatchFact(state)]) == kept
    assert patches_kept([])


@pytest.mark.parametrize("state", PATCH_STATES)
def test_only_a_critical_quarantined_patch_takes_its_workstream_down(state: str) -> None:
    """Neither a quarantine of a task that is not critical, nor any other state does."""
    assert not quarantine_fails_workstream([PatchFact(state)])
    assert quarantine_fails_workstream([PatchFact(state, is_critical=True)]) == (state == "quarantined")


def test_a_failed_gate_blocks_what_has_not_started() -> None:
    """Pending and queued tasks are blocked; a running one is not, its completion guard fails instead."""
    assert tasks_blocked_by_gate((state, state) for state in TASK_STATES) == ["pending", "queued"]


@pytest.mark.parametrize(
    ("state", "target", "trigger"),
    [
        ("created", "dropped", "run_ended"),
        ("validated", "dropped", "run_ended"),
        ("awaiting_review", "dropped", "run_ended"),
        ("queued", "dropped", "run_ended"),
        ("apply_failed", "quarantined", "apply_exhausted"),
        ("applied", "quarantined", "run_ended"),
        ("verified", "quarantined", "commit_failed"),
        ("committed", Verdict.STAY, None),
        ("rolled_back", Verdict.STAY, None),
        ("quarantined", Verdict.STAY, None),
        ("dropped", Verdict.STAY, None),
    ],
)
def test_a_run_that_ends_leaves_no_patch_in_the_air(state: str, target: str, trigger: str | None) -> None:
    """What is not applied is dropped, what is applied is quarantined, and what is settled stays; by a legal edge."""
    assert patch_on_run_end(state) == target
    assert patch_trigger_on_run_end(state) == trigger
    if trigger is not None:
        (edge,) = MACHINES["patch_ledger"].candidates("id", state, trigger, target)
        assert trigger not in edge.operator


def test_every_state_of_a_patch_is_told_what_the_end_of_its_run_means() -> None:
    """Only what is terminal or settled stays."""
    staying = {state for state in PATCH_STATES if patch_on_run_end(state) is Verdict.STAY}
    assert staying == {"committed", "rolled_back", "quarantined", "dropped"}
