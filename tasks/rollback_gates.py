"""What the gates say of a tree without its patches: it may be as red as before them, or as its branch is now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from prefect_acms.canonical.errors import RollbackRefused
from prefect_acms.canonical.test_gate import GateType
from prefect_acms.tasks.baseline import Baseline
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.gate_rows import Subject, judged_tree
from prefect_acms.tasks.gates import GateResult
from prefect_acms.tasks.junit import BAD, RAN
from prefect_acms.tasks.preparation import baseline_at, baseline_of, prepared_worktree
from prefect_acms.tasks.rollback_plans import RollbackPlan

ROLLBACK = "rollback"
"""Key of the worktree in which the reverted tree is judged."""

TIP = "tip"
"""Key of the worktree that holds what the user's branch is now."""


def judged_without(drive: Drive, plan: RollbackPlan, revert: str, operator: str) -> tuple[str, ...]:
    """The gate rows that find the reverted tree good; raises RollbackRefused when one objects.

    On the run's branch it is judged as every tree of the run. On a branch that the user has gone on with, what is red
    at the base commit or was on that branch already is not new. Where no gate can judge, a person may order it all the
    same, and a policy may not.
    """
    site = plan.site
    baseline = baseline_of(drive)
    if site.onto is not None:
        baseline = either(baseline, baseline_at(drive, TIP, site.tip))
        drive = replace(drive, base_commit=site.tip)
    required = {gate.value for gate in drive.guardrails.required_checks}
    if missing := required - {gate.gate_type.value for gate in baseline.judging}:
        raise RollbackRefused(what=plan.what, problem=f"required gates can't judge: {', '.join(sorted(missing))}")
    known = baseline.passed(plan.tree)
    if not baseline.judging and operator.startswith("policy:"):
        raise RollbackRefused(what=plan.what, problem="no gate can judge what is left, and a policy orders it")
    if known is not None or not baseline.judging:
        return known or ()
    worktree, environment = prepared_worktree(drive, ROLLBACK, revert)
    worktree.reset(revert)
    touched = drive.repository.changed_files(drive.base_commit, plan.tree)
    first = plan.target.asked[0]
    subject = Subject(first.workstream_id, entry_id=first.id)
    judged = judged_tree(drive, baseline, worktree, environment, touched=touched, subject=subject)
    if judged.objection is not None:
        raise RollbackRefused(what=plan.what, problem=f"without it the gates object: {judged.objection}")
    if worktree.tree() != plan.tree or worktree.changed_files():
        raise RollbackRefused(what=plan.what, problem="the gates have left the tree changed")
    return judged.gate_ids


def either(first: Baseline, second: Baseline) -> Baseline:
    """The gates of the second baseline, with what is red in either of the two as nothing new."""
    results: Mapping[GateType, GateResult] = {
        gate.gate_type: _either(first.results[gate.gate_type], second.results[gate.gate_type])
        if gate.gate_type in first.results
        else second.results[gate.gate_type]
        for gate in second.gates
    }
    return Baseline(second.gates, results)


def _either(first: GateResult, second: GateResult) -> GateResult:
    if first.unavailable is not None or second.unavailable is not None:
        return second if second.unavailable is None else first
    found = {gap.fingerprint: gap for gap in (*first.findings, *second.findings)}
    return replace(
        second,
        exit_code=second.exit_code or first.exit_code,
        outcomes={
            name: _worse(first.outcomes.get(name), second.outcomes.get(name))
            for name in {**first.outcomes, **second.outcomes}
        },
        findings=tuple(found.values()),
    )


def _worse(first: str | None, second: str | None) -> str:
    """Red before green, so that it may be red again; and one that runs in both only must run on."""
    if first in BAD or second in BAD:
        return next(outcome for outcome in (first, second) if outcome in BAD and outcome is not None)
    if first in RAN and second in RAN:
        return str(second)
    return next((outcome for outcome in (first, second) if outcome is not None and outcome not in RAN), "skipped")
