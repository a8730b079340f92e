"""The source `pytest`: tests that really fail, told apart by their ids, with messages that are the same each time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.sources import Scan
from prefect_acms.tasks.sources.pytest import PytestSource
from prefect_acms.tasks.sources.test_files import test_files_among as named_as_tests

MakeRepository = Callable[..., Path]
ScanOf = Callable[..., Scan]
RunIn = Callable[..., str]

TESTS = """\
import pytest


class TestThings:
    def test_method(self):
        assert object() == 4


@pytest.mark.parametrize("n", [1, 2])
def test_number(n) -> None:
    assert n == 1


@pytest.fixture
def broken():
    raise RuntimeError("no fixture")


def test_error(broken) -> None:
    pass


@pytest.mark.skip
def test_skipped() -> None:
    pass
"""


def found(scan: Scan) -> dict[str, Gap]:
    """The failing tests, by the first word of their title."""
    return {gap.title.split()[0]: gap for gap in PytestSource().discover(scan).gaps}


def test_failing_erroring_and_uncollected_tests_are_gaps(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """Each by its id, in its file, with a message that holds no address and no path of this run."""
    top = make_repository({"tests/test_a.py": TESTS, "tests/test_b.py": "import nowhere\n"})
    answer = PytestSource().discover(scan_of(top))
    gaps = {gap.title.split()[0]: gap for gap in answer.gaps}
    assert {name: gap.rule_id for name, gap in gaps.items()} == {
        "tests/test_a.py::TestThings::test_method": "failing-test",
        "tests/test_a.py::test_number[2]": "failing-test",
        "tests/test_a.py::test_error": "erroring-test",
        "tests/test_b.py": "collection-error",
    }
    assert all((gap.category, gap.severity, gap.fixable) == ("testing", "high", False) for gap in gaps.values())
    assert gaps["tests/test_b.py"].file_paths == ("tests/test_b.py",)
    assert "No module named 'nowhere'" in gaps["tests/test_b.py"].title
    assert PytestSource().discover(scan_of(top)).gaps == answer.gaps


def test_a_fingerprint_is_the_test_and_not_its_message(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """Failing otherwise, or in an error, it is the same gap."""
    top = make_repository({"test_a.py": "def test_x():\n    assert 1 == 2\n"})
    (before,) = found(scan_of(top)).values()
    (top / "test_a.py").write_text("import pytest\n\n\ndef test_x(nothing):\n    assert 3 == 4\n")
    (after,) = found(scan_of(top)).values()
    assert before.fingerprint == after.fingerprint
    assert before.rule_id != after.rule_id


def test_the_repositorys_stop_at_the_first_failure_is_overruled(
    make_repository: MakeRepository, scan_of: ScanOf
) -> None:
    """-x in its options would hide all failures but one."""
    top = make_repository({"test_a.py": TESTS, "pytest.ini": "[pytest]\naddopts = -x\n"})
    assert len(found(scan_of(top))) == 3


def test_a_scan_of_some_files_runs_only_these(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """Test files by name; a source file is never imported as one."""
    files = {"test_a.py": TESTS, "test_b.py": TESTS, "setup.py": "open('trap', 'w')\n"}
    top = make_repository(files)
    gaps = found(scan_of(top, files=("test_b.py", "setup.py", "test_gone.py")))
    assert {gap.file_paths for gap in gaps.values()} == {("test_b.py",)}
    assert found(scan_of(top, files=("setup.py",))) == {}
    assert not (top / "trap").exists()


@pytest.mark.parametrize(
    "files",
    [{"README.md": "no code"}, {"a.py": "def test_like():\n    assert 0\n"}, {"test_a.py": "x = 1\n"}],
)
def test_no_tests_are_no_gaps(make_repository: MakeRepository, scan_of: ScanOf, files: dict[str, str]) -> None:
    """That is no failure of the source."""
    assert found(scan_of(make_repository(files))) == {}


def test_passing_tests_are_no_gaps(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    assert found(scan_of(make_repository({"test_a.py": "def test_x():\n    assert 1\n"}))) == {}


def test_a_broken_conftest_fails_the_source(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """Nothing is known of the tests then, and the reason is told."""
    top = make_repository({"test_a.py": TESTS, "conftest.py": "import nowhere\n"})
    with pytest.raises(SourceFailed, match="pytest failed"):
        found(scan_of(top))


def test_missing_packages_are_not_gaps_of_the_code(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """Where no test file can be imported for want of a package, the environment is at fault."""
    top = make_repository({"test_a.py": "import nowhere\n", "test_b.py": "import elsewhere\n"})
    with pytest.raises(SourceFailed, match="not installed"):
        found(scan_of(top))


def test_tests_that_take_too_long_fail_the_source(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    top = make_repository({"test_a.py": "import time\n\n\ndef test_x():\n    time.sleep(60)\n"})
    with pytest.raises(SourceFailed, match="3 s"):
        found(replace(scan_of(top), timeout_sec=3))


def test_the_tree_is_left_alone(make_repository: MakeRepository, scan_of: ScanOf, run_in: RunIn) -> None:
    """No cache of pytest's, no bytecode, no report."""
    top = make_repository({"tests/test_a.py": TESTS, "tests/__init__.py": ""})
    found(scan_of(top))
    assert run_in(top, "status", "--porcelain", "--ignored") == ""


@pytest.mark.parametrize(
    ("files", "tests"),
    [
        ({}, ("a/test_x.py", "x_test.py")),
        ({"pytest.ini": "[pytest]\npython_files = check_*.py"}, ("check_x.py",)),
        ({"pyproject.toml": '[tool.pytest.ini_options]\npython_files = ["check_*.py"]'}, ("check_x.py",)),
        ({"setup.cfg": "[tool:pytest]\npython_files = a/*.py"}, ("a/test_x.py",)),
        ({"tox.ini": "[pytest]\npython_files = *_test.py"}, ("x_test.py",)),
        ({"pyproject.toml": "broken ["}, ("a/test_x.py", "x_test.py")),
    ],
)
def test_test_files_are_named_as_the_project_says(
    tmp_path: Path, files: dict[str, str], tests: tuple[str, ...]
) -> None:
    """`python_files` of its configuration, else pytest's own."""
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert named_as_tests(["a/test_x.py", "x_test.py", "check_x.py", "a.py"], tmp_path) == tests
