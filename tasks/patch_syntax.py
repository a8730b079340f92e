"""Whether a file of a known kind can be read: Python, JSON, YAML or TOML. Nothing of it is run or built."""

from __future__ import annotations

import json
import re
import threading
import tomllib
import warnings
from pathlib import PurePosixPath

import yaml

_KINDS = {
    **dict.fromkeys((".py", ".pyi", ".pyw"), "Python"),
    **dict.fromkeys((".json", ".ipynb", ".webmanifest"), "JSON"),
    **dict.fromkeys((".yaml", ".yml"), "YAML"),
    ".toml": "TOML",
}
_COMMENTED = re.compile(
    r"(?:^|/)(?:[tj]sconfig[^/]*|devcontainer|\.eslintrc|\.swcrc|angular|api-extractor|renovate)\.json$"
    r"|(?:^|/)\.(?:vscode|devcontainer)/"
)
"""JSON files whose readers allow comments."""

_DEEPEST = 100
"""Brackets in brackets, or keys in a key, that a file is read with: some readers take the square of it, or more."""

_LONG_KEY = re.compile(rb"(?<![\w\"'-])(?:[\w\"'-]+[ \t]*\.[ \t]*){%d}" % _DEEPEST)
_TEMPLATE = re.compile(rb"\{\{|\{%|<%")
_WARNINGS = threading.Lock()
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def kind_of(path: str) -> str | None:
    """The kind of a file by its name; None for one that is not judged."""
    return None if _COMMENTED.search(path) else _KINDS.get(PurePosixPath(path).suffix.lower())


def syntax_error(kind: str, content: bytes) -> tuple[int, str] | None:
    """The line and the problem of what can't be read; a template is no YAML before it is filled in."""
    try:
        _READERS[kind](content)
    except (SyntaxError, ValueError, yaml.YAMLError) as error:
        return _line_of(error, content), " ".join(str(getattr(error, "msg", None) or error).split())
    except (RecursionError, MemoryError):
        return 1, "it is nested too deeply"
    return None


def _line_of(error: Exception, content: bytes) -> int:
    match error:
        case SyntaxError() | json.JSONDecodeError():
            return error.lineno or 1
        case yaml.MarkedYAMLError(problem_mark=yaml.Mark() as mark):
            return int(mark.line) + 1
        case tomllib.TOMLDecodeError():
            place = re.search(r"at line (\d+)", str(error))
            # without a place it is the end of the file
            return int(place[1]) if place else content.count(b"\n") + 1
    return 1


def _read_python(content: bytes) -> None:
    # a warning is no error, and not our user's
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # twice as fast as a tree that nobody looks at
        compile(content, "<patch>", "exec", dont_inherit=True)


def _read_json(content: bytes) -> None:
    json.loads(content, parse_int=str, parse_float=str)


def _read_yaml(content: bytes) -> None:
    if _TEMPLATE.search(content):
        return
    depth = 0
    for bracket in re.findall(rb"[][{}]", content):
        depth += 1 if bracket in b"[{" else -1
        if depth > _DEEPEST:
            raise RecursionError
    # events only: no alias is followed, no tag is built
    for _ in yaml.parse(content, Loader=_LOADER):
        continue


def _read_toml(content: bytes) -> None:
    if _LONG_KEY.search(content):
        raise RecursionError
    tomllib.loads(content.decode("utf-8"))


_READERS = {"Python": _read_python, "JSON": _read_json, "YAML": _read_yaml, "TOML": _read_toml}
