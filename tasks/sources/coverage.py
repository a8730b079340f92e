"""The gap source `coverage`: files that the tests run too little of, and functions that they never run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.tasks.fingerprints import Fingerprinter
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.pytest_runs import WITHOUT_OPTIONS, find_pytest, has_tests, is_test_file, run_pytest
from prefect_acms.tasks.pytest_settings import own_options
from prefect_acms.tasks.scratch import scratch_folder
from prefect_acms.tasks.sources import Discovered, Scan
from prefect_acms.tasks.sources.program import Program, read_json, relative_path
from prefect_acms.tasks.sources.python_target import read_ini, read_table

LOW_COVERAGE = "low-coverage"
NEVER_RUN = "never-run"

HALF = 50
"""Percent below which too little is not a small matter."""

NOT_TESTED = frozenset({"setup.py", "conf.py", "noxfile.py", "fabfile.py", "tasks.py"})
"""What runs in no test, wherever it is at the top or in the documentation."""

_KEPT_OFF = {"--cov": ("--no-cov",), "-n": ("-n", "0"), "--numprocesses": ("-n", "0")}
"""Options by which a plugin measures in our place, or runs tests where they are not measured; and what stops it."""


class CoverageSource:
    """Runs all tests under coverage.py, with the repository's own configuration of it."""

    name = "coverage"

    def discover(self, scan: Scan) -> Discovered:
        """Files under the threshold, and functions of files that run; without tests nothing is known."""
        if not has_tests(scan.root):
            return Discovered(())
        coverage = _installed(scan)
        pytest = find_pytest(scan.root, scan.environment)
        with scratch_folder() as folder:
            data = f"--data-file={folder / 'data'}"
            measured = ("-B", *coverage.command[1:], "run", data, *_measured(scan.root))
            kept = _kept_off(scan.root, pytest)
            run = run_pytest(
                pytest,
                scan.root,
                scan.environment,
                timeout_sec=scan.timeout_sec,
                arguments=kept,
                under=measured,
                writable=(folder,),
            )
            if run.problem is not None:
                raise SourceFailed(source=self.name, problem=run.problem)
            if not (folder / "data").is_file():
                # a configuration with `parallel` leaves one file a process
                coverage.run("combine", data, str(folder), writable=(folder,))
            report = folder / "report.json"
            coverage.run("json", data, "-i", "-q", "--fail-under=0", "-o", str(report), writable=(folder,))
            files = read_json(report, self.name)["files"]
        asked = None if scan.files is None else set(scan.files)
        gaps = (gap for gap in _gaps(files, scan) if asked is None or asked.intersection(gap.file_paths))
        command = (*coverage.command, "run", *_measured(scan.root), "-m", "pytest", *pytest[3:], *kept)
        return Discovered(tuple(gaps), coverage.module_version(), command)


def _installed(scan: Scan) -> Program:
    """The coverage.py of the Python that runs the tests; another's can't see them."""
    coverage = Program.module(CoverageSource.name, scan)
    if coverage.python != Path(find_pytest(scan.root, scan.environment)[0]):
        problem = f"coverage is not installed for {scan.environment.interpreter}, which runs the tests"
        raise SourceFailed(source=CoverageSource.name, problem=problem)
    return coverage


def _kept_off(root: Path, pytest: Sequence[str]) -> tuple[str, ...]:
    if set(WITHOUT_OPTIONS) <= set(pytest):
        return ()
    given = own_options(root)
    stopped = (stop for start, stop in _KEPT_OFF.items() if any(option.startswith(start) for option in given))
    return tuple(option for stop in dict.fromkeys(stopped) for option in stop)


def _measured(root: Path) -> tuple[str, ...]:
    """What is measured where the repository itself does not say: all of it, also what no test imports."""
    said = read_table(root / "pyproject.toml").get("tool", {}).get("coverage", {}).get("run", {})
    parts = [said.keys()]
    for name, section in ((".coveragerc", "run"), ("setup.cfg", "coverage:run"), ("tox.ini", "coverage:run")):
        found = read_ini(root / name)
        parts += [dict(found[section]).keys()] if found.has_section(section) else []
    if any({"source", "source_pkgs", "include"} & part for part in parts):
        return ()
    # coverage.py looks for what is not imported in packages only, and `src` is none
    return ("--source=.,src",) if (root / "src").is_dir() else ("--source=.",)


def _gaps(files: Mapping[str, Mapping[str, Any]], scan: Scan) -> Iterator[Gap]:
    for name in sorted(files):
        path = relative_path(name, scan.root)
        if is_test_file(path) or Path(path).name in NOT_TESTED or not (scan.root / path).is_file():
            continue
        facts = files[name]
        percent = facts["summary"]["percent_covered"]
        if facts["summary"]["num_statements"] and percent < scan.settings.coverage_threshold:
            yield _low(path, percent, scan.settings.coverage_threshold)
        if facts["summary"]["covered_lines"]:
            yield from _never_run(path, facts.get("functions", {}))


def _low(path: str, percent: float, threshold: float) -> Gap:
    return Gap(
        source=CoverageSource.name,
        rule_id=LOW_COVERAGE,
        fingerprint=Fingerprinter().next(LOW_COVERAGE, path, ()),
        title=f"the tests run {int(percent)} % of {path}, which is less than {threshold:g} %",
        category="coverage",
        severity=GapSeverity.MEDIUM if percent < HALF else GapSeverity.LOW,
        file_paths=(path,),
    )


def _never_run(path: str, functions: Mapping[str, Mapping[str, Any]]) -> Iterator[Gap]:
    numbered = Fingerprinter()
    for name, facts in functions.items():
        missing = facts["missing_lines"]
        if not name or not missing or facts["executed_lines"]:
            continue
        yield Gap(
            source=CoverageSource.name,
            rule_id=NEVER_RUN,
            fingerprint=numbered.next(NEVER_RUN, path, [name]),
            title=f"no test runs {name}",
            category="coverage",
            severity=GapSeverity.LOW,
            file_paths=(path,),
            start_line=facts.get("start_line") or missing[0],
            end_line=max(missing),
        )
