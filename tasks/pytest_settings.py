"""What a repository's own pytest configuration says, read without running anything."""

from __future__ import annotations

import configparser
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_FILES = (
    *(("pytest.toml", "pytest"), (".pytest.toml", "pytest"), ("pytest.ini", "pytest"), (".pytest.ini", "pytest")),
    *(("pyproject.toml", "tool.pytest"), ("tox.ini", "pytest"), ("setup.cfg", "tool:pytest")),
)
"""The files that pytest looks into, in its order, and the table or section that is its."""


def defines_marker(root: Path, marker: str) -> bool:
    """Whether the configuration registers a marker of that name."""
    return any(re.match(rf"{marker}\b", line) for line in _values(root, "markers"))


def selects_marks(root: Path) -> bool:
    """Whether the configuration's own options choose tests by their marks; another choice would replace theirs."""
    return any(word.startswith("-m") and not word.startswith("--") for word in own_options(root))


def own_options(root: Path) -> tuple[str, ...]:
    """The options that the configuration adds to every run."""
    return tuple(word for line in _values(root, "addopts") for word in _words(line))


def _values(root: Path, name: str) -> tuple[str, ...]:
    """The lines or items of a setting in the first file that holds a configuration."""
    settings = next(_configurations(root), {})
    value = settings.get(name, ())
    lines = value.splitlines() if isinstance(value, str) else [str(item) for item in value]
    return tuple(line.strip() for line in lines if line.strip())


def _configurations(root: Path) -> Iterator[Mapping[str, Any]]:
    for name, section in _FILES:
        path = root / name
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found = _toml(text, section) if name.endswith(".toml") else _ini(text, section)
        if found:
            yield found


def _toml(text: str, table: str) -> Mapping[str, Any]:
    try:
        found: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}  # pytest refuses it as well, and says so
    for key in table.split("."):
        found = found.get(key, {}) if isinstance(found, dict) else {}
    if not isinstance(found, dict):
        return {}
    own: Any = found.get("ini_options", found)
    return own if isinstance(own, dict) else {}


def _ini(text: str, section: str) -> Mapping[str, Any]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}  # the same
    return dict(parser[section]) if parser.has_section(section) else {}


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()
