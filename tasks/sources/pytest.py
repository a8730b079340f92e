"""The gap source `pytest`: tests that fail or can't run at the base commit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.tasks.environment import own_python
from prefect_acms.tasks.fingerprints import fingerprint
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.junit import BAD, TestOutcome
from prefect_acms.tasks.linking import TESTING
from prefect_acms.tasks.processes import run_process
from prefect_acms.tasks.pytest_runs import PytestRun, find_pytest, has_tests, run_pytest
from prefect_acms.tasks.sources import Discovered, Scan
from prefect_acms.tasks.sources.test_files import test_files_among

NO_TESTS = 5
"""pytest's exit code when it found none."""

LONGEST_TITLE = 200
LONGEST_DESCRIPTION = 1000


class PytestSource:
    """Runs the tests in the tree; a test that fails is a gap, whatever its message."""

    name = "pytest"

    def discover(self, scan: Scan) -> Discovered:
        """Failing tests, erroring tests and files that can't be collected; no tests are no gaps."""
        files = _present(scan)
        if not (has_tests(scan.root) if files is None else files):
            return Discovered(())
        command = find_pytest(scan.root, scan.environment)
        arguments = ("--", *files) if files else ()
        run = run_pytest(command, scan.root, scan.environment, timeout_sec=scan.timeout_sec, arguments=arguments)
        _refuse_useless(run)
        gaps = [_gap(test, scan.root) for test in run.tests.values() if test.outcome in BAD]
        return Discovered(tuple(gaps), _version(command, Path(command[0]).parent), (*command, *arguments))


def _present(scan: Scan) -> tuple[str, ...] | None:
    """The test files that were asked for and are there; None when everything was asked for."""
    if scan.files is None:
        return None
    return test_files_among((path for path in scan.files if (scan.root / path).is_file()), scan.root)


def _refuse_useless(run: PytestRun) -> None:
    """Raise SourceFailed for a run that says nothing of the tests; files that can't be collected say something."""
    problem = None
    if run.process.timed_out or (not run.tests and run.process.exit_code != NO_TESTS):
        problem = run.problem
    elif run.problem and run.tests and all("ModuleNotFoundError" in test.message for test in run.tests.values()):
        problem = f"what the tests import is not installed: {run.problem}"
    if problem is not None:
        raise SourceFailed(source=PytestSource.name, problem=problem)


@cache
def _version(command: tuple[str, ...], cwd: Path) -> str:
    if command[0] == str(own_python()):
        return f"pytest {version('pytest')}"  # known without starting it
    done = run_process((*command, "--version"), cwd=cwd, env={}, timeout_sec=60)
    return (done.stdout.strip() or done.stderr.strip()).partition("\n")[0]


def _gap(test: TestOutcome, root: Path) -> Gap:
    path = test.test_id.partition("::")[0]
    files = (path,) if (root / path).is_file() else ()
    what, rule = _kind(test)
    message = _repeatable(test.message, root)
    return Gap(
        source=PytestSource.name,
        rule_id=rule,
        # one rule for all: a test that errors today and failed yesterday is the same gap
        fingerprint=fingerprint(PytestSource.name, path, [test.test_id]),
        title=f"{test.test_id} {what}{f': {message}' if message else ''}"[:LONGEST_TITLE],
        description="\n".join(_errors(_repeatable(test.detail, root)))[:LONGEST_DESCRIPTION],
        category=TESTING,
        severity=GapSeverity.HIGH,
        file_paths=files,
        start_line=test.line if files else None,
    )


def _kind(test: TestOutcome) -> tuple[str, str]:
    if test.is_collection:
        return "can't be collected", "collection-error"
    return ("fails", "failing-test") if test.outcome == "failed" else ("errors", "erroring-test")


def _errors(detail: str) -> Iterator[str]:
    """The lines that pytest marks as the error itself."""
    return (line for line in detail.splitlines() if line.startswith("E "))


def _repeatable(text: str, root: Path) -> str:
    """The text without what differs from run to run: the place of the tree, addresses, pytest's temporary folders."""
    text = text.replace(f"{root}/", "").replace(str(root), ".")
    return re.sub(r"pytest-\d+\b", "pytest-N", re.sub(r"\b0x[0-9a-fA-F]{6,}\b", "0x…", text))
