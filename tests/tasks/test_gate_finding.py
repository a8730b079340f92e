"""INTEGRATION and SECURITY are found where a repository itself tells them apart, and run as it says."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from pydantic import ValidationError

from prefect_acms.blocks.config import EnvironmentSettings, GateSettings
from prefect_acms.canonical.test_gate import GateType
from prefect_acms.tasks.environment import Environment, environment_for
from prefect_acms.tasks.gate_finding import find_gates
from prefect_acms.tasks.gates import GateCommand, run_gate

Write = Callable[..., None]

needs_bandit = pytest.mark.skipif(find_spec("bandit") is None, reason="bandit is not installed")

MARKED = "import pytest\ndef test_a(): pass\n@pytest.mark.integration\ndef test_b(): pass\n"
MARKER = '[tool.pytest.ini_options]\nmarkers = ["integration: needs a database"]\n'


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return environment_for(tmp_path, tmp_path, EnvironmentSettings())


def gates_of(root: Path, environment: Environment, **settings: object) -> dict[GateType, GateCommand]:
    given = {"lint_enabled": False, "security_enabled": False, **settings}
    found = find_gates(root, GateSettings.model_validate(given), environment)
    return {gate.gate_type: gate for gate in found}


@pytest.mark.parametrize(
    "files",
    [
        {"tests/test_a.py": "def test_a(): pass\n", "tests/integration/test_b.py": "def test_b(): pass\n"},
        {"tests/test_a.py": MARKED, "pyproject.toml": MARKER},
        {"tests/test_a.py": MARKED, "pytest.ini": "[pytest]\nmarkers =\n    slow\n    integration(db): needs one\n"},
        {"tests/test_a.py": MARKED, "setup.cfg": "[tool:pytest]\nmarkers = integration: needs one\n"},
    ],
)
def test_integration_tests_are_told_from_unit_tests(
    tmp_path: Path, write: Write, environment: Environment, files: dict[str, str]
) -> None:
    """By their folder, or by a marker that the repository defines: each test is run by exactly one of the two."""
    write(tmp_path, files)
    gates = gates_of(tmp_path, environment)
    assert list(gates) == [GateType.UNIT, GateType.INTEGRATION]
    ran = {kind: sorted(run_gate(gate, tmp_path, environment).outcomes) for kind, gate in gates.items()}
    assert [name.rpartition("::")[2] for name in ran[GateType.UNIT]] == ["test_a"]
    assert [name.rpartition("::")[2] for name in ran[GateType.INTEGRATION]] == ["test_b"]


@pytest.mark.parametrize(
    "files",
    [
        {"tests/test_a.py": "def test_a(): pass\n"},
        {"tests/test_a.py": MARKED},
        {"tests/test_a.py": MARKED, "pyproject.toml": "[tool.pytest.ini_options]\nmarkers = ['integrationist']\n"},
        {"tests/test_a.py": MARKED, "pyproject.toml": "[tool\n"},
        {"tests/integration/data.json": "{}", "tests/test_a.py": MARKED},
    ],
)
def test_otherwise_there_is_no_integration_gate(
    tmp_path: Path, write: Write, environment: Environment, files: dict[str, str]
) -> None:
    """A mark that nobody defined, or a folder without tests, says nothing; all tests are UNIT's."""
    write(tmp_path, files)
    assert list(gates_of(tmp_path, environment)) == [GateType.UNIT]


def test_a_repositorys_own_choice_of_marks_stands(tmp_path: Path, write: Write, environment: Environment) -> None:
    """Pytest knows one -m only: UNIT does not replace that of addopts."""
    options = MARKER + "addopts = \"-m 'not integration and not slow'\"\n"
    write(tmp_path, {"tests/test_a.py": MARKED, "pyproject.toml": options})
    gates = gates_of(tmp_path, environment)
    assert "-m" not in gates[GateType.UNIT].argv[3:]
    assert gates[GateType.INTEGRATION].argv[-2:] == ("-m", "integration")


@needs_bandit
def test_bandit_finds_what_is_dangerous_and_lets_tests_be(
    tmp_path: Path, write: Write, environment: Environment
) -> None:
    """Medium and worse, by the repository's own configuration; a bandit.py of the repository is not run instead."""
    danger = "import subprocess\nassert 1\n\n\ndef go(x):\n    subprocess.call(x, shell=True)\n"
    write(tmp_path, {"a.py": danger, "tests/test_a.py": danger, "bandit.py": "raise SystemExit(0)\n"})
    gate = gates_of(tmp_path, environment, security_enabled=True)[GateType.SECURITY]
    result = run_gate(gate, tmp_path, environment)
    assert [(one.rule_id, one.file_paths, one.start_line) for one in result.findings] == [("B602", ("a.py",), 6)]
    write(tmp_path, {"pyproject.toml": '[tool.bandit]\nskips = ["B602"]\n'})
    gate = gates_of(tmp_path, environment, security_enabled=True)[GateType.SECURITY]
    assert run_gate(gate, tmp_path, environment).findings == ()


def test_each_gate_can_be_configured_by_itself(tmp_path: Path, environment: Environment) -> None:
    """Command, report and timeout; a report needs a command, and a gate that is not known is refused."""
    gates = gates_of(
        tmp_path,
        environment,
        integration=("npx", "jest"),
        security=("trivy", "fs", "."),
        security_enabled=True,
        timeouts_sec={"security": 5},
        reports={"integration": {"format": "junit", "path": "out/junit.xml"}},
    )
    assert [(kind, gate.tells, gate.timeout_sec) for kind, gate in gates.items()] == [
        (GateType.SECURITY, "exit code", 5),
        (GateType.INTEGRATION, "tests", 900),
    ]
    for wrong in ({"reports": {"unit": {"format": "junit", "path": "x"}}}, {"timeouts_sec": {"units": 1}}):
        with pytest.raises(ValidationError, match=r"names none|units"):
            GateSettings.model_validate(wrong)
