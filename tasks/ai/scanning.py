"""What a model is asked about files, what it answers, and how a gap that it found is known again without asking it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict

from prefect_acms.tasks.ai.disclosure import Disclosure
from prefect_acms.tasks.fingerprints import CONTEXT_LINES, Fingerprinter, content_of
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.git import names_of, run_git
from prefect_acms.tasks.sources.test_files import test_files_among

SOURCE = "ai"

_SUFFIXES = """
.c .cc .clj .cpp .cs .dart .ex .exs .go .h .hpp .hs .java .jl .js .jsx .kt .kts .lua .m .mjs .ml .mts .php .pl .pm .ps1
.py .pyi .r .rb .rs .scala .sh .sql .swift .ts .tsx .vue .zig
"""
CODE = frozenset(_SUFFIXES.split())
"""Ends of the names of files that hold code."""

_COMMITS_COUNTED = 500


class ScanRequest(BaseModel):
    """The files that a model is shown whole to find faults in them; with `known`, only what has become of these."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: tuple[str, ...] = ()
    known: tuple[Gap, ...] = ()
    focus: str = ""
    most: int = 50


class ScanAnswer(BaseModel):
    """The gaps that a model has found, or finds still there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gaps: tuple[Gap, ...]


def worth_reading(disclosure: Disclosure, most: int) -> list[str]:
    """So many files of code, those first that are no tests and have changed most often; the same order each time."""
    code = [path for path in disclosure.files if PurePosixPath(path).suffix.lower() in CODE]
    log = ["log", f"-{_COMMITS_COUNTED}", "--format=", "--name-only", "--no-renames", "-O/dev/null", "-z"]
    changes = Counter(names_of(run_git(log, cwd=disclosure.root).stdout))
    tests = set(test_files_among(code, disclosure.root))
    return sorted(code, key=lambda path: (path in tests, -changes[path], path))[:most]


def identities(rule: str, path: str, lines: Sequence[str]) -> list[str]:
    """The fingerprint that a gap would have at each line, so that it is known again wherever its code has moved."""
    numbered = Fingerprinter()
    return [numbered.next(rule, path, lines[at : at + CONTEXT_LINES]) for at in range(len(lines))]


def is_unchanged(disclosure: Disclosure, gap: Gap) -> bool:
    """Whether a gap is still there for sure: its code is as it was, or nobody can look at it."""
    if not gap.file_paths:
        return True
    path = gap.file_paths[0]
    shown = disclosure.shown(path)
    if shown is None:
        return (disclosure.root / path).exists()
    return gap.fingerprint in identities(gap.rule_id, path, shown.lines)


def renamed(disclosure: Disclosure, gap: Gap) -> Gap | None:
    """The gap in the file that has its code now, where its own is not there any more; None where none has it."""
    if (disclosure.root / gap.file_paths[0]).exists():
        return None
    content = content_of(gap.fingerprint)
    for path in disclosure.files:
        shown = disclosure.shown(path) if content is not None else None
        for name in identities(gap.rule_id, path, shown.lines) if shown else ():
            if content_of(name) == content:
                return gap.model_copy(update={"fingerprint": name, "file_paths": (path,)})
    return None
