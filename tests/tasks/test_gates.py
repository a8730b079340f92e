"""Gates are found where they are, and each says what it saw, or why it saw nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from prefect_acms.blocks.config import EnvironmentSettings, GateSettings
from prefect_acms.canonical.test_gate import GateType
from prefect_acms.tasks.environment import Environment, environment_for
from prefect_acms.tasks.gate_finding import find_gates
from prefect_acms.tasks.gates import GateCommand, GateResult, run_gate
from prefect_acms.tasks.pytest_runs import is_test_file

Write = Callable[..., None]

TESTS = """
import pytest, random, sys
def test_good(): pass
def test_bad(): assert 1 == 2
@pytest.mark.skip
def test_skipped(): pass
def test_hash(): assert hash("a") == hash("a")
"""


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return environment_for(tmp_path, tmp_path, EnvironmentSettings())


def gates_of(root: Path, environment: Environment, **settings: object) -> dict[GateType, GateCommand]:
    given = {"security_enabled": False, **settings}
    found = find_gates(root, GateSettings.model_validate(given), environment)
    return {gate.gate_type: gate for gate in found}


def unit(root: Path, environment: Environment, timeout_sec: float = 60, argv: tuple[str, ...] = ()) -> GateResult:
    """What our pytest, or a command, says of a folder."""
    command = argv or (sys.executable, "-m", "pytest")
    gate = GateCommand(GateType.UNIT, command, None if argv else "pytest", timeout_sec)
    return run_gate(gate, root, environment)


# -- finding -----------------------------------------------------------------------------------------------------------


def test_each_gate_is_found_where_there_is_something_for_it(
    tmp_path: Path, write: Write, environment: Environment
) -> None:
    """Python files make LINT, tests make UNIT; what is installed or hidden counts for nothing."""
    assert gates_of(tmp_path, environment) == {}
    write(tmp_path, {"README.md": "x", ".venv/lib/test_x.py": "", "node_modules/a/test_y.py": ""})
    assert gates_of(tmp_path, environment) == {}
    write(tmp_path, {"pkg/a.py": "x = 1\n"})
    assert list(gates_of(tmp_path, environment)) == [GateType.LINT]
    write(tmp_path, {"tests/test_a.py": "def test_a(): pass\n"})
    assert list(gates_of(tmp_path, environment)) == [GateType.LINT, GateType.UNIT]
    assert gates_of(tmp_path, environment, lint_enabled=False, unit_enabled=False) == {}


@pytest.mark.parametrize(
    ("argv", "structured"),
    [
        (("pytest", "-q"), "pytest"),
        (("python", "-m", "pytest"), "pytest"),
        (("uv", "run", "pytest", "tests"), "pytest"),
        (("coverage", "run", "-m", "pytest"), "pytest"),
        (("make", "pytest"), None),
        (("python", "runtests.py"), None),
    ],
)
def test_a_configured_pytest_is_read_test_by_test(
    tmp_path: Path, environment: Environment, argv: tuple[str, ...], structured: str | None
) -> None:
    """Any other command is known by its exit code."""
    gate = gates_of(tmp_path, environment, unit=argv)[GateType.UNIT]
    assert (gate.argv, gate.structured) == (argv, structured)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("tests/data/x.json", True),
        ("pkg/test_a.py", True),
        ("pkg/a_test.py", True),
        ("conftest.py", True),
        ("pytest.ini", True),
        ("pkg/testing/a.py", False),
        ("pkg/latest.py", False),
        ("tests.md", False),
    ],
)
def test_test_files_are_told_from_others(path: str, expected: bool) -> None:  # noqa: FBT001
    """What judges a patch is not what a patch may rewrite."""
    assert is_test_file(path) is expected


# -- LINT --------------------------------------------------------------------------------------------------------------


def test_lint_tells_findings_apart(tmp_path: Path, write: Write, environment: Environment) -> None:
    """Each finding is one outcome, with its place in one line."""
    write(tmp_path, {"a.py": "import os\nimport sys\n"})
    result = run_gate(gates_of(tmp_path, environment)[GateType.LINT], tmp_path, environment)
    assert (result.exit_code, result.unavailable) == (1, None)
    assert len(result.outcomes) == 2
    assert result.stdout.startswith("a.py:1: F401 ")


def test_lint_that_can_not_start_says_why(tmp_path: Path, write: Write, environment: Environment) -> None:
    """A broken configuration is no finding."""
    write(tmp_path, {"a.py": "import os\n", "ruff.toml": "no-such-option = 1\n"})
    result = run_gate(gates_of(tmp_path, environment)[GateType.LINT], tmp_path, environment)
    assert result.unavailable is not None
    assert "no-such-option" in result.unavailable


# -- UNIT --------------------------------------------------------------------------------------------------------------


def test_unit_tells_tests_apart(tmp_path: Path, write: Write, environment: Environment) -> None:
    """Passed, failed, skipped, each by its node id; red is no reason to be unavailable."""
    write(tmp_path, {"tests/test_a.py": TESTS})
    result = unit(tmp_path, environment)
    assert (result.exit_code, result.unavailable) == (1, None)
    assert result.outcomes == {
        "tests/test_a.py::test_bad": "failed",
        "tests/test_a.py::test_good": "passed",
        "tests/test_a.py::test_hash": "passed",
        "tests/test_a.py::test_skipped": "skipped",
    }
    assert result.tests["tests/test_a.py::test_bad"].message == "assert 1 == 2"


def test_one_broken_file_hides_no_other(tmp_path: Path, write: Write, environment: Environment) -> None:
    """Neither a file that can't be collected nor options like -x stop the rest."""
    write(
        tmp_path,
        {
            "pytest.ini": "[pytest]\naddopts = -x --strict-markers\n",
            "tests/test_a.py": TESTS,
            "tests/test_b.py": "import no_such_module\n",
        },
    )
    result = unit(tmp_path, environment)
    assert result.unavailable is None
    assert len(result.outcomes) == 5
    assert result.outcomes["tests/test_b.py"] == "error"


def test_options_of_plugins_that_are_not_there_are_left_out(
    tmp_path: Path, write: Write, environment: Environment
) -> None:
    """A repository that asks for pytest-cov can be tested without it."""
    write(
        tmp_path,
        {
            "pyproject.toml": '[tool.pytest.ini_options]\naddopts = "--no-such-option=x"\ntestpaths = ["tests"]\n',
            "tests/test_a.py": TESTS,
        },
    )
    gate = gates_of(tmp_path, environment)[GateType.UNIT]
    assert run_gate(gate, tmp_path, environment).outcomes["tests/test_a.py::test_good"] == "passed"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"pytest.ini": "[pytest]\n"}, "there are no tests"),
        ({"test_a.py": "import no_such_module\n"}, "No module named 'no_such_module'"),
        ({"conftest.py": "import no_such_module\n", "test_a.py": TESTS}, "No module named 'no_such_module'"),
        ({"test_a.py": "import pytest\n@pytest.mark.skip\ndef test_a(): pass\n"}, "every test is skipped"),
        ({"test_a.py": "import os\nos._exit(9)\n"}, "exit code 9"),
    ],
)
def test_unit_that_can_not_run_says_why(
    tmp_path: Path, write: Write, environment: Environment, files: dict[str, str], reason: str
) -> None:
    """No test ran, so nothing can be judged; the reason is in a sentence."""
    write(tmp_path, files)
    result = unit(tmp_path, environment)
    assert result.unavailable is not None
    assert reason in result.unavailable


def test_a_gate_that_hangs_is_ended(tmp_path: Path, write: Write, environment: Environment) -> None:
    """The timeout holds, and says so."""
    write(tmp_path, {"test_a.py": "import time\ndef test_a(): time.sleep(60)\n"})
    result = unit(tmp_path, environment, timeout_sec=2)
    assert (result.timed_out, result.exit_code) == (True, 124)
    assert result.unavailable == "the tests did not end within 2 s"
    result = unit(tmp_path, environment, timeout_sec=0.5, argv=("python", "-c", "import time; time.sleep(60)"))
    assert (result.timed_out, result.unavailable) == (True, "it did not end within 0.5 s")


def test_nothing_above_the_tree_is_read(tmp_path: Path, write: Write) -> None:
    """A configuration or conftest in a folder above the worktree is none of the repository's."""
    root = tmp_path / "tree"
    write(
        tmp_path,
        {
            "pytest.ini": "[pytest]\npython_files = none\n",
            "conftest.py": "raise SystemExit(1)\n",
            "tree/tests/test_a.py": TESTS,
        },
    )
    environment = environment_for(root, root, EnvironmentSettings())
    assert unit(root, environment).outcomes["tests/test_a.py::test_good"] == "passed"


def test_a_run_leaves_no_cache_in_the_tree(tmp_path: Path, write: Write, environment: Environment) -> None:
    """Neither byte code nor pytest's cache."""
    write(tmp_path, {"test_a.py": TESTS, "pkg/__init__.py": ""})
    unit(tmp_path, environment)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pkg", "test_a.py"]


def test_a_custom_command_runs_beside_the_interpreter(tmp_path: Path, environment: Environment) -> None:
    """`python` is the environment's; a missing program is a reason, not an exception."""
    code = "import sys, os; print(sys.executable, os.environ['PYTHONHASHSEED'])"
    result = unit(tmp_path, environment, argv=("python", "-c", code))
    assert (result.exit_code, result.unavailable) == (0, None)
    assert result.stdout.split() == [str(Path(sys.executable).parent / "python"), "0"]
    missing = unit(tmp_path, environment, argv=("no-such-program",))
    assert missing.unavailable == "tool no-such-program is not available: No such file or directory"


def test_a_repository_without_pytest_in_its_own_python_gets_ours(tmp_path: Path, write: Write) -> None:
    """Its tests run all the same, with what we bring."""
    interpreter = tmp_path / ".venv" / "bin" / "python"
    interpreter.parent.mkdir(parents=True)
    interpreter.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    interpreter.chmod(0o755)
    write(tmp_path, {"test_a.py": TESTS})
    environment = environment_for(tmp_path, tmp_path, EnvironmentSettings())
    assert environment.interpreter == interpreter
    gate = gates_of(tmp_path, environment)[GateType.UNIT]
    assert gate.argv[0] == sys.executable
    assert run_gate(gate, tmp_path, environment).outcomes["test_a.py::test_good"] == "passed"
