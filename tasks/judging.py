"""What gates have against a patch: only what is new since the base commit, and every test that no longer runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from prefect_acms.canonical.test_gate import GateType
from prefect_acms.tasks.environment import Environment
from prefect_acms.tasks.fingerprints import compare
from prefect_acms.tasks.gates import GateCommand, GateResult, finding_line, run_gate
from prefect_acms.tasks.integrity_settings import is_configuration
from prefect_acms.tasks.junit import BAD, RAN
from prefect_acms.tasks.pytest_runs import is_test_file
from prefect_acms.tasks.reports.text import count
from prefect_acms.tasks.worktrees import Worktree

MOST_RERUNS = 20
"""More newly failing tests than this are not run again: so many are not flaky, they are broken."""

RERUNS = 2
"""How often a newly failing test is run again alone before it is blamed on the patch."""

Again = Callable[[GateCommand, str], GateResult]
"""Runs one test of a gate alone."""

_SHOWN = 5
_TESTING = frozenset({GateType.UNIT, GateType.INTEGRATION})


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a gate lets a patch pass, and why not: what fails anew, and which tests no longer run.

    `flaky` tests failed, and passed when they were run again alone; they are recorded, not blamed on the patch.
    """

    passed: bool
    new: tuple[str, ...]
    missing: tuple[str, ...]
    sentence: str
    flaky: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GateStep:
    """One run of a gate for a patch: on the patched tree as it is, or with the judges of the base commit in it."""

    gate: GateCommand
    with_base_tests: bool = False


@dataclass(frozen=True, slots=True)
class GateRun:
    """A step that was taken: what the gate said, and what that means."""

    step: GateStep
    result: GateResult
    judgement: Judgement

    @property
    def gate(self) -> GateCommand:
        """The gate."""
        return self.step.gate


def judge(base: GateResult, result: GateResult, *, flaky: Sequence[str] = ()) -> Judgement:
    """Compare what a gate says now with what it said at the base commit.

    A gate that could not judge then can't now, and lets nothing pass: whether it is asked at all is the caller's
    policy. A gate that could judge then and can't now has been broken by the patch.
    """
    name = result.gate.gate_type.value
    if base.unavailable is not None:
        return _refused(f"{name} can't judge, it could not at the base commit: {base.unavailable}")
    if result.unavailable is not None:
        missing = _missing(base, result)
        return _refused(f"{name} can't run any more: {result.unavailable}", missing=missing)
    match result.gate.tells:
        case "findings":
            return _judge_findings(name, base, result)
        case "tests":
            return _judge_tests(name, base, result, flaky)
        case _:
            return _judge_exit_code(name, base, result)


def steps_for(gates: Iterable[GateCommand], touched: Iterable[str]) -> tuple[GateStep, ...]:
    """The runs that a patch of these files needs, in order.

    A patch that touches tests, or what configures a judge, is judged by those of the base commit first, and by its own
    after that. The configuration of linters is only ever that of the base commit, since nothing else would object.
    """
    files = tuple(touched)
    judges = [path for path in files if _is_judge(path)]
    by_base = bool(judges) and len(judges) < len(files)
    configured = any(is_configuration(path) for path in files)
    return tuple(
        step
        for gate in gates
        for step in (GateStep(gate, with_base_tests=True), GateStep(gate))
        if (by_base or not step.with_base_tests if gate.gate_type in _TESTING else step.with_base_tests is configured)
    )


def _is_judge(path: str) -> bool:
    """Whether a file is one that judges, or that says how: a test, a fixture, configuration of tests or of linters."""
    return is_test_file(path) or is_configuration(path)


def take_step(  # noqa: PLR0917  # all six are always needed
    step: GateStep,
    worktree: Worktree,
    touched: Iterable[str],
    base: GateResult,
    environment: Environment,
    base_commit: str,
    *,
    again: Again | None = None,
) -> GateRun:
    """Run a gate on the applied patch and judge it; the tree is exactly the patched one again afterwards.

    `again` runs a newly failing test once more; without it, it is run and not recorded.
    """
    tree, root = worktree.tree(), worktree.path
    try:
        if step.with_base_tests:
            worktree.show([path for path in touched if _is_judge(path)], base_commit)
        result = run_gate(step.gate, root, environment)
        judgement = judge(base, result)
        again = again or (lambda gate, test: run_gate(gate, root, environment, tests=(test,)))
        if flaky := _flaky(step.gate, judgement, again):
            judgement = judge(base, result, flaky=flaky)
    finally:
        worktree.reset(tree)
    return GateRun(step, result, judgement)


def _flaky(gate: GateCommand, judgement: Judgement, again: Again) -> tuple[str, ...]:
    """The newly failing tests that pass alone, each by itself, at least once; up to the first that never does.

    That one is blamed, and then nothing that could be said of the others would let the patch pass.
    """
    is_hopeless = judgement.missing or any("::" not in name for name in judgement.new)
    if gate.structured != "pytest" or is_hopeless or len(judgement.new) > MOST_RERUNS:
        return ()
    flaky: list[str] = []
    for test in judgement.new:
        if not any(again(gate, test).outcomes.get(test) == "passed" for _ in range(RERUNS)):
            break
        flaky.append(test)
    return tuple(flaky)


def _refused(sentence: str, *, new: Sequence[str] = (), missing: Sequence[str] = ()) -> Judgement:
    return Judgement(passed=False, new=tuple(new), missing=tuple(missing), sentence=sentence)


def _judge_findings(name: str, base: GateResult, result: GateResult) -> Judgement:
    new = [finding_line(finding) for finding in compare(base.findings, result.findings).new]
    if new:
        return _refused(f"{name}: {_counted(new, 'new finding')}", new=new)
    sentence = f"{name}: nothing new, {count(len(result.findings), 'finding')} as before"
    return Judgement(passed=True, new=(), missing=(), sentence=sentence)


def _judge_tests(name: str, base: GateResult, result: GateResult, flaky: Sequence[str]) -> Judgement:
    new = [test for test in _failing(base, result) if test not in flaky]
    missing = _missing(base, result)
    problems = []
    if new:
        reasons = [f"{test} ({result.tests[test].message})" for test in new]
        problems.append(_counted(reasons, "test that fails and did not"))
    if missing:
        problems.append(_counted(missing, "test that ran and no longer runs"))
    if not problems and (odd := _odd_exit(base, result, flaky)):
        problems.append(odd)
    if problems:
        return Judgement(
            passed=False, new=tuple(new), missing=missing, sentence=f"{name}: {'; '.join(problems)}", flaky=tuple(flaky)
        )
    ran = sum(outcome in RAN for outcome in result.outcomes.values())
    red = sum(outcome in BAD for outcome in result.outcomes.values()) - len(flaky)
    sentence = f"{name}: {count(ran, 'test')} ran, {f'{red} red as before' if red else 'none red'}"
    if flaky:
        sentence += f", flaky: {', '.join(flaky)}"
    return Judgement(passed=True, new=(), missing=(), sentence=sentence, flaky=tuple(flaky))


def _odd_exit(base: GateResult, result: GateResult, flaky: Sequence[str]) -> str | None:
    """What the exit code says that the tests do not: the two must agree, or one of them was made up."""
    red, red_before = (any(outcome in BAD for outcome in one.outcomes.values()) for one in (result, base))
    if result.exit_code == base.exit_code:
        return None
    if result.exit_code == 0:
        return "tests fail, but it ends with exit code 0" if red and red_before else None
    if result.exit_code == 1 and (red or flaky or base.exit_code != 0):
        return None
    return f"no test fails anew, but it ends with exit code {result.exit_code} instead of {base.exit_code}"


def _judge_exit_code(name: str, base: GateResult, result: GateResult) -> Judgement:
    if result.exit_code != 0 == base.exit_code:
        problem = f"exit code {result.exit_code}"
        return _refused(f"{name}: it ended with 0 at the base commit and ends with {problem} now", new=[problem])
    return Judgement(passed=True, new=(), missing=(), sentence=f"{name}: exit code {result.exit_code}")


def _failing(base: GateResult, result: GateResult) -> list[str]:
    """The tests that are red now and were not; those of a file that could not even be collected before are not new."""
    unreadable = {test for test, outcome in base.outcomes.items() if outcome == "error" and "::" not in test}
    return [
        test
        for test, outcome in sorted(result.outcomes.items())
        if outcome in BAD and base.outcomes.get(test) not in BAD and test.partition("::")[0] not in unreadable
    ]


def _missing(base: GateResult, result: GateResult) -> tuple[str, ...]:
    """The tests that ran then and do not now: gone, skipped, deselected, or in a file that can't be collected."""
    return tuple(
        test
        for test, outcome in sorted(base.outcomes.items())
        if outcome in RAN and "::" in test and result.outcomes.get(test) not in RAN
    )


def _counted(things: Sequence[str], what: str) -> str:
    shown = "; ".join(things[:_SHOWN])
    more = f"; and {len(things) - _SHOWN} more" if len(things) > _SHOWN else ""
    return f"{len(things)} {what}: {shown}{more}"
