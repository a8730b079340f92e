"""Gates: what a repository is judged by, run before and after, so that only what is new counts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from prefect_acms.blocks.config import DiscoverySettings, GateReport, ReportFormat
from prefect_acms.canonical.outside_errors import SourceFailed, ToolFailed
from prefect_acms.canonical.test_gate import GateType
from prefect_acms.tasks.environment import Environment
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.gate_reports import UnreadableReport, clear_report, read_findings, read_report, read_tests
from prefect_acms.tasks.junit import TestOutcome, outcomes_of
from prefect_acms.tasks.processes import OnOutput, ProcessResult
from prefect_acms.tasks.pytest_runs import run_pytest
from prefect_acms.tasks.scratch import scratch_folder
from prefect_acms.tasks.sources import Scan
from prefect_acms.tasks.sources.ruff import RuffSource

Structured = Literal["ruff", "pytest", "bandit"]

NOT_STARTED = 127
"""Exit code of a gate whose program is not there."""

WAITS_FOR: Mapping[GateType, tuple[GateType, ...]] = MappingProxyType(
    {GateType.UNIT: (GateType.LINT,), GateType.INTEGRATION: (GateType.LINT,)}
)
"""The gates that must have passed before one of these is run."""


@dataclass(frozen=True, slots=True)
class GateCommand:
    """One gate of a repository.

    Its findings are read from what `structured` is known to write, or from the `report` of a configured command; else
    its exit code alone counts. `places` are what a test runner looks at, unless single tests are asked for.
    """

    gate_type: GateType
    argv: tuple[str, ...]
    structured: Structured | None
    timeout_sec: float
    report: GateReport | None = None
    places: tuple[str, ...] = ()

    @property
    def tells(self) -> Literal["tests", "findings", "exit code"]:
        """What it is judged by."""
        if self.structured == "pytest" or (self.report and self.report.format is ReportFormat.JUNIT):
            return "tests"
        return "findings" if self.structured or self.report else "exit code"


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


def run_gate(
    gate: GateCommand,
    root: Path,
    environment: Environment,
    *,
    tests: tuple[str, ...] = (),
    on_output: OnOutput | None = None,
) -> GateResult:
    """What a gate says of a tree as it is on disk; it may leave files behind. Never raises for what the gate does.

    `tests` are the only ones that a pytest is to run.
    """
    try:
        if gate.report is not None:
            return _reported(gate, gate.report, root, environment, on_output)
        match gate.structured:
            case "ruff":
                return _ruff(gate, root, environment)
            case "bandit":
                return _bandit(gate, root, environment, on_output)
            case "pytest":
                return _pytest(gate, root, environment, tests, on_output)
            case _:
                return _result(gate, _run(gate, root, environment, on_output))
    except ToolFailed as error:
        return GateResult(gate, NOT_STARTED, "", str(error), timed_out=False, duration_sec=0, unavailable=str(error))


def finding_line(finding: Gap) -> str:
    """A finding in one line, as linters write it."""
    return f"{', '.join(finding.file_paths)}:{finding.start_line or 1}: {finding.rule_id} {finding.title}"


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
        outcomes=_outcomes(findings),
        findings=findings,
    )


def _bandit(gate: GateCommand, root: Path, environment: Environment, on_output: OnOutput | None) -> GateResult:
    with scratch_folder() as scratch:
        report = scratch / "bandit.json"
        process = _run(gate, root, environment, on_output, "-o", str(report), writable=(scratch,))
        return _found(gate, process, ReportFormat.BANDIT, report, root)


def _pytest(
    gate: GateCommand, root: Path, environment: Environment, tests: tuple[str, ...], on_output: OnOutput | None
) -> GateResult:
    run = run_pytest(
        gate.argv,
        root,
        environment,
        timeout_sec=gate.timeout_sec,
        arguments=("--", *tests) if tests else gate.places,
        on_output=on_output,
    )
    return _result(gate, run.process, unavailable=run.problem, tests=run.tests, outcomes=outcomes_of(run.tests))


def _reported(
    gate: GateCommand, report: GateReport, root: Path, environment: Environment, on_output: OnOutput | None
) -> GateResult:
    """A command that leaves a report in the worktree; one that was there before it ran is nobody's word."""
    path = root / report.path
    clear_report(path, root)
    return _found(gate, _run(gate, root, environment, on_output), report.format, path, root)


def _found(gate: GateCommand, process: ProcessResult, form: ReportFormat, path: Path, root: Path) -> GateResult:
    if process.timed_out:
        return _result(gate, process)
    try:
        content = read_report(path, root)
        if form is ReportFormat.JUNIT:
            tests = read_tests(content)
            return _result(gate, process, tests=tests, outcomes=outcomes_of(tests))
        findings = read_findings(form, content, root)
    except UnreadableReport as error:
        return _result(gate, process, unavailable=f"it ended with exit code {process.exit_code}, but {error}")
    return _result(gate, process, findings=findings, outcomes=_outcomes(findings))


def _run(
    gate: GateCommand,
    root: Path,
    environment: Environment,
    on_output: OnOutput | None,
    *further: str,
    writable: tuple[Path, ...] = (),
) -> ProcessResult:
    return environment.with_variables(PYTHONHASHSEED="0").run(
        (*gate.argv, *further), cwd=root, timeout_sec=gate.timeout_sec, writable=writable, on_output=on_output
    )


def _result(
    gate: GateCommand,
    process: ProcessResult,
    *,
    unavailable: str | None = None,
    outcomes: Mapping[str, str] | None = None,
    tests: Mapping[str, TestOutcome] | None = None,
    findings: tuple[Gap, ...] = (),
) -> GateResult:
    if process.timed_out and unavailable is None:
        unavailable = f"it did not end within {gate.timeout_sec:g} s"
    return GateResult(
        gate,
        exit_code=process.exit_code,
        stdout=process.stdout,
        stderr=process.stderr,
        timed_out=process.timed_out,
        duration_sec=process.duration_sec,
        outcomes=outcomes or {},
        unavailable=unavailable,
        tests=tests or {},
        findings=findings,
    )


def _outcomes(findings: tuple[Gap, ...]) -> dict[str, str]:
    return {finding.fingerprint: finding_line(finding) for finding in findings}
