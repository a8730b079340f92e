"""Gates: what a repository is judged by, run before and after, so that only what is new counts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Literal

from prefect_acms.blocks.config import DiscoverySettings, GateSettings
from prefect_acms.canonical.errors import SourceFailed, ToolFailed
from prefect_acms.canonical.test_gate import GateType
from prefect_acms.tasks.environment import Environment
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.junit import TestOutcome, outcomes_of
from prefect_acms.tasks.processes import OnOutput, run_process
from prefect_acms.tasks.pytest_runs import find_pytest, has_tests, python_files, run_pytest
from prefect_acms.tasks.sources import Scan
from prefect_acms.tasks.sources.ruff import RuffSource

Structured = Literal["ruff", "pytest"]

NOT_STARTED = 127
"""Exit code of a gate whose program is not there."""


@dataclass(frozen=True, slots=True)
class GateCommand:
    """One gate of a repository; `structured` says whose findings are read, instead of its exit code alone."""

    gate_type: GateType
    argv: tuple[str, ...]
    structured: Structured | None
    timeout_sec: float


@dataclass(frozen=True, slots=True)
class GateResult:
    """What a gate said of one tree.

    `outcomes` are test ids with passed, failed, error or skipped, or fingerprints of findings with their place.
    `unavailable` says why the gate could not judge at all.
    """

    gate: GateCommand
    exit_code: int
    stdout: str
    stderr: str
    timed_out: bool
    duration_sec: float
    outcomes: Mapping[str, str] = field(default_factory=dict)
    unavailable: str | None = None
    tests: Mapping[str, TestOutcome] = field(default_factory=dict)
    findings: tuple[Gap, ...] = ()


def find_gates(root: Path, settings: GateSettings, environment: Environment) -> tuple[GateCommand, ...]:
    """The gates of a repository, by its tree at the base commit, cheapest first.

    LINT is the configured command, or ruff where there are Python files; UNIT the configured command, or pytest where
    there are tests, with the environment's pytest or with ours where it has none. A configured pytest is read test by
    test as well; any other command is judged by its exit code.
    """
    gates = (_lint(root, settings) if settings.lint_enabled else None, _unit(root, settings, environment))
    return tuple(gate for gate in gates if gate is not None)


def run_gate(
    gate: GateCommand,
    root: Path,
    environment: Environment,
    *,
    on_output: OnOutput | None = None,
) -> GateResult:
    """What a gate says of a tree as it is on disk; it may leave files behind. Never raises for what the gate does."""
    try:
        if gate.structured == "ruff":
            return _ruff(gate, root, environment)
        if gate.structured == "pytest":
            return _pytest(gate, root, environment, on_output)
        return _command(gate, root, environment, on_output)
    except ToolFailed as error:
        return GateResult(gate, NOT_STARTED, "", str(error), timed_out=False, duration_sec=0, unavailable=str(error))


def rerun_alone(gate: GateCommand, tests: tuple[str, ...], root: Path, environment: Environment) -> tuple[str, ...]:
    """Which of these tests pass when they run once more without the others, sorted."""
    run = run_pytest(gate.argv, root, environment, timeout_sec=gate.timeout_sec, arguments=("--", *tests))
    return tuple(sorted(name for name in tests if name in run.tests and run.tests[name].outcome == "passed"))


def _lint(root: Path, settings: GateSettings) -> GateCommand | None:
    if settings.lint is not None:
        return GateCommand(GateType.LINT, settings.lint, None, settings.timeout_sec)
    if not any(python_files(root)):
        return None
    return GateCommand(GateType.LINT, ("ruff", "check"), "ruff", settings.timeout_sec)


def _unit(root: Path, settings: GateSettings, environment: Environment) -> GateCommand | None:
    if not settings.unit_enabled:
        return None
    if settings.unit is not None:
        structured: Structured | None = "pytest" if _is_pytest(settings.unit) else None
        return GateCommand(GateType.UNIT, settings.unit, structured, settings.timeout_sec)
    if not has_tests(root):
        return None
    return GateCommand(GateType.UNIT, find_pytest(root, environment), "pytest", settings.timeout_sec)


def _is_pytest(argv: tuple[str, ...]) -> bool:
    by_module = ("-m", "pytest") in pairwise(argv)
    return by_module or PurePath(argv[0]).name in {"pytest", "py.test"} or argv[1:3] == ("run", "pytest")


def _ruff(gate: GateCommand, root: Path, environment: Environment) -> GateResult:
    """The same findings as the gap source's, by the same command, so that both speak of the same things."""
    scan = Scan(root=root, environment=environment, settings=DiscoverySettings(), timeout_sec=gate.timeout_sec)
    began = time.monotonic()
    try:
        findings = RuffSource().discover(scan).gaps
    except SourceFailed as error:
        return GateResult(gate, 2, "", str(error), timed_out=False, duration_sec=0, unavailable=str(error))
    return GateResult(
        gate,
        exit_code=1 if findings else 0,
        stdout="".join(f"{finding_line(finding)}\n" for finding in findings),
        stderr="",
        timed_out=False,
        duration_sec=time.monotonic() - began,
        outcomes={finding.fingerprint: finding_line(finding) for finding in findings},
        findings=findings,
    )


def finding_line(finding: Gap) -> str:
    """A finding in one line, as linters write it."""
    return f"{', '.join(finding.file_paths)}:{finding.start_line or 1}: {finding.rule_id} {finding.title}"


def _pytest(
    gate: GateCommand,
    root: Path,
    environment: Environment,
    on_output: OnOutput | None,
) -> GateResult:
    run = run_pytest(gate.argv, root, environment, timeout_sec=gate.timeout_sec, on_output=on_output)
    return GateResult(
        gate,
        exit_code=run.process.exit_code,
        stdout=run.process.stdout,
        stderr=run.process.stderr,
        timed_out=run.process.timed_out,
        duration_sec=run.process.duration_sec,
        outcomes=outcomes_of(run.tests),
        unavailable=run.problem,
        tests=run.tests,
    )


def _command(
    gate: GateCommand,
    root: Path,
    environment: Environment,
    on_output: OnOutput | None,
) -> GateResult:
    process = run_process(
        gate.argv,
        cwd=root,
        env=environment.with_variables(PYTHONHASHSEED="0").variables,
        timeout_sec=gate.timeout_sec,
        on_output=on_output,
    )
    return GateResult(
        gate,
        exit_code=process.exit_code,
        stdout=process.stdout,
        stderr=process.stderr,
        timed_out=process.timed_out,
        duration_sec=process.duration_sec,
        unavailable=f"it did not end within {gate.timeout_sec:g} s" if process.timed_out else None,
    )
