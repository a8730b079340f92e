"""The source `ruff`: findings of a real ruff, with fingerprints that survive moved lines, and a tree left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.sources import Scan
from prefect_acms.tasks.sources.python_target import ruff_target
from prefect_acms.tasks.sources.ruff import RuffSource
from prefect_acms.tasks.sources.ruff_rules import family_of

MakeRepository = Callable[..., Path]
ScanOf = Callable[..., Scan]
RunIn = Callable[..., str]

UNTIDY = """\
import os
import sys


def f(x):
    y = 1
    if x == None:
        return sys.path


def g(x):
    if x == None:
        return 2
"""


def found(scan: Scan) -> dict[str, list[Gap]]:
    """What ruff finds, by rule."""
    by_rule: dict[str, list[Gap]] = {}
    for gap in RuffSource().discover(scan).gaps:
        by_rule.setdefault(gap.rule_id, []).append(gap)
    return by_rule


def test_findings_become_gaps(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """Rule, place, category, severity, and whether ruff has a safe fix; without a configuration a broad default."""
    gaps = found(scan_of(make_repository({"src/a.py": UNTIDY})))
    assert sorted(gaps) == ["E711", "F401", "F841"]
    (unused,) = gaps["F401"]
    assert (unused.file_paths, unused.start_line, unused.category) == (("src/a.py",), 1, "imports")
    assert (unused.severity, unused.fixable) == (GapSeverity.LOW, True)
    assert unused.title == "`os` imported but unused"
    assert not gaps["F841"][0].fixable
    assert not any(gap.fixable for gap in gaps["E711"])


def test_unsafe_fixes_count_only_where_they_are_asked_for(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    gaps = found(scan_of(make_repository({"a.py": UNTIDY}), unsafe_fixes=True))
    assert all(gap.fixable for rule in ("F401", "F841", "E711") for gap in gaps[rule])


def test_fingerprints_survive_moved_lines(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """Lines above, other indentation: the same gaps at other places; equal ones stay two."""
    top = make_repository({"a.py": UNTIDY})
    before = RuffSource().discover(scan_of(top)).gaps
    (top / "a.py").write_text('"""New."""\n\n# new\n\n' + UNTIDY.replace("    if x", "    if  x"))
    after = RuffSource().discover(scan_of(top)).gaps
    assert [gap.fingerprint for gap in before] == [gap.fingerprint for gap in after]
    assert [gap.start_line for gap in before] != [gap.start_line for gap in after]
    assert len({gap.fingerprint for gap in before}) == len(before) == 4


def test_a_syntax_error_is_a_gap(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """Critical, not fixable; the other files are judged all the same."""
    gaps = found(scan_of(make_repository({"broken.py": "def (:\n", "a.py": "import os\n"})))
    assert {(gap.severity, gap.fixable, gap.category) for gap in gaps["invalid-syntax"]} == {
        (GapSeverity.CRITICAL, False, "syntax")
    }
    assert "F401" in gaps


@pytest.mark.parametrize("name", ["pyproject.toml", "ruff.toml", ".ruff.toml"])
def test_the_repositorys_own_configuration_rules(make_repository: MakeRepository, scan_of: ScanOf, name: str) -> None:
    """Its rules and its exceptions, and none of our default."""
    table = "[tool.ruff.lint]" if name == "pyproject.toml" else "[lint]"
    files = {
        "a.py": UNTIDY,
        "old.py": UNTIDY,
        name: f'{table}\nselect = ["E711"]\nper-file-ignores = {{"old.py" = ["E"]}}',
    }
    gaps = found(scan_of(make_repository(files)))
    assert {rule: {gap.file_paths for gap in gaps[rule]} for rule in gaps} == {"E711": {("a.py",)}}


def test_chosen_rules_stand_in_place_of_configured_ones(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """With a configuration of the repository and without."""
    for files in ({"a.py": UNTIDY}, {"a.py": UNTIDY, "ruff.toml": 'lint.select = ["E711"]'}):
        name = f"r{len(files)}"
        assert set(found(scan_of(make_repository(files, name), ruff_select=("F841",)))) == {"F841"}


def test_unknown_rules_fail_the_source(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    with pytest.raises(SourceFailed, match="NONSENSE"):
        found(scan_of(make_repository({"a.py": UNTIDY}), ruff_select=("NONSENSE1",)))


def test_a_broken_configuration_fails_the_source(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    with pytest.raises(SourceFailed, match=r"ruff\.toml"):
        found(scan_of(make_repository({"a.py": UNTIDY, "ruff.toml": "colour = 'red'"})))


def test_a_scan_of_some_files_says_what_it_would_say_of_them_otherwise(
    make_repository: MakeRepository, scan_of: ScanOf
) -> None:
    """The proof of a patch compares the two; excluded, missing and other files are none of its business."""
    top = make_repository({"a.py": UNTIDY, "b.py": UNTIDY, "c.txt": "import os", "ruff.toml": 'exclude = ["x.py"]'})
    (top / "x.py").write_text(UNTIDY)
    everything = RuffSource().discover(scan_of(top)).gaps
    some = RuffSource().discover(scan_of(top, files=("b.py", "c.txt", "x.py", "gone.py"))).gaps
    assert some == tuple(gap for gap in everything if gap.file_paths == ("b.py",))
    assert RuffSource().discover(scan_of(top, files=("c.txt",))).gaps == ()


def test_the_tree_is_left_alone(make_repository: MakeRepository, scan_of: ScanOf, run_in: RunIn) -> None:
    """No cache, no fix, no report in it."""
    top = make_repository({"a.py": UNTIDY})
    RuffSource().discover(scan_of(top, ruff_select=("F", "format")))
    assert run_in(top, "status", "--porcelain", "--ignored") == ""


def test_unformatted_files_are_gaps_where_they_are_asked_for(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """`format` among the rules asks for them, alone or beside others; a file that does not parse is not one."""
    top = make_repository({"tidy.py": "x = 1\n", "odd name.py": "import os\nx  =  1\n", "broken.py": "def (:\n"})
    assert "unformatted" not in found(scan_of(top))
    (gap,) = found(scan_of(top, ruff_select=("format",)))["unformatted"]
    assert (gap.file_paths, gap.category, gap.fixable) == (("odd name.py",), "formatting", True)
    assert set(found(scan_of(top, ruff_select=("F401", "format")))) == {"F401", "invalid-syntax", "unformatted"}
    assert found(scan_of(top, ruff_select=("format",), files=("tidy.py",))) == {}


def test_a_module_named_ruff_in_the_repository_is_not_run(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """A repository can't put its own program in ruff's place."""
    trap = "raise SystemExit('trapped')\n"
    gaps = found(scan_of(make_repository({"ruff.py": trap, "src/ruff/__main__.py": trap, "a.py": "import os\n"})))
    assert set(gaps) == {"F401"}


def test_an_environment_without_ruff_is_served_by_ours(
    make_repository: MakeRepository, scan_of: ScanOf, tmp_path: Path
) -> None:
    """Its Python need not even have pip."""
    import venv  # noqa: PLC0415 - only here

    venv.create(tmp_path / "bare", with_pip=False)
    scan = scan_of(make_repository({"a.py": UNTIDY}))
    bare = replace(scan.environment, interpreter=tmp_path / "bare" / "bin" / "python")
    assert "F401" in found(replace(scan, environment=bare))


def test_a_scan_that_takes_too_long_fails(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    with pytest.raises(SourceFailed, match="more than"):
        found(replace(scan_of(make_repository({"a.py": UNTIDY})), timeout_sec=0.001))


def test_many_findings_are_not_cut(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """Ruff's answer may be larger than what is kept of a program's output."""
    gaps = found(scan_of(make_repository({"a.py": "".join(f"import m{n}\n" for n in range(4000))})))
    assert len(gaps["F401"]) == 4000


OLD_UNION = "from typing import Optional\n\n\ndef f(x: Optional[int]):\n    return x\n"


@pytest.mark.parametrize(
    ("files", "target"),
    [
        ({"pyproject.toml": '[project]\nrequires-python = ">=3.8,<4"'}, "py38"),
        ({"pyproject.toml": '[tool.poetry.dependencies]\npython = "^3.9"'}, "py39"),
        ({"setup.cfg": "[options]\npython_requires = >= 3.7"}, "py37"),
        ({"setup.py": "from setuptools import setup\nsetup(python_requires='>=3.6')"}, "py37"),
        ({"setup.py": "raise SystemExit(1)", "pyproject.toml": "broken ["}, None),
    ],
)
def test_nothing_is_modernised_beyond_what_the_project_supports(
    make_repository: MakeRepository, scan_of: ScanOf, files: dict[str, str], target: str | None
) -> None:
    """`X | None` needs 3.10; wherever an older Python is promised, ruff is not asked for it. setup.py is never run."""
    top = make_repository({"a.py": OLD_UNION, **files})
    assert ruff_target(top) == target
    assert ("UP045" in found(scan_of(top))) is (target is None)


@pytest.mark.parametrize(
    ("rule", "family"),
    [
        ("F401", "imports"),
        ("F821", "bug-risk"),
        ("F841", "dead-code"),
        ("FIX002", "documentation"),
        ("FURB101", "modernisation"),
        ("E902", "syntax"),
        ("W605", "bug-risk"),
        ("UP006", "modernisation"),
        ("ZZZ999", "lint"),
        ("invalid-syntax", "syntax"),
    ],
)
def test_a_rule_belongs_to_its_own_family(rule: str, family: str) -> None:
    """The longest beginning counts, and FIX is not F."""
    assert family_of(rule)[0] == family
