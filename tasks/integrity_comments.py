"""Comments that silence a judge: how many of each kind a patch adds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from prefect_acms.tasks.integrity_rules import ChangedFile, IntegrityFinding, IntegrityRule

_PROSE = (".md", ".rst", ".txt", ".adoc", ".po", ".csv", ".svg", ".lock")

# Judges look for these in lines, most of them in strings too: so do we, rather than in comments alone.
_WITH_CODES = re.compile(
    r"(?:#|//|/\*|--|;|%|<!--)[\s#!/]*(?P<kind>(?:ruff|flake8):\s*noqa|noqa|type:\s*ignore|pyright:\s*ignore|ty:\s*ignore"
    r"|pyre-(?:ignore|fixme)(?:-all-errors)?|nosec|nosemgrep|nolint|nosonar"
    r"|pylint:\s*(?:disable(?:-next|-msg)?|skip-file)|eslint-disable(?:-next-line|-line)?|rubocop:\s*(?:disable|todo)"
    r"|shellcheck\s+disable|(?:swift|ts|style|markdown|yaml)lint[:-]?\s*disable[\w-]*|biome-ignore|prettier-ignore"
    r"|hadolint\s+(?:global\s+)?ignore|phpcs:\s*(?:ignore|disable)|checkov:\s*skip|(?:tf|trivy:?)sec:\s*ignore"
    r"|lgtm|noinspection)\b\s*[:=\[(]?\s*(?P<codes>[^\n]*)",
    re.IGNORECASE,
)

_WHOLE = re.compile(
    r"pragma:\s*no\s*(?:cover|branch)|pragma:\s*(?:allow|white)list\s+secret|gitleaks:\s*allow|mypy:\s*[\w-]*ignore[\w-]*"
    r"|mypy:\s*disable-error-code|pyright:\s*(?:basic|off|report\w+\s*=\s*false)|(?:fmt|yapf|isort|autopep8):\s*"
    r"(?:off|skip(?:[_-]file)?|disable)|doctest:\s*\+SKIP|@ts-(?:ignore|nocheck|expect-error)|NOLINT(?:NEXTLINE|BEGIN)?"
    r"|(?:istanbul|c8|v8)\s+ignore|(?:LCOV|GCOVR?)_EXCL\w*|codecov:\s*ignore|@SuppressWarnings|#!?\[allow\("
    r"|@phpstan-ignore|@psalm-suppress|CHECKSTYLE:\s*OFF|@no_type_check\b|#pragma\s+warning\s*\(?\s*disable"
    r"|#pragma\s+(?:GCC|clang)\s+diagnostic\s+ignored",
    re.IGNORECASE,
)

_NUMBERED = re.compile(r"[A-Z]+\d+(?:[,\s]+[A-Z]+\d+)*", re.IGNORECASE)
_NAMED = re.compile(r"[\w@/.-]+(?:\s*,\s*[\w@/.-]+)*")

_ALL = "*"


@dataclass(frozen=True, slots=True)
class _Suppression:
    """A comment by which a judge is told to look away; `code` is the rule, or `*` for all."""

    kind: str
    code: str
    line: int
    text: str


def suppressions_added(file: ChangedFile) -> Iterator[IntegrityFinding]:
    """The suppressions that a file has more of than before; one that only moved, shrank or went is none.

    Counted by kind and rule within the file. One that names rules may take the place of one that named none.
    """
    if file.after is None or file.path.endswith(_PROSE):
        return
    before = Counter((found.kind, found.code) for found in _suppressions(file.old))
    narrowed = Counter({kind: number for (kind, code), number in before.items() if code == _ALL})
    after = list(_suppressions(file.new))
    narrowed.subtract(Counter(found.kind for found in after if found.code == _ALL))
    left = before.copy()
    known: set[int] = set()
    lines = set(file.old.splitlines())
    # what stands in an unchanged line has the first claim on what was there
    for found in sorted(after, key=lambda each: each.text not in lines):
        key = (found.kind, found.code)
        if left[key] > 0:
            left[key] -= 1
        elif found.code != _ALL and (found.line in known or narrowed[found.kind] > 0):
            narrowed[found.kind] -= found.line not in known
            known.add(found.line)
        else:
            what = found.kind if found.code == _ALL else f"{found.kind} of {found.code}"
            yield file.finding(IntegrityRule.SUPPRESSION, found.line, f"it adds a suppression ({what})")


def _suppressions(text: str) -> Iterator[_Suppression]:
    for number, line in enumerate(text.splitlines(), start=1):
        for match in _WITH_CODES.finditer(line):
            kind = re.sub(r"\s+", "", match["kind"].lower())
            yield from (_Suppression(kind, code, number, line) for code in _codes(kind, match["codes"]))
        for match in _WHOLE.finditer(line):
            yield _Suppression(re.sub(r"\s+", " ", match[0].lower()), _ALL, number, line)


def _codes(kind: str, text: str) -> tuple[str, ...]:
    """The rules that a suppression names, or `*`; where rules have numbers, a word without one is a reason."""
    numbered = kind.endswith(("noqa", "nosec"))
    named = (_NUMBERED if numbered else _NAMED).match(text)
    return tuple(dict.fromkeys(re.split(r"[,\s]+", named[0].upper()))) if named else (_ALL,)
