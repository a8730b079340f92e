"""The demonstration: a small repository with real findings and a failing test, improved before the user's eyes."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prefect_acms.blocks.config import EnvironmentSettings
from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.dao.home import can_be_written
from prefect_acms.tasks.environment import environment_for
from prefect_acms.tasks.git import git_program, run_git
from prefect_acms.tasks.junit import BAD, outcomes_of, pytest_arguments, read_junit
from prefect_acms.tasks.processes import run_process
from prefect_acms.tasks.repository import AUTHOR_EMAIL, AUTHOR_NAME, Repository
from prefect_acms.tasks.summary_model import Summary

SAMPLE = Path(__file__).parent / "demo_repository"
FOLDER = "corner-shop"
RENAMED = {"gitignore.txt": ".gitignore"}
"""Stored under another name: as .gitignore it would hide files from our own git, and from the wheel."""

COMMITTED_AT = "2026-01-05T09:00:00+0000"
TIMEOUT_SEC = 300.0


@dataclass(frozen=True, slots=True)
class Health:
    """What ruff and pytest say about a tree."""

    findings: int
    failing: tuple[str, ...]
    passing: int

    @property
    def tests(self) -> str:
        """The tests in words."""
        return f"{self.passing} pass, {len(self.failing)} fail"


def make_repository(into: Path | None = None) -> Path:
    """Make the sample repository, in a new folder or in the given one; raises InvalidValue if that holds anything.

    Its one commit is the same on every machine.
    """
    require_room(into)
    folder = into.expanduser().absolute() if into else Path(tempfile.mkdtemp(prefix="acms-demo-")) / FOLDER
    shutil.copytree(SAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"), dirs_exist_ok=True)
    for stored, real in RENAMED.items():
        (folder / stored).rename(folder / real)
    _commit(folder)
    return folder


def require_room(into: Path | None) -> None:
    """Refuse what the demonstration could not be made with: no git, or a folder that holds something."""
    git_program()
    if into is None:
        return
    folder = into.expanduser().absolute()
    if (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))) or not can_be_written(folder):
        expected = "a folder that is empty or does not exist yet, where it can be made"
        raise InvalidValue(field="--into", value=str(into), expected=expected)


def _commit(folder: Path) -> None:
    roles = ("AUTHOR", "COMMITTER")
    parts = {"NAME": AUTHOR_NAME, "EMAIL": AUTHOR_EMAIL, "DATE": COMMITTED_AT}
    variables = {f"GIT_{role}_{part}": value for role in roles for part, value in parts.items()}
    run_git(["init", "--quiet", "--initial-branch=main"], cwd=folder)
    run_git(["add", "--all"], cwd=folder)
    run_git(["commit", "--quiet", "--message=A small shop, as it is"], cwd=folder, variables=variables)


def measure(tree: Path) -> Health:
    """Run ruff and pytest on a tree, as they are; raises ValueError if pytest leaves no report."""
    environment = environment_for(tree, tree, EnvironmentSettings())
    lint = run_process(
        environment.python("-m", "ruff", "check", "--no-cache", "--exit-zero", "--output-format=json", "."),
        cwd=tree, env=environment.variables, timeout_sec=TIMEOUT_SEC,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="acms-demo-") as scratch:
        report = Path(scratch) / "tests.xml"
        run_process(
            environment.python("-m", "pytest", *pytest_arguments(report, Path(scratch))),
            cwd=tree, env=environment.variables, timeout_sec=TIMEOUT_SEC,
        )  # fmt: skip
        tests = outcomes_of(read_junit(report, tree))
    failing = tuple(test for test, outcome in tests.items() if outcome in BAD)
    return Health(len(json.loads(lint.stdout)), failing, sum(outcome == "passed" for outcome in tests.values()))


def measure_branch(repository: Repository, branch: str) -> Health:
    """Run ruff and pytest on what is on a branch, in a folder of its own."""
    archive = run_git(["archive", "--format=tar", branch], cwd=repository.top).stdout
    with tempfile.TemporaryDirectory(prefix="acms-demo-") as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
        return measure(Path(folder))


def disappointments(before: Health, after: Health | None, summary: Summary, *, untouched: bool) -> Iterator[str]:
    """What did not go as the demonstration is meant to go, a sentence each."""
    if not untouched:
        yield "your branch, or a file of your working tree, was changed"
    if after is None:
        yield "there is no result branch"
        return
    if not before.failing or after.failing:
        yield f"the failing test was to be cured: {', '.join(after.failing) or 'none failed before'}"
    if after.passing < before.passing + len(before.failing):
        yield f"tests are missing: {before.tests} before, {after.tests} after"
    if after.findings >= before.findings:
        yield f"findings were to become fewer: {before.findings} before, {after.findings} after"
    if not summary.kept():
        yield "no patch was kept"
    if not summary.quarantined():
        yield "the fix that breaks a test was to be quarantined"
