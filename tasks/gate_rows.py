"""Gates as the store keeps them: a row from before a gate starts until it has said what it says."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from prefect_acms.canonical.test_gate import TIMED_OUT_EXIT_CODE, GateType, TestGateTrigger
from prefect_acms.dao.redaction import ending
from prefect_acms.tasks.baseline import Baseline
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.ending import end_gate_early
from prefect_acms.tasks.environment import Environment
from prefect_acms.tasks.gates import WAITS_FOR, GateCommand, GateResult, run_gate
from prefect_acms.tasks.judging import GateRun, steps_for, take_step
from prefect_acms.tasks.worktrees import Worktree

KEPT_CHARACTERS = 50_000
"""How much of a gate's output is stored, from its end, where the verdict stands."""


NO_GATE = "there is none: name a command by --lint or --unit, or in the section gates of the configuration"


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
        return Judged(f"no gate can judge it ({reasons or NO_GATE})")
    tree = worktree.tree()
    rows: list[tuple[GateType, str]] = []
    steps = steps_for(baseline.judging, touched)
    for step in steps:
        gate_type = step.gate.gate_type
        about = {"tree": tree, "with_base_tests": step.with_base_tests, "isolated": environment.isolation is not None}
        gate_id = start_gate(drive, step.gate, subject, about, waits_for=_waited_for(gate_type, rows))
        rows.append((gate_type, gate_id))
        base = baseline.results[gate_type]
        again = _Again(drive, worktree, environment, subject, gate_id)
        with _answering(drive, gate_id), drive.watching():
            run = take_step(step, worktree, touched, base, environment, drive.base_commit, again=again)
        passed = run.judgement.passed and not run.judgement.flaky
        end_gate(drive, gate_id, run.result, passed=passed, metadata=_judgement(run))
        if not run.judgement.passed:
            blocked = _block(drive, [later.gate for later in steps], subject, tree, rows)
            return Judged(run.judgement.sentence, (*(row for _, row in rows), *blocked))
    gate_ids = tuple(row for _, row in rows)
    baseline.remember(tree, gate_ids)
    return Judged(None, gate_ids, any(step.gate.gate_type is GateType.UNIT for step in steps))


@dataclass(slots=True)
class _Again:
    """Runs a test of a gate alone, with a row of its own that is a re-run of the row before it.

    So the last row of a gate that found flaky tests is the one that counts, and it is PASSED.
    """

    drive: Drive
    worktree: Worktree
    environment: Environment
    subject: Subject
    gate_id: str

    def __call__(self, gate: GateCommand, test: str) -> GateResult:
        alone = replace(gate, places=("--", test))
        about = {"tree": self.worktree.tree(), "test": test}
        self.gate_id = start_gate(self.drive, alone, self.subject, about, rerun_of=self.gate_id)
        with _answering(self.drive, self.gate_id):
            result = run_gate(gate, self.worktree.path, self.environment, tests=(test,))
        outcome = result.outcomes.get(test, "not run")
        said = {"judgement": f"{gate.gate_type}: {test} alone: {outcome}"}
        end_gate(self.drive, self.gate_id, result, passed=outcome == "passed", metadata=said)
        return result


def _waited_for(gate_type: GateType, rows: Sequence[tuple[GateType, str]]) -> list[str]:
    return [row for done, row in rows if done in WAITS_FOR.get(gate_type, ())]


def _block(
    drive: Drive, gates: Sequence[GateCommand], subject: Subject, tree: str, rows: Sequence[tuple[GateType, str]]
) -> list[str]:
    """Record the gates that are not run because the one that they wait for, the last one, has failed; their rows."""
    failed, failed_id = rows[-1]
    waiting = {gate.gate_type: gate for gate in gates if failed in WAITS_FOR.get(gate.gate_type, ())}
    blocked: list[str] = []
    with drive.begin() as dao:
        for gate in waiting.values():
            row = dao.test_gates.create(**_columns(drive, gate, subject, {"tree": tree}))
            dao.test_gates.depends(row.id, on=[failed_id])
            dao.test_gates.advance(
                row.id,
                TestGateTrigger.DEPENDENCY_GATE_FAILED,
                reason=f"{failed} failed, and {gate.gate_type} waits for it",
            )
            blocked.append(row.id)
    return blocked


def judged_base(drive: Drive, gate: GateCommand, worktree: Worktree, environment: Environment) -> GateResult:
    """Run a gate at the base commit: whatever it says there is what patches are compared with."""
    about = {"tree": worktree.tree(), "base": True, "isolated": environment.isolation is not None}
    gate_id = start_gate(drive, gate, Subject(), about)
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


def start_gate(
    drive: Drive,
    gate: GateCommand,
    subject: Subject,
    metadata: dict[str, Any],
    *,
    waits_for: Iterable[str] = (),
    rerun_of: str | None = None,
) -> str:
    """Record that a gate starts, after those that it waits for; its row's id. A re-run stands for what it re-runs."""
    with drive.begin() as dao:
        row = dao.test_gates.create(**_columns(drive, gate, subject, metadata), rerun_of=rerun_of)
        dao.test_gates.depends(row.id, on=waits_for)
        if subject.task_id is not None and rerun_of is None:
            dao.tasks.gate(subject.task_id, row.id, role="exit")
        dao.test_gates.advance(row.id, TestGateTrigger.GATE_STARTED)
    return row.id


def _columns(drive: Drive, gate: GateCommand, subject: Subject, metadata: dict[str, Any]) -> dict[str, Any]:
    return {
        "run_id": drive.run_id,
        "gate_type": gate.gate_type.value,
        "workstream_id": subject.workstream_id,
        "task_id": subject.task_id,
        "command": shlex.join((*gate.argv, *gate.places)),
        "timeout_sec": gate.timeout_sec,
        "metadata": {**metadata, "ledger_entry": subject.entry_id},
    }


def end_gate(drive: Drive, gate_id: str, result: GateResult, *, passed: bool, metadata: dict[str, Any]) -> None:
    """Record what a gate said, long outputs cut to their end."""
    outputs: dict[str, Any] = {
        "exit_code": TIMED_OUT_EXIT_CODE if result.timed_out else result.exit_code,
        "stdout": ending(result.stdout, KEPT_CHARACTERS),
        "stderr": ending(result.stderr, KEPT_CHARACTERS),
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
