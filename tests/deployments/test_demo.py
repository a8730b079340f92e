"""The demonstration, from end to end, in a process of its own: what the README promises on an empty machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_acms.tasks.git import run_git, text_of
from prefect_acms.tasks.repository import Repository

PROGRAM = "from prefect_acms.deployments.cli import main; main()"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of its own, so that the embedded server starts from nothing."""
    return tmp_path_factory.mktemp("home")


def run_acms(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user with an empty home does."""
    variables = {
        **os.environ,
        "HOME": str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "ACMS_HOME": str(home / "acms"),
    }
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], env=variables, capture_output=True, text=True, check=False,
        timeout=280,
    )  # fmt: skip


@pytest.fixture(scope="module")
def demonstrated(home: Path) -> tuple[subprocess.CompletedProcess[str], Repository]:
    """The demonstration, run once for all tests of this module, and its repository."""
    done = run_acms(home, "demo", "--into", str(home / "shop"))
    return done, Repository.open(home / "shop")


Demonstrated = tuple[subprocess.CompletedProcess[str], Repository]


def test_it_goes_as_it_is_meant_to_go(demonstrated: Demonstrated) -> None:
    """Exit 0: findings fewer, the failing test cured, the breaking fix quarantined, nothing of the user's touched."""
    done, _ = demonstrated
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""


def test_the_user_sees_what_happens(demonstrated: Demonstrated) -> None:
    """Each step a line, before and after, where everything is, and nothing of Prefect's own."""
    done, _ = demonstrated
    for part in (
        "33 findings; tests: 10 pass, 1 fail",
        "phase 4: execution",
        "patch kept",
        "patch quarantined",
        "11 pass, 0 fail",
        "git merge acms/run_",
        "report.html",
        "are as they were",
    ):
        assert part in done.stdout, done.stdout
    assert "prefect" not in done.stdout.lower()
    assert "Traceback" not in done.stdout


def test_the_result_is_on_a_branch_of_its_own(demonstrated: Demonstrated) -> None:
    """`main` is where it was, and each commit of the branch says which patch and gaps it is about."""
    _, repository = demonstrated
    assert repository.branch() == "main"
    assert repository.dirty_files(untracked=True) == ()
    branches = text_of(run_git(["branch", "--format=%(refname:short)"], cwd=repository.top)).split()
    (result,) = [branch for branch in branches if branch.startswith("acms/run_")]
    log = text_of(run_git(["log", "--format=%(trailers:key=ACMS-Patch)", f"main..{result}"], cwd=repository.top))
    assert log.count("ACMS-Patch: patch_") >= 3


def test_everything_can_be_read_afterwards(demonstrated: Demonstrated, home: Path) -> None:
    """The summary, the reports, and a trail that verifies."""
    _, repository = demonstrated
    told = json.loads(run_acms(home, "show", "latest", "--json").stdout)
    assert told["run"]["state"] == "succeeded"
    assert told["counts"]["resolved"] >= 20
    assert told["counts"]["unproven"] == 0
    folder = repository.top / ".acms_runs" / told["run"]["id"]
    assert {"summary.json", "summary.md", "report.html", "transitions.jsonl"} <= {
        path.name for path in folder.iterdir()
    }
    assert run_acms(home, "audit", "verify").returncode == 0
    assert run_acms(home, "patches", "latest", "--state", "quarantined").stdout.count("patch_") == 1
