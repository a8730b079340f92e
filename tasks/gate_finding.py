"""Which gates a repository has: those that are configured, and those that its tree asks for."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path, PurePath

from prefect_acms.blocks.config import GateName, GateSettings
from prefect_acms.canonical.test_gate import GateType
from prefect_acms.tasks.environment import Environment
from prefect_acms.tasks.gates import GateCommand, Structured
from prefect_acms.tasks.pytest_runs import find_pytest, has_tests, python_files
from prefect_acms.tasks.pytest_settings import defines_marker, selects_marks
from prefect_acms.tasks.sources.bandit import bandit_options
from prefect_acms.tasks.sources.program import python_with

INTEGRATION_FOLDER = "tests/integration"
INTEGRATION_MARKER = "integration"


def find_gates(root: Path, settings: GateSettings, environment: Environment) -> tuple[GateCommand, ...]:
    """The gates of a repository, by its tree at the base commit, cheapest first.

    LINT is the configured command, or ruff where there are Python files; SECURITY the configured command, or bandit
    where it is installed; UNIT the configured command, or pytest where there are tests, with the environment's pytest
    or with ours where it has none; INTEGRATION the configured command, or pytest on what the repository itself
    tells apart. A configured pytest is read test by test as well; any other command by its report, or its exit code.
    """
    looked_for = {"lint": _lint, "security": _security, "unit": _unit, "integration": _integration}
    names: tuple[GateName, ...] = ("lint", "security", "unit", "integration")
    found: list[GateCommand] = []
    for name in names:
        if not getattr(settings, f"{name}_enabled"):
            continue
        argv = getattr(settings, name)
        gate = _configured(name, argv, settings) if argv else looked_for[name](root, settings, environment)
        found += [gate] if gate is not None else []
    return tuple(found)


def _configured(name: GateName, argv: tuple[str, ...], settings: GateSettings) -> GateCommand:
    report = settings.reports.get(name)
    structured: Structured | None = "pytest" if report is None and _is_pytest(argv) else None
    return GateCommand(GateType(name.upper()), argv, structured, _timeout(name, settings), report)


def _timeout(name: GateName, settings: GateSettings) -> float:
    return settings.timeouts_sec.get(name, settings.timeout_sec)


def _lint(root: Path, settings: GateSettings, _environment: Environment) -> GateCommand | None:
    if not any(python_files(root)):
        return None
    return GateCommand(GateType.LINT, ("ruff", "check"), "ruff", _timeout("lint", settings))


def _security(root: Path, settings: GateSettings, environment: Environment) -> GateCommand | None:
    """Findings of at least medium severity, under the repository's own configuration; tests may do what they like."""
    if not any(python_files(root)):
        return None
    python = python_with("bandit", environment, root)
    if python is None:
        return None
    # isolated, so that a bandit.py of the repository is not run instead
    argv = (
        str(python),
        "-I",
        "-m",
        "bandit",
        "-q",
        "-r",
        ".",
        "-ll",
        "--exit-zero",
        "-f",
        "json",
        *bandit_options(root),
    )
    return GateCommand(GateType.SECURITY, argv, "bandit", _timeout("security", settings))


def _unit(root: Path, settings: GateSettings, environment: Environment) -> GateCommand | None:
    """Every test that is none of INTEGRATION's, as far as the repository's own options let them be told apart."""
    if not has_tests(root):
        return None
    argv = find_pytest(root, environment)
    if settings.integration is None:
        if _has_integration_folder(root):
            argv = (*argv, f"--ignore={INTEGRATION_FOLDER}")
        elif _has_integration_marker(root) and not selects_marks(root):
            argv = (*argv, "-m", f"not {INTEGRATION_MARKER}")
    return GateCommand(GateType.UNIT, argv, "pytest", _timeout("unit", settings))


def _integration(root: Path, settings: GateSettings, environment: Environment) -> GateCommand | None:
    places: tuple[str, ...] = ()
    if _has_integration_folder(root):
        argv, places = find_pytest(root, environment), (INTEGRATION_FOLDER,)
    elif has_tests(root) and _has_integration_marker(root):
        argv = (*find_pytest(root, environment), "-m", INTEGRATION_MARKER)
    else:
        return None
    return GateCommand(GateType.INTEGRATION, argv, "pytest", _timeout("integration", settings), places=places)


def _has_integration_folder(root: Path) -> bool:
    folder = root / INTEGRATION_FOLDER
    return not folder.is_symlink() and has_tests(folder)


def _has_integration_marker(root: Path) -> bool:
    return defines_marker(root, INTEGRATION_MARKER)


def _is_pytest(argv: tuple[str, ...]) -> bool:
    by_module = ("-m", "pytest") in pairwise(argv)
    return by_module or PurePath(argv[0]).name in {"pytest", "py.test"} or argv[1:3] == ("run", "pytest")
