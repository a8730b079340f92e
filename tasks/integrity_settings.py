"""Configuration of what judges: the settings of tests, coverage and linters that a patch changes."""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from prefect_acms.tasks.integrity_rules import ChangedFile, IntegrityFinding, IntegrityRule

_JUDGES = tomllib.loads(Path(__file__).with_name("judges.toml").read_text(encoding="utf-8"))
"""The sections and files that steer each judge."""

_SHARED = ("pyproject.toml", "setup.cfg", "tox.ini", "package.json")


def judge_of(path: str) -> IntegrityRule | None:
    """Which judge a file is the configuration of, by its name alone; none for one that others share."""
    name = PurePosixPath(path).name
    named = (rule for rule, judge in _JUDGES.items() if any(fnmatchcase(name, form) for form in judge["files"]))
    return next(map(IntegrityRule, named), None)


def is_configuration(path: str) -> bool:
    """Whether a file can configure a judge: alone, or beside other things."""
    return judge_of(path) is not None or PurePosixPath(path).name in _SHARED


def settings_changed(file: ChangedFile) -> Iterator[IntegrityFinding]:
    """The settings of judges that differ, each with its line; comments and layout are no setting.

    A file that only a judge reads counts whole, and its coming and going too; one that has no known form counts by its
    bytes.
    """
    rule, name = judge_of(file.path), PurePosixPath(file.path).name
    if rule is None and name not in _SHARED:
        return
    old, new = (_settings(name, content) for content in (file.before, file.after))
    if new is None or (rule is not None and old is None):
        problem = f"it changes {name}, which can't be read as settings"
        yield file.finding(rule or IntegrityRule.TEST_CONFIG, 1, problem)
        return
    if rule is not None and None in {file.before, file.after}:
        yield file.finding(rule, 1, f"it {'removes' if file.after is None else 'adds'} {name}")
        return
    old = old or {}
    for key in sorted(old.keys() | new.keys()):
        judge = _judge(key) or rule
        if judge is not None and old.get(key) != new.get(key):
            done = "removes" if key not in new else "changes" if key in old else "adds"
            yield file.finding(judge, _line(file.new, key), f"it {done} the setting {'.'.join(key)}")


def _judge(key: tuple[str, ...]) -> IntegrityRule | None:
    """Which judge a setting is for, by its section: `[tool.ruff.lint]`, `[mypy-name.*]`, `[testenv:name]`, pytest11."""
    section = key[1] if key[0] == "tool" and len(key) > 1 else key[0]
    names = {section, section.partition(":")[0], section.partition("-")[0], *(key if "entry" in "".join(key) else ())}
    return next((IntegrityRule(rule) for rule, judge in _JUDGES.items() if names.intersection(judge["sections"])), None)


def _settings(name: str, content: bytes | None) -> dict[tuple[str, ...], Any] | None:
    """Every setting by its path; none when the content can't be read or has no known form."""
    try:
        text = (content or b"").decode("utf-8")
        if name.endswith((".toml", "pylintrc.toml")):
            return dict(_leaves(tomllib.loads(text)))
        if name.endswith(".json"):
            return dict(_leaves(json.loads(text or "{}")))
        if name.endswith((".ini", ".cfg", ".flake8", ".coveragerc", "pylintrc", ".bandit", ".codespellrc")):
            return _ini(text)
    except (UnicodeDecodeError, ValueError, AttributeError, configparser.Error, RecursionError):
        return None
    return None


def _leaves(table: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _ini(text: str) -> dict[tuple[str, ...], Any]:
    parser = configparser.RawConfigParser(allow_no_value=True, interpolation=None)
    parser.read_string(text)
    sections = [*parser.sections(), *(("DEFAULT",) if parser.defaults() else ())]
    # the parser folds the case of keys, and so do the tools that read these files
    return {
        (section, key): " ".join((value or "").split())
        for section in sections
        for key, value in parser[section].items()
    }


def _line(text: str, key: tuple[str, ...]) -> int:
    """The line that a setting is in, or that its section begins with."""
    lines = text.splitlines()
    sections = [number for number, line in enumerate(lines) if re.match(r"\s*\[", line) and _names(line, key[:-1])]
    start = sections[-1] if sections else 0
    own = re.compile(rf"\s*[\"']?{re.escape(key[-1])}[\"']?\s*[=:]", re.IGNORECASE)
    return next((number + 1 for number in range(start, len(lines)) if own.match(lines[number])), start + 1)


def _names(line: str, section: tuple[str, ...]) -> bool:
    return line.strip().strip("[]").replace('"', "").replace(" ", "") == ".".join(section).replace(" ", "")
