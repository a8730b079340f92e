"""Gate integrity: what a patch does to its judges is told, and what it does honestly is not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from prefect_acms.tasks.integrity import IntegrityFinding, integrity_findings
from prefect_acms.tasks.integrity_comments import suppressions_added
from prefect_acms.tasks.integrity_machinery import machinery_changed
from prefect_acms.tasks.integrity_rules import ChangedFile, IntegrityRule
from prefect_acms.tasks.integrity_settings import settings_changed
from prefect_acms.tasks.integrity_tests import weakened_tests
from prefect_acms.tasks.repository import Repository

TEST = "tests/test_a.py"
HEAD = "import pytest\nfrom unittest import TestCase, mock\nfrom app import f, g\n"


def found(path: str, old: str | None, new: str | None) -> list[str]:
    """The rules that a change of one file breaks, each once."""
    before, after = (None if text is None else text.encode() for text in (old, new))
    file = ChangedFile(path, before, after)
    checks = (settings_changed(file), suppressions_added(file), machinery_changed(file, {path}), weakened_tests([file]))
    return sorted({str(finding.rule) for check in checks for finding in check})


def case(body: str, decorators: str = "", name: str = "test_f") -> str:
    """A test module with one test of that body."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return f"{HEAD}{decorators}def {name}(tmp_path, monkeypatch):\n{lines}"


WEAKENED: dict[str, tuple[str, str, str]] = {
    "assertion removed": (case("assert f() == 1\nassert g() == 2"), case("f()\nassert g() == 2"), "ASSERTION_REMOVED"),
    "assertion made true": (case("assert f() == 1"), case("assert True or f() == 1"), "ASSERTION_REMOVED"),
    "assertion of itself": (case("x = f()\nassert x == 1"), case("x = f()\nassert x == x"), "ASSERTION_REMOVED"),
    "assertion of a tuple": (case("assert f() == 1"), case("assert (f() == 1, 'one')"), "ASSERTION_REMOVED"),
    "less compared": (case("assert f() == 1"), case("assert f() >= 1"), "ASSERTION_WEAKENED"),
    "only truth": (case("assert f() == 1"), case("assert f()"), "ASSERTION_WEAKENED"),
    "only not none": (case("assert f() == 1"), case("assert f() is not None"), "ASSERTION_WEAKENED"),
    "or something": (case("assert f() == 1"), case("assert f() == 1 or g()"), "ASSERTION_WEAKENED"),
    "approximately": (case("assert f() == 1"), case("assert f() == pytest.approx(1)"), "ASSERTION_WEAKENED"),
    "raises anything": (
        case("with pytest.raises(ValueError):\n    f()"),
        case("with pytest.raises(Exception):\n    f()"),
        "ASSERTION_WEAKENED",
    ),
    "under a condition": (case("assert f() == 1"), case("if g():\n    assert f() == 1"), "ASSERTION_WEAKENED"),
    "error swallowed": (
        case("assert f() == 1"),
        case("try:\n    assert f() == 1\nexcept AssertionError:\n    print()"),
        "ASSERTION_WEAKENED",
    ),
    "suppressed": (
        case("assert f() == 1"),
        case("with contextlib.suppress(Exception):\n    assert f() == 1"),
        "ASSERTION_WEAKENED",
    ),
    "behind a return": (case("assert f() == 1"), case("return\nassert f() == 1"), "ASSERTION_WEAKENED"),
    "expects another": (case("assert f() == 1"), case("assert f() == 2"), "ASSERTION_CHANGED"),
    "expects the opposite": (case("assert f() < 1"), case("assert f() > 1"), "ASSERTION_CHANGED"),
    "compares with another": (case("x = 'one'\nassert f() == x"), case("x = 'two'\nassert f() == x"), "TEST_DATA"),
    "no longer asks": (case("x = f()\nassert x == 1"), case("x = 1\nassert x == 1"), "TEST_HOLLOWED"),
    "asks a stand-in": (
        case("assert f() == 1"),
        case("with mock.patch('app.f', return_value=1):\n    assert f() == 1"),
        "TEST_HOLLOWED",
    ),
    "skip mark": (case("assert f()"), case("assert f()", "@pytest.mark.skip(reason='slow')\n"), "TEST_SKIPPED"),
    "xfail mark": (case("assert f()"), case("assert f()", "@pytest.mark.xfail\n"), "TEST_SKIPPED"),
    "other mark": (case("assert f()"), case("assert f()", "@pytest.mark.slow\n"), "TEST_SKIPPED"),
    "skip always": (
        case("assert f()", "@pytest.mark.skipif(1 > 2, reason='a')\n"),
        case("assert f()", "@pytest.mark.skipif(1 < 2, reason='a')\n"),
        "TEST_SKIPPED",
    ),
    "skip call": (case("assert f()"), case("pytest.skip('later')\nassert f()"), "TEST_SKIPPED"),
    "module mark": (case("assert f()"), case("assert f()") + "pytestmark = pytest.mark.skip\n", "TEST_SKIPPED"),
    "module skip": (
        case("assert f()"),
        HEAD + "pytest.skip('x', allow_module_level=True)\n" + case("assert f()"),
        "TEST_SKIPPED",
    ),
    "not collected": (case("assert f()"), case("assert f()") + "test_f.__test__ = False\n", "TEST_SKIPPED"),
    "renamed": (case("assert f()"), case("assert f()", name="check_f"), "TEST_REMOVED"),
    "bound anew": (case("assert f()"), case("assert f()") + "test_f = None\n", "TEST_REMOVED"),
    "defined anew": (case("assert f()"), case("assert f()") + "def test_f():\n    f()\n", "ASSERTION_REMOVED"),
    "emptied": (case("assert f()"), HEAD, "TEST_REMOVED"),
    "broken": (case("assert f()"), "def test_f(:\n", "TEST_UNREADABLE"),
    "cases removed": (
        case("assert f()", "@pytest.mark.parametrize('a', [1, 2, 3])\n"),
        case("assert f()", "@pytest.mark.parametrize('a', [1, 2])\n"),
        "CASES_REMOVED",
    ),
    "cases changed": (
        case("assert f()", "@pytest.mark.parametrize('a', [1, 2, 3])\n"),
        case("assert f()", "@pytest.mark.parametrize('a', [1, 2, 4])\n"),
        "ASSERTION_CHANGED",
    ),
    "shared value": (f"{HEAD}WANTED = {{'a': 1}}\n", f"{HEAD}WANTED = {{'a': 2}}\n", "TEST_DATA"),
    "class no case": (
        f"{HEAD}class A(TestCase):\n    def test_a(self):\n        self.assertEqual(f(), 1)\n",
        f"{HEAD}class A:\n    def test_a(self):\n        self.assertEqual(f(), 1)\n",
        "TEST_SKIPPED",
    ),
    "method loosened": (
        f"{HEAD}class A(TestCase):\n    def test_a(self):\n        self.assertEqual(f(), 1)\n",
        f"{HEAD}class A(TestCase):\n    def test_a(self):\n        self.assertTrue(f())\n",
        "ASSERTION_WEAKENED",
    ),
    "setup changed": (
        f"{HEAD}class A(TestCase):\n    def setUp(self):\n        self.a = f()\n",
        f"{HEAD}class A(TestCase):\n    def setUp(self):\n        self.a = g()\n",
        "FIXTURE_CHANGED",
    ),
    "fixture changed": (
        f"{HEAD}@pytest.fixture\ndef a():\n    return f(1)\n",
        f"{HEAD}@pytest.fixture\ndef a():\n    return f(2)\n",
        "FIXTURE_CHANGED",
    ),
    "fixture gone": (f"{HEAD}@pytest.fixture\ndef a():\n    return f(1)\n", HEAD, "FIXTURE_CHANGED"),
    "fixture for all": (
        HEAD,
        f"{HEAD}@pytest.fixture(autouse=True)\ndef a(monkeypatch):\n    return 1\n",
        "TEST_MACHINERY",
    ),
    "fixture of pytest's name": (HEAD, f"{HEAD}@pytest.fixture\ndef tmp_path():\n    return 1\n", "TEST_MACHINERY"),
    "rewires": (HEAD, f"{HEAD}TestCase.assertEqual = print\nunittest.TestCase.run = print\n", "TEST_MACHINERY"),
    "ends early": (case("assert f()"), case("import os\nassert f()\nos._exit(0)"), "TEST_MACHINERY"),
}
"""Ways to weaken a test, each with the rule that names it."""


@pytest.mark.parametrize(("before", "after", "rule"), WEAKENED.values(), ids=WEAKENED)
def test_a_weakened_test_is_told(before: str, after: str, rule: str) -> None:
    """A test that demands less than before, or can no longer say no, is named."""
    assert found(TEST, before, before) == []
    assert rule in found(TEST, before, after)


OTHERS: dict[str, tuple[str, str | None, str | None, str]] = {
    "test file deleted": (TEST, case("assert f()"), None, "TEST_REMOVED"),
    "test data changed": ("tests/data/a.json", "1\n", "2\n", "TEST_DATA"),
    "test data deleted": ("tests/data/a.json", "1\n", None, "TEST_DATA"),
    "conftest new": ("pkg/conftest.py", None, "", "TEST_MACHINERY"),
    "conftest deleted": ("conftest.py", "", None, "TEST_MACHINERY"),
    "hook": ("conftest.py", "", "def pytest_collection_modifyitems(items):\n    items.clear()\n", "TEST_MACHINERY"),
    "hook changed": ("conftest.py", "def pytest_x(a):\n    a(1)\n", "def pytest_x(a):\n    a(2)\n", "TEST_MACHINERY"),
    "collect_ignore": ("conftest.py", "", "collect_ignore = ['test_a.py']\n", "TEST_MACHINERY"),
    "plugins": ("conftest.py", "", "pytest_plugins = ['x']\n", "TEST_MACHINERY"),
    "conftest acts": ("conftest.py", "import sys\n", "import sys\nsys.path.insert(0, 'x')\n", "TEST_MACHINERY"),
    "package of tests acts": ("tests/__init__.py", "", "import sys\nsys.meta_path.clear()\n", "TEST_MACHINERY"),
    "sitecustomize": ("sitecustomize.py", None, "print()\n", "TEST_MACHINERY"),
    "pth": ("a.pth", None, "import os\n", "TEST_MACHINERY"),
    "entry point": (
        "pyproject.toml",
        "",
        "[project.entry-points.pytest11]\nx = 'x'\n",
        "TEST_MACHINERY",
    ),
    "entry point in setup.py": ("setup.py", "", "setup(entry_points={'pytest11': ['x=x']})\n", "TEST_DETECTED"),
    "shadows pytest": ("pytest.py", None, "", "SHADOWED_MODULE"),
    "shadows a package": ("pytest/__init__.py", None, "", "SHADOWED_MODULE"),
    "shadows the library": ("src/random.py", None, "", "SHADOWED_MODULE"),
    "shadows from tests": ("tests/json.py", None, "", "SHADOWED_MODULE"),
    "asks for the test": ("app.py", "", "import os\nA = 'PYTEST_CURRENT_TEST' in os.environ\n", "TEST_DETECTED"),
    "asks for pytest": ("app.py", "", "import sys\nA = 'pytest' in sys.modules\n", "TEST_DETECTED"),
    "asks for a tracer": ("app.py", "", "import sys\nA = sys.gettrace()\n", "TEST_DETECTED"),
    "imports pytest": ("app.py", "", "import _pytest.python\n", "TEST_DETECTED"),
    "rewires from the product": ("app.py", "", "import builtins\nbuiltins.AssertionError = int\n", "TEST_MACHINERY"),
    "ends from the product": ("app.py", "", "import os\n\n\ndef f():\n    os._exit(0)\n", "TEST_MACHINERY"),
    "noqa": ("app.py", "import os\n", "import os  # noqa\n", "SUPPRESSION"),
    "noqa of a file": ("app.py", "import os\n", "# ruff: noqa\nimport os\n", "SUPPRESSION"),
    "noqa without a blank": ("app.py", "import os\n", "import os  #NoQA:F401\n", "SUPPRESSION"),
    "noqa widened": ("app.py", "import os  # noqa: F401\n", "import os  # noqa\n", "SUPPRESSION"),
    "noqa of one more": ("app.py", "import os  # noqa: F401\n", "import os  # noqa: F401, E501\n", "SUPPRESSION"),
    "type ignore": ("app.py", "a = b\n", "a = b  # type: ignore[misc]\n", "SUPPRESSION"),
    "mypy of a file": ("app.py", "a = b\n", "# mypy: ignore-errors\na = b\n", "SUPPRESSION"),
    "pyright": ("app.py", "a = b\n", "a = b  # pyright: ignore\n", "SUPPRESSION"),
    "nosec": ("app.py", "eval(a)\n", "eval(a)  # nosec B307\n", "SUPPRESSION"),
    "no cover": ("app.py", "a()\n", "a()  # pragma: no cover\n", "SUPPRESSION"),
    "pylint": ("app.py", "a()\n", "a()  # pylint: disable=all\n", "SUPPRESSION"),
    "format off": ("app.py", "a()\n", "# fmt: off\na()\n", "SUPPRESSION"),
    "doctest": ("app.py", '"""\n>>> f()\n"""\n', '"""\n>>> f()  # doctest: +SKIP\n"""\n', "SUPPRESSION"),
    "eslint": ("app.js", "a()\n", "// eslint-disable-next-line no-alert\na()\n", "SUPPRESSION"),
    "typescript": ("app.ts", "a()\n", "// @ts-ignore\na()\n", "SUPPRESSION"),
    "clang": ("app.c", "a();\n", "a(); // NOLINT(x)\n", "SUPPRESSION"),
    "go": ("app.go", "a()\n", "a() //nolint:errcheck\n", "SUPPRESSION"),
    "rust": ("app.rs", "fn a() {}\n", "#[allow(dead_code)]\nfn a() {}\n", "SUPPRESSION"),
    "shell": ("app.sh", "a\n", "# shellcheck disable=SC2086\na\n", "SUPPRESSION"),
    "pytest options": (
        "pyproject.toml",
        "[tool.pytest.ini_options]\naddopts = '-q'\n",
        "[tool.pytest.ini_options]\naddopts = '-q --deselect a'\n",
        "TEST_CONFIG",
    ),
    "pytest.ini": ("pytest.ini", None, "[pytest]\n", "TEST_CONFIG"),
    "pytest in tox.ini": ("tox.ini", "[pytest]\na = 1\n", "[pytest]\na = 2\n", "TEST_CONFIG"),
    "pytest in setup.cfg": ("setup.cfg", "", "[tool:pytest]\npython_files = x.py\n", "TEST_CONFIG"),
    "coverage threshold": (
        "pyproject.toml",
        "[tool.coverage.report]\nfail_under = 90\n",
        "[tool.coverage.report]\nfail_under = 10\n",
        "TEST_CONFIG",
    ),
    "coveragerc": (".coveragerc", "[report]\na = 1\n", "[report]\na = 1\nomit = *\n", "TEST_CONFIG"),
    "ruff in pyproject": ("pyproject.toml", "", "[tool.ruff.lint]\nignore = ['F']\n", "LINT_CONFIG"),
    "ruff.toml": ("pkg/ruff.toml", "", "lint.ignore = ['F']\n", "LINT_CONFIG"),
    "per file": ("ruff.toml", "", "[lint.per-file-ignores]\n'*' = ['F']\n", "LINT_CONFIG"),
    "flake8": (".flake8", "[flake8]\nignore = E1\n", "[flake8]\nignore = E1, F\n", "LINT_CONFIG"),
    "mypy of a module": ("setup.cfg", "", "[mypy-app.*]\nignore_errors = true\n", "LINT_CONFIG"),
    "settings unreadable": ("pyproject.toml", "a = 1\n", "a = \n", "TEST_CONFIG"),
    "makefile": ("Makefile", "test:\n\tpytest\n", "test:\n\ttrue\n", "GATE_COMMAND"),
    "nox": ("noxfile.py", "a = 1\n", "a = 2\n", "GATE_COMMAND"),
    "npm": ("package.json", '{"scripts": {"test": "jest"}}', '{"scripts": {"test": "true"}}', "GATE_COMMAND"),
}
"""What else a patch can do to its judges."""


@pytest.mark.parametrize(("path", "before", "after", "rule"), OTHERS.values(), ids=OTHERS)
def test_what_happens_to_a_judge_is_told(path: str, before: str | None, after: str | None, rule: str) -> None:
    """Configuration, machinery, suppressions and gate commands: each change is named."""
    assert rule in found(path, before, after)


HONEST: dict[str, tuple[str, str | None, str | None]] = {
    "imports sorted": (
        TEST,
        "import sys\nimport os\n" + case("assert f()"),
        "import os\nimport sys\n" + case("assert f()"),
    ),
    "new test": (TEST, case("assert f()"), case("assert f()") + case("assert g()", name="test_g")),
    "new test file": ("tests/test_b.py", None, case("assert f()")),
    "new test data": ("tests/data/a.json", None, "1\n"),
    "more asserted": (TEST, case("assert f() == 1"), case("assert f() == 1\nassert g() == 2")),
    "unused noqa gone": ("app.py", "import os  # noqa: F401\n", "import os\n"),
    "noqa narrowed": ("app.py", "import os  # noqa\n", "import os  # noqa: F401\n"),
    "noqa spelled right": ("app.py", "import os  #noqa:F401\n", "import os  # noqa: F401\n"),
    "noqa moved": ("app.py", "import os  # noqa: F401\na = 1\n", "a = 1\nimport os  # noqa: F401\n"),
    "noqa in prose": ("docs/a.md", "", "Write `# noqa` there.\n"),
    "skip gone": (TEST, case("assert f()", "@pytest.mark.skip\n"), case("assert f()")),
    "composite split": (TEST, case("assert f() and g()"), case("assert f()\nassert g()")),
    "none by identity": (TEST, case("assert f() == None"), case("assert f() is None")),
    "true by itself": (TEST, case("assert f() == True"), case("assert f()")),
    "not in": (TEST, case("assert not f() in g()"), case("assert f() not in g()")),
    "format modernised": (TEST, case("assert f() == '%s: 1' % g()"), case("assert f() == f'{g()}: 1'")),
    "returns": (TEST, case("assert f() == 1"), case("result = f()\nassert result == 1")),
    "method modernised": (
        TEST,
        f"{HEAD}class A(TestCase):\n    def test_a(self):\n        self.assertEquals(f(), 1)\n",
        f"{HEAD}class A(TestCase):\n    def test_a(self):\n        self.assertEqual(f(), 1)\n",
    ),
    "method to assert": (
        TEST,
        f"{HEAD}class A(TestCase):\n    def test_a(self):\n        self.assertTrue(g() == 1)\n",
        f"{HEAD}class A(TestCase):\n    def test_a(self):\n        assert g() == 1\n",
    ),
    "fixture call": (TEST, "@pytest.fixture()\ndef a():\n    return 1\n", "@pytest.fixture\ndef a():\n    return 1\n"),
    "names of cases": (
        TEST,
        case("assert f()", "@pytest.mark.parametrize('a,b', [(1, 2)])\n"),
        case("assert f()", "@pytest.mark.parametrize(('a', 'b'), [(1, 2)])\n"),
    ),
    "comment in settings": ("pyproject.toml", "[tool.ruff]\na = 1\n", "[tool.ruff]\n# why\na = 1  # so\n"),
    "other settings": ("pyproject.toml", "[project]\nversion = '1'\n", "[project]\nversion = '2'\n"),
    "product": ("app.py", "def f():\n    return 1\n", "def f():\n    return 2\n"),
    "module in a package": ("pkg/json.py", None, "a = 1\n"),
}
"""Edits that leave every judge as strict as it was."""


@pytest.mark.parametrize(("path", "before", "after"), HONEST.values(), ids=HONEST)
def test_an_honest_edit_is_not_told(path: str, before: str | None, after: str | None) -> None:
    """What a linter's fix does to a test, and what makes a judge stricter, is no finding."""
    assert found(path, before, after) == []


def test_a_test_may_move_but_not_lose_anything_on_the_way() -> None:
    """A test that goes to another test file is compared with itself there."""
    old, new = case("assert f() == 1"), case("assert f()")
    moved = [ChangedFile("tests/test_a.py", old.encode(), None), ChangedFile("tests/test_b.py", None, old.encode())]
    weaker = [moved[0], ChangedFile("tests/test_b.py", None, new.encode())]
    assert list(weakened_tests(moved)) == []
    assert [finding.rule for finding in weakened_tests(weaker)] == ["ASSERTION_WEAKENED"]


Findings = Callable[..., tuple[IntegrityFinding, ...]]


@pytest.fixture
def findings(
    make_repository: Callable[..., Path], run_in: Callable[..., str], write: Callable[[Path, Mapping[str, str]], None]
) -> Findings:
    """What a change from some files to others does to its judges; a file that is not in the second is deleted."""

    def find(
        before: Mapping[str, str], after: Mapping[str, str], commands: Sequence[Sequence[str]] = ()
    ) -> tuple[IntegrityFinding, ...]:
        top = make_repository(before)
        for name in before.keys() - after.keys():
            (top / name).unlink()
        write(top, after)
        run_in(top, "add", "--all", "--force")
        tree = run_in(top, "write-tree")
        repository = Repository.open(top)
        files = repository.changed_files("HEAD", tree)
        return integrity_findings(repository, "HEAD", tree, files, gate_commands=commands)

    return find


def test_a_finding_is_json(findings: Findings) -> None:
    """A finding goes into the ledger as it is: rule, path, line, problem."""
    (finding,) = findings({"a.py": "import os\n"}, {"a.py": "import os  # noqa: F401\n"})
    assert json.loads(json.dumps(asdict(finding))) == {
        "rule": "SUPPRESSION",
        "path": "a.py",
        "line": 1,
        "problem": "it adds a suppression (noqa of F401)",
    }


def test_what_a_gate_command_names_is_part_of_the_gate(findings: Findings) -> None:
    """A script, by its path or as a module, is found in the command that the configuration gives."""
    before = {"ci/check.sh": "a\n", "src/app/checks.py": "a = 1\n", "odd\nname": "1", "gone.py": "a = 1\n"}
    after = {"ci/check.sh": "b\n", "src/app/checks.py": "a = 2\n", "odd\nname": "2"}
    rules = findings(before, after, [["sh", "./ci/check.sh"], [sys.executable, "-m", "app.checks"]])
    assert [(finding.rule, finding.path) for finding in rules] == [
        ("GATE_COMMAND", "ci/check.sh"),
        ("GATE_COMMAND", "src/app/checks.py"),
    ]


def test_what_ruff_does_to_our_own_tests_is_honest(tmp_path: Path) -> None:
    """Every safe fix of ruff, over test modules of this very repository, leaves the judges as they were."""
    rooms = Path(__file__).parents[1]
    names = ["tasks/test_patches.py", "tasks/test_git.py", "canonical/test_guards.py", "deployments/test_options.py"]
    for name in names:
        place = tmp_path / "tests" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((rooms / name).read_bytes())
    ruff = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--no-cache",
        "--fix",
        "--exit-zero",
        "--select",
        "ALL",
    ]
    subprocess.run([*ruff, str(tmp_path)], check=True, capture_output=True)
    changed = []
    for name in names:
        before, after = (rooms / name).read_bytes(), (tmp_path / "tests" / name).read_bytes()
        changed.append(ChangedFile(f"tests/{name}", before, after))
    assert any(file.before != file.after for file in changed)
    assert list(weakened_tests(changed)) == []


def test_the_security_page_names_every_rule() -> None:
    """Who reads a finding finds its rule explained."""
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
    assert [rule for rule in IntegrityRule if f"`{rule}`" not in page] == []
