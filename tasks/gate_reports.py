"""What other tools write about a tree, read into tests and findings: JUnit, SARIF, and the JSON of ruff and bandit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from prefect_acms.blocks.config import ReportFormat
from prefect_acms.tasks.fingerprints import Fingerprinter
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.junit import TestOutcome, read_junit_text
from prefect_acms.tasks.pytest_runs import is_test_file
from prefect_acms.tasks.sarif.checking import refusal_of
from prefect_acms.tasks.sarif.reading import findings_of

LARGEST_REPORT = 256 << 20


class UnreadableReport(ValueError):
    """A report that is missing, or is not what it should be; its message is the end of a sentence."""


class Finding(NamedTuple):
    """What a report says of one place; `path` may be absolute or none of the worktree's."""

    rule: str
    path: str
    line: int
    message: str


def clear_report(path: Path, root: Path) -> None:
    """Remove the report of an earlier run, or one that was committed; raises nothing when there is none."""
    if _is_inside(path, root) and (path.is_file() or path.is_symlink()):
        path.unlink()


def read_report(path: Path, root: Path) -> bytes:
    """The bytes of a report, in the worktree or in a folder of ours; raises UnreadableReport."""
    if path.is_relative_to(root) and not _is_inside(path, root):
        message = f"its report {path.relative_to(root)} is a link out of the worktree"
        raise UnreadableReport(message)
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_REPORT + 1)
    except OSError as error:
        message = f"its report {path.name} can't be read: {error.strerror}"
        raise UnreadableReport(message) from error
    if len(content) > LARGEST_REPORT:
        message = f"its report {path.name} is longer than {LARGEST_REPORT} bytes"
        raise UnreadableReport(message)
    return content


def read_tests(content: bytes) -> dict[str, TestOutcome]:
    """The tests of a JUnit report by class and name; every case is a test, whatever it is called."""
    try:
        tests = read_junit_text(content)
    except ValueError as error:
        message = f"its report can't be read: {error}"
        raise UnreadableReport(message) from error
    named = {name if "::" in name else f"::{name}": test for name, test in tests.items()}
    return {name: replace(test, test_id=name) for name, test in named.items()}


def read_findings(form: ReportFormat, content: bytes, root: Path) -> tuple[Gap, ...]:
    """The findings of a report, with fingerprints that survive moved lines; raises UnreadableReport."""
    try:
        found = sorted(
            _READERS[form](json.loads(content), root), key=lambda finding: (finding.path, finding.line, finding)
        )
        numbered = Fingerprinter()
        return tuple(_gap(form, finding, root, numbered) for finding in found)
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        message = f"its report is not what {form} writes: {type(error).__name__}: {error}"
        raise UnreadableReport(message) from error


def _ruff(document: Any, _root: Path) -> Iterator[Finding]:
    for entry in document:
        yield Finding(entry["code"] or "invalid-syntax", entry["filename"], entry["location"]["row"], entry["message"])


def _bandit(document: Any, _root: Path) -> Iterator[Finding]:
    """Without what it says of tests: asserts and fixed passwords are what tests are made of."""
    for entry in document["results"]:
        if not is_test_file(entry["filename"].removeprefix("./")):
            yield Finding(entry["test_id"], entry["filename"], entry["line_number"], entry["issue_text"])


def _sarif(document: Any, root: Path) -> Iterator[Finding]:
    """What is open: nobody has accepted it, and it does not say that all is well."""
    if problem := refusal_of(document, "its report"):
        message = f"{problem[0]}: {problem[1]}"
        raise ValueError(message)
    for found in findings_of(document, root):
        if found.is_open:
            place = found.places[0] if found.places else None
            line = place.region.get("startLine", 1) if place else 1
            yield Finding(found.rule_id, (place and place.path) or "", line, found.message)


_READERS: Mapping[ReportFormat, Callable[[Any, Path], Iterator[Finding]]] = {
    ReportFormat.RUFF: _ruff,
    ReportFormat.BANDIT: _bandit,
    ReportFormat.SARIF: _sarif,
}


def _gap(form: ReportFormat, finding: Finding, root: Path, numbered: Fingerprinter) -> Gap:
    path = _relative(finding.path, root)
    title = " ".join(finding.message.split()) or finding.rule
    code = _line(root / path, finding.line) if path else [title]
    return Gap(
        source=form.value,
        rule_id=finding.rule,
        fingerprint=numbered.next(finding.rule, path or "", code),
        title=title,
        file_paths=(path,) if path else (),
        start_line=max(1, finding.line),
    )


def _relative(path: str, root: Path) -> str | None:
    """The path from the top of the worktree; None for a finding that is about nothing in it."""
    for top in (root, root.resolve()):
        place = top / path
        if path and ".." not in Path(path).parts and place.is_relative_to(top) and place != top:
            return place.relative_to(top).as_posix()
    return None


def _line(path: Path, number: int) -> list[str]:
    if not path.is_file() or path.is_symlink():
        return []
    lines = re.split(r"\r\n|\r|\n", path.read_text(encoding="utf-8", errors="replace"))
    return lines[number - 1 : number]


def _is_inside(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())
