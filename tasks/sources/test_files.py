"""Which files of a project are tests, by pytest's own rules."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from prefect_acms.tasks.sources.python_target import read_ini, read_table

USUAL = ("test_*.py", "*_test.py")
"""What pytest takes for a test file where a project doesn't say."""


def test_files_among(files: Iterable[str], root: Path) -> tuple[str, ...]:
    """The files that pytest would take for tests, sorted; matched by name, or by path where a glob has a slash."""
    globs = _python_files(root)
    return tuple(sorted(path for path in set(files) if any(_matches(path, glob) for glob in globs)))


def _matches(path: str, glob: str) -> bool:
    return fnmatch(path if "/" in glob else PurePosixPath(path).name, glob)


def _python_files(root: Path) -> tuple[str, ...]:
    """The `python_files` of the first configuration that has them, else the usual ones."""
    for name, section in (("pytest.ini", "pytest"), (".pytest.ini", "pytest")):
        if globs := read_ini(root / name).get(section, "python_files", fallback="").split():
            return tuple(globs)
    said = read_table(root / "pyproject.toml").get("tool", {}).get("pytest", {})
    found = said.get("ini_options", said).get("python_files", ())
    if globs := found.split() if isinstance(found, str) else [str(glob) for glob in found]:
        return tuple(globs)
    for name, section in (("tox.ini", "pytest"), ("setup.cfg", "tool:pytest")):
        if globs := read_ini(root / name).get(section, "python_files", fallback="").split():
            return tuple(globs)
    return USUAL
