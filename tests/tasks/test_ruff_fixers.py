"""What ruff fixes without a model: imports in order, older syntax, trusted fixes, annotations that mypy proves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from prefect_acms.blocks.config import DiscoverySettings
from prefect_acms.tasks.fingerprints import compare
from prefect_acms.tasks.patterns import PatternIndex
from prefect_acms.tasks.profiles import load_profiles
from prefect_acms.tasks.sources import Scan
from prefect_acms.tasks.sources.mypy import MypySource
from prefect_acms.tasks.sources.ruff import RuffSource, ruff_options
from prefect_acms.tasks.tools import ToolValues, run_tool

MakeRepository = Callable[..., Path]
ScanOf = Callable[..., Scan]

OLD = """\
import sys
import os
from typing import List

def f(x: List[int]) -> bool:
    return x == None and os.name == "{}".format(sys.platform)
"""


def fixed(scan: Scan, tool: str, rules: tuple[str, ...] = ()) -> str:
    """The file `a.py` after a tool worked on it."""
    values = ToolValues(files=("a.py",), rules=rules, ruff_options=ruff_options(scan.root, scan.settings.trusted_fixes))
    profile = load_profiles().get(tool)
    run = run_tool(profile, worktree=scan.root, environment=scan.environment, values=values)
    assert run.exit_code in profile.expected_exit_codes, run.stderr
    return (scan.root / "a.py").read_text()


def test_imports_are_sorted_and_syntax_is_brought_up_to_date(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """By the rules I and UP, whose fixes are safe, for the Python that the project declares."""
    files = {"a.py": OLD, "pyproject.toml": '[project]\nname = "x"\nrequires-python = ">=3.9"\n'}
    scan = scan_of(make_repository(files), ruff_select=("I", "UP"))
    rules = {gap.rule_id for gap in RuffSource().discover(scan).gaps if gap.fixable}
    assert rules == {"I001", "UP032"}
    text = fixed(scan, "ruff-fix", tuple(sorted(rules)))
    assert text.index("import os") < text.index("import sys")
    assert 'f"{sys.platform}"' in text


@pytest.mark.parametrize("files", [{}, {"ruff.toml": 'lint.extend-safe-fixes = ["F841"]\n'}])
def test_the_fixes_of_trusted_rules_count_as_safe(
    make_repository: MakeRepository, scan_of: ScanOf, files: dict[str, str]
) -> None:
    """For the source and for the tool alike, beside what the repository trusts itself; other unsafe ones do not."""
    code = "def f(x):\n    y = 1\n    if x == None:\n        return 2\n"
    scan = scan_of(make_repository({"a.py": code, **files}), ruff_select=("E711", "F841"), trusted_fixes=("E711",))
    fixable = {gap.rule_id: gap.fixable for gap in RuffSource().discover(scan).gaps}
    assert fixable == {"E711": True, "F841": bool(files)}
    text = fixed(scan, "ruff-fix", ("E711", "F841"))
    assert ("x is None" in text, "y = 1" in text) == (True, not files)


def test_a_rule_to_be_trusted_is_one_of_ruffs() -> None:
    """It becomes an argument."""
    with pytest.raises(ValidationError, match="trusted_fixes"):
        DiscoverySettings(trusted_fixes=('"] \n',))


def test_what_ruff_may_not_touch_is_not_fixable(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """Of a file that the repository excludes, or a function that it exempts, the tool would leave all as it is."""
    code = "def clear():  # noqa: ANN201\n    print(1)\n\n\ndef drop():\n    print(2)\n"
    excluded = {"ruff.toml": 'exclude = ["b.py"]\n'}
    scan = scan_of(make_repository({"a.py": code, "b.py": code, **excluded}), mypy_strict=True)
    found = MypySource().discover(scan).gaps
    fixable = {(gap.file_paths[0], gap.title.split()[0]): gap.fixable for gap in found}
    assert fixable == {place: place == ("a.py", "drop") for place in fixable}
    assert len(fixable) == 4


def test_what_returns_nothing_is_annotated_and_mypy_proves_it(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """A function whose arguments nobody can tell stays a gap, and is no new one."""
    code = "def clear():\n    print(1)\n\n\ndef other(x):\n    print(x)\n"
    scan = scan_of(make_repository({"a.py": code}), mypy_strict=True)
    before = MypySource().discover(scan).gaps
    assert {gap.title: gap.fixable for gap in before} == {
        "clear is not fully annotated": True,
        "other is not fully annotated": False,
    }
    pattern = PatternIndex.load().for_gap(before[0])
    assert pattern is not None
    assert pattern.allowed_tools == ("ruff-annotate",)
    assert "def clear() -> None:" in fixed(scan, "ruff-annotate")
    result = compare(before, MypySource().discover(scan).gaps)
    assert [[gap.title.split()[0] for gap in part] for part in (result.gone, result.kept, result.new)] == [
        ["clear"],
        ["other"],
        [],
    ]
