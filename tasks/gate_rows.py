"""Gates as the store keeps them: a row from before a gate starts until it has said what it says."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from prefect_acms.canonical.test_gate import TIMED_OUT_EXIT_CODE, GateType, TestGateTrigger
from prefect_acms.tasks.baseline import Baseline
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.ending import end_gate_early
from prefect_acms.tasks.environment import Environment
from prefect_acms.tasks.gates import GateCommand, GateResult, run_gate
from prefect_acms.tasks.judging import GateRun, steps_for, take_step
from prefect_acms.tasks.worktrees import Worktree

KEPT_CHARACTERS = 50_000
"""How much of a gate's output is stored, from its end, where the verdict stands."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What the gates say of a tree: what they have against it, if anything, and the rows in which they say so."""

    objection: str | None
    gate_ids: tuple[str, ...] = ()
    tests_passed: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """What a gate judges: the rows that its own row points to, all optional."""

    workstream_id: str | None = None
    task_id: str | None = None
    entry_id: str | None = None


def judged_tree(
    drive: Drive,
    baseline: Baseline,
    worktree: Worktree,
    environment: Environment,
    *,
    touched: Sequence[str],
    subject: Subject,
) -> Judged:
    """Let the gates judge the tree of a worktree, up to the first that objects; the tree is as it was afterwards.

    A tree in which they find nothing new is remembered, so that it need not be judged again.
    """
    if not baseline.judging:
        reasons = "; ".join(
            f"{gate.gate_type}: {baseline.results[gate.gate_type].unavailable}" for gate in baseline.gates
        )
        return Judged(f"no gate can judge it ({reasons or 'there is none'})")
    tree = worktree.tree()
    gate_ids: list[str] = []
    tests_passed = False
    for step in steps_for(baseline.judging, touched):
        base = baseline.results[step.gate.gate_type]
        gate_id = start_gate(drive, step.gate, subject, {"tree": tree, "with_base_tests": step.with_base_tests})
        gate_ids.append(gate_id)
        with _answering(drive, gate_id), drive.watching():
            run = take_step(step, worktree, touched, base, environment, drive.base_commit)
        end_gate(drive, gate_id, run.result, passed=run.judgement.passed, metadata=_judgement(run))
        if not run.judgement.passed:
            return Judged(run.judgement.sentence, tuple(gate_ids))
        tests_passed = tests_passed or step.gate.gate_type is GateType.UNIT
    baseline.remember(tree, gate_ids)
    return Judged(None, tuple(gate_ids), tests_passed)


def judged_base(drive: Drive, gate: GateCommand, worktree: Worktree, environment: Environment) -> GateResult:
    """Run a gate at the base commit: whatever it says there is what patches are compared with."""
    gate_id = start_gate(drive, gate, Subject(), {"tree": worktree.tree(), "base": True})
    with _answering(drive, gate_id), drive.watching():
        result = run_gate(gate, worktree.path, environment)
    metadata: dict[str, Any] = {"unavailable": result.unavailable} if result.unavailable else {}
    end_gate(drive, gate_id, result, passed=result.exit_code == 0 and result.unavailable is None, metadata=metadata)
    return result


@contextmanager
def _answering(drive: Drive, gate_id: str) -> Iterator[None]:
    """A gate that an error of ours keeps from answering is failed, with that error."""
    try:
        yield
    except Exception as error:
        with drive.begin() as dao:
            end_gate_early(dao, dao.test_gates.get(gate_id), f"it could not be judged: {error}")
        raise


def start_gate(drive: Drive, gate: GateCommand, subject: Subject, metadata: dict[str, Any]) -> str:
    """Record that a gate starts; its row's id."""
    with drive.begin() as dao:
        row = dao.test_gates.create(
            run_id=drive.run_id,
            gate_type=gate.gate_type.value,
            workstream_id=subject.workstream_id,
            task_id=subject.task_id,
            command=shlex.join(gate.argv),
            timeout_sec=gate.timeout_sec,
            metadata={**metadata, "ledger_entry": subject.entry_id},
        )
        if subject.task_id is not None:
            dao.tasks.gate(subject.task_id, row.id, role="exit")
        dao.test_gates.advance(row.id, TestGateTrigger.GATE_STARTED)
    return row.id


def end_gate(drive: Drive, gate_id: str, result: GateResult, *, passed: bool, metadata: dict[str, Any]) -> None:
    """Record what a gate said, long outputs cut to their end."""
    outputs: dict[str, Any] = {
        "exit_code": TIMED_OUT_EXIT_CODE if result.timed_out else result.exit_code,
        "stdout": result.stdout[-KEPT_CHARACTERS:],
        "stderr": result.stderr[-KEPT_CHARACTERS:],
        "duration_sec": result.duration_sec,
    }
    with drive.begin() as dao:
        if metadata:
            dao.test_gates.change(gate_id, metadata=metadata)
        if passed:
            dao.test_gates.advance(gate_id, TestGateTrigger.EXPECTED_EXIT_CODE, **outputs)
            return
        trigger = TestGateTrigger.TIMEOUT_EXCEEDED if result.timed_out else TestGateTrigger.UNEXPECTED_EXIT_CODE
        dao.test_gates.advance(gate_id, trigger, timed_out=result.timed_out, **outputs)


def _judgement(run: GateRun) -> dict[str, Any]:
    judgement = run.judgement
    return {
        "judgement": judgement.sentence,
        "new": list(judgement.new),
        "missing": list(judgement.missing),
        "flaky": list(judgement.flaky),
    }
