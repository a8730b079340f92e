"""Each test is known by its node id, with how it really ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from prefect_acms.tasks.junit import TestOutcome, pytest_arguments, read_junit

Write = Callable[..., None]

BASE = """
class Base:
    def test_inherited(self): pass
"""
TESTS = """
import pytest, unittest
from base_case import Base
class TestA(Base):
    @pytest.mark.parametrize("x", ["a::b", "a.b", "[", "]", "x/y.py", " ", "", "\\x00"])
    def test_p(self, x): assert x != "["
    class TestInner:
        def test_i(self): pass
@pytest.fixture
def bad():
    yield
    raise RuntimeError("teardown")
def test_call_and_teardown(bad): assert 0, "call"
def test_teardown(bad): pass
@pytest.mark.xfail
def test_xfail(): assert 0
@pytest.mark.xfail
def test_xpass(): pass
@pytest.mark.xfail(strict=True)
def test_xpass_strict(): pass
@pytest.mark.skip(reason="why")
def test_skip(): pass
def test_no_fixture(nothing): pass
class U(unittest.TestCase):
    def test_u(self):
        for i in range(3):
            with self.subTest(i=i): self.assertEqual(i % 2, 0)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, write: Write) -> dict[str, TestOutcome]:
    root = tmp_path_factory.mktemp("junit")
    files = {
        "tests/base_case.py": BASE,
        "tests/test_a.py": TESTS,
        "tests/test_broken.py": "import no_such_module\n",
        "tests/test_none.py": "import pytest\npytest.skip('not here', allow_module_level=True)\n",
        "v1.0/test_dots.py": "def test_d(): pass\n",
        "pytest.ini": "[pytest]\njunit_family = xunit2\naddopts = -x --doctest-modules\n",
        "pkg/mod.py": '"""\n>>> 1 + 1\n3\n"""\n',
    }
    write(root, files)
    report = root / "report.xml"
    argv = [sys.executable, "-m", "pytest", *pytest_arguments(report, root / "scratch")]
    subprocess.run(argv, cwd=root, capture_output=True, check=False)
    return read_junit(report, root)


def test_every_test_has_its_node_id_and_its_outcome(found: dict[str, TestOutcome]) -> None:
    """Classes, parameters of every kind, inherited tests, doctests; a broken file stops and hides nothing."""
    a = "tests/test_a.py"
    assert {name: test.outcome for name, test in found.items()} == {
        f"{a}::TestA::TestInner::test_i": "passed",
        f"{a}::TestA::test_inherited": "passed",
        f"{a}::TestA::test_p[[]": "failed",
        f"{a}::TestA::test_p[]]": "passed",
        f"{a}::TestA::test_p[]": "passed",
        f"{a}::TestA::test_p[ ]": "passed",
        f"{a}::TestA::test_p[\\x00]": "passed",
        f"{a}::TestA::test_p[a.b]": "passed",
        f"{a}::TestA::test_p[a::b]": "passed",
        f"{a}::TestA::test_p[x/y.py]": "passed",
        f"{a}::U::test_u": "failed",
        f"{a}::test_call_and_teardown": "error",
        f"{a}::test_no_fixture": "error",
        f"{a}::test_skip": "skipped",
        f"{a}::test_teardown": "error",
        f"{a}::test_xfail": "skipped",
        f"{a}::test_xpass": "passed",
        f"{a}::test_xpass_strict": "failed",
        "pkg/mod.py::mod": "failed",
        "tests/test_broken.py": "error",
        "tests/test_none.py": "skipped",
        "v1.0/test_dots.py::test_d": "passed",
    }


def test_the_reason_is_one_line_and_the_rest_is_kept(found: dict[str, TestOutcome]) -> None:
    """A file that can't be collected says why, and not only that."""
    broken = found["tests/test_broken.py"]
    assert broken.message == "ModuleNotFoundError: No module named 'no_such_module'"
    assert broken.is_collection
    failed = found["tests/test_a.py::TestA::test_p[[]"]
    assert failed.message == "AssertionError: assert '[' != '['"
    assert "def test_p" in failed.detail
    assert (failed.file, failed.line) == ("tests/test_a.py", 5)
    assert found["tests/test_a.py::test_skip"].message == "why"


@pytest.mark.parametrize("content", [None, b"", b"<testsuites>", b"<html/>", b"\xff\xfe", b"<testsuites/>\0"])
def test_a_report_that_is_none_is_said_to_be_none(tmp_path: Path, content: bytes | None) -> None:
    """A run that was killed leaves no report, or half of one."""
    report = tmp_path / "report.xml"
    if content is not None:
        report.write_bytes(content)
    with pytest.raises(ValueError, match=r"report\.xml is not a JUnit report"):
        read_junit(report)


def test_an_empty_report_has_no_tests(tmp_path: Path) -> None:
    """No tests are no error."""
    report = tmp_path / "report.xml"
    report.write_text('<testsuites><testsuite name="pytest" tests="0"/></testsuites>')
    assert read_junit(report) == {}
