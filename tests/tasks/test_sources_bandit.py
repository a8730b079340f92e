"""The source `bandit`: findings of a real bandit in what is no test, and a tree left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.tasks.sources import Scan
from prefect_acms.tasks.sources.bandit import BanditSource
from prefect_acms.tasks.sources.program import Program

MakeRepository = Callable[..., Path]
ScanOf = Callable[..., Scan]
RunIn = Callable[..., str]

RISKY = """\
import subprocess
import hashlib


def run(text):
    subprocess.run(text, shell=True)
    return hashlib.md5(text).hexdigest(), eval(text)
"""


def test_findings_become_gaps(make_repository: MakeRepository, scan_of: ScanOf, run_in: RunIn) -> None:
    """Rule, place, severity, CWE and page; what tests do is theirs; version and command."""
    top = make_repository({"src/a.py": RISKY, "tests/test_a.py": RISKY, "setup.py": "x = 1\n"})
    answer = BanditSource().discover(scan_of(top))
    gaps = {gap.rule_id: gap for gap in answer.gaps}
    assert sorted(gaps) == ["B307", "B324", "B404", "B602"]
    assert {gap.file_paths for gap in answer.gaps} == {("src/a.py",)}
    assert (gaps["B602"].severity, gaps["B404"].severity) == (GapSeverity.HIGH, GapSeverity.LOW)
    assert (gaps["B602"].start_line, gaps["B602"].category, gaps["B602"].fixable) == (6, "security", False)
    assert "CWE-78" in gaps["B602"].description
    assert (answer.version.split()[0], answer.command[1:4]) == ("bandit", ("-I", "-m", "bandit"))
    assert run_in(top, "status", "--porcelain", "--ignored") == ""


def test_some_files_are_told_as_they_would_be_otherwise(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """The proof of a patch compares the two; files that are missing or no Python are none of its business."""
    top = make_repository({"a.py": RISKY, "b.py": RISKY, "-c.py": RISKY, "build/x.py": RISKY, "a.txt": "eval(1)"})
    everything = BanditSource().discover(scan_of(top)).gaps
    asked = ("-c.py", "a.py", "a.txt", "build/x.py", "gone.py")
    some = BanditSource().discover(scan_of(top, asked)).gaps
    wanted = [gap for gap in everything if gap.file_paths != ("b.py",)]
    assert (len(some), sorted(some, key=str)) == (8, sorted(wanted, key=str))
    assert BanditSource().discover(scan_of(top, ("a.txt",))).gaps == ()


def test_the_repositorys_own_configuration_rules(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """Its exceptions, and those in the code."""
    code = RISKY.replace("shell=True)", "shell=True)  # nosec B602")
    top = make_repository({"a.py": code, "pyproject.toml": '[tool.bandit]\nskips = ["B404", "B324"]\n'})
    assert [gap.rule_id for gap in BanditSource().discover(scan_of(top)).gaps] == ["B307"]


def test_what_no_bandit_can_read_fails_the_source(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """One file that can't be read among others is a syntax error, which other sources tell of."""
    with pytest.raises(SourceFailed, match=r"a\.py: syntax error"):
        BanditSource().discover(scan_of(make_repository({"a.py": "def (:\n"}, "broken")))
    assert BanditSource().discover(scan_of(make_repository({"a.py": "def (:\n", "b.py": RISKY}))).gaps


def test_a_program_that_is_not_installed_says_what_to_install(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    with pytest.raises(SourceFailed, match=r"nowhere_at_all is not installed.*prefect-acms\[sources\]"):
        Program.module("nowhere_at_all", scan_of(make_repository({})))
