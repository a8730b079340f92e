"""The oldest Python that a project says it supports, so that nobody modernises it beyond."""

from __future__ import annotations

import ast
import configparser
import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

OLDEST = 7
"""The oldest minor version that ruff knows."""

_LOWER_BOUND = re.compile(r"(?:>=?|~=|==|\^)\s*3\.(\d+)")


def ruff_target(root: Path) -> str | None:
    """The project's oldest Python in ruff's spelling, for example `py39`; None when it doesn't say."""
    for text in _declarations(root):
        minors = [int(minor) for minor in _LOWER_BOUND.findall(text)]
        if minors:
            return f"py3{max(OLDEST, min(minors))}"
    return None


def read_table(path: Path) -> dict[str, Any]:
    """The content of a project's TOML file; empty when there is none that can be read."""
    with suppress(OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return tomllib.loads(path.read_text(encoding="utf-8"))
    return {}


def read_ini(path: Path) -> configparser.RawConfigParser:
    """The content of a project's INI file; empty when there is none that can be read."""
    parser = configparser.RawConfigParser()
    with suppress(OSError, UnicodeDecodeError, configparser.Error):
        parser.read_string(path.read_text(encoding="utf-8"))
    return parser


def _declarations(root: Path) -> Iterator[str]:
    project = read_table(root / "pyproject.toml")
    yield str(project.get("project", {}).get("requires-python", ""))
    yield str(project.get("tool", {}).get("poetry", {}).get("dependencies", {}).get("python", ""))
    yield read_ini(root / "setup.cfg").get("options", "python_requires", fallback="")
    yield _of_setup(root / "setup.py")


def _of_setup(path: Path) -> str:
    """The `python_requires` of a setup.py, which is read and never run."""
    with suppress(OSError, ValueError, SyntaxError):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "python_requires" and isinstance(node.value, ast.Constant):
                return str(node.value.value)
    return ""
