"""The gap source `mypy`: type errors, under the repository's own configuration where it has one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.tasks.code_context import PYTHON, CodeContext
from prefect_acms.tasks.fingerprints import Fingerprinter
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.pytest_runs import python_files
from prefect_acms.tasks.scratch import scratch_folder
from prefect_acms.tasks.sources import Discovered, Scan
from prefect_acms.tasks.sources.annotations import annotatable
from prefect_acms.tasks.sources.mypy_cache import MypyCache
from prefect_acms.tasks.sources.program import Program, relative_path
from prefect_acms.tasks.sources.python_target import read_ini, read_table

CLEAN, ERRORS, BLOCKED = 0, 1, 2
"""mypy's exit codes."""

BEGINS = '{"file": '
TOLD = frozenset({"file", "line", "column", "message", "hint", "code", "severity"})
"""How a finding begins as mypy prints it, and what it holds."""

SYNTAX = "syntax"
MISSING_ANNOTATION = "no-untyped-def"

RETURNS_NOTHING = 'Use "-> None" if function does not return a value'
"""mypy's hint where an annotation is missing that ruff may write: there are no arguments, and nothing is returned."""

SEVERITIES: Mapping[str, GapSeverity] = {
    SYNTAX: GapSeverity.CRITICAL,
    **dict.fromkeys(("call-arg", "name-defined", "used-before-def", "abstract"), GapSeverity.HIGH),
    **dict.fromkeys(
        (
            *(MISSING_ANNOTATION, "no-untyped-call", "no-any-return", "no-any-unimported", "annotation-unchecked"),
            *("import-untyped", "import-not-found", "type-arg", "unused-ignore", "untyped-decorator", "misc"),
            *("redundant-cast", "redundant-expr", "var-annotated"),
        ),
        GapSeverity.LOW,
    ),
}
"""How bad an error is, by its code; the others are medium."""

LENIENT = ("--ignore-missing-imports", "--namespace-packages", "--explicit-package-bases")
"""For a repository without a configuration: its libraries may lack types, and any two of its files share a name."""


class MypySource:
    """Runs mypy on the whole project, whatever is asked about: types come from elsewhere."""

    name = "mypy"

    def discover(self, scan: Scan) -> Discovered:
        """Each error; notes belong to the error above them."""
        asked = None if scan.files is None else {path for path in scan.files if path.endswith(PYTHON)}
        if asked == set() or not any(python_files(scan.root)):
            return Discovered(())
        mypy = Program.module(self.name, scan)
        options = ("--output", "json", "--no-error-summary", "--hide-error-context", *_options(scan, mypy))
        gaps = _gaps(_findings(mypy, options), scan)
        wanted = tuple(gap for gap in gaps if asked is None or asked.intersection(gap.file_paths))
        return Discovered(wanted, mypy.module_version(), (*mypy.command, *options))


def mypy_configuration(root: Path) -> Mapping[str, Any] | None:
    """The repository's own mypy configuration at its top, in the order in which mypy looks for it."""
    for name in ("mypy.ini", ".mypy.ini"):
        if (found := read_ini(root / name)).has_section("mypy"):
            return dict(found["mypy"])
    said = read_table(root / "pyproject.toml").get("tool", {}).get("mypy")
    if isinstance(said, Mapping):
        return said
    found = read_ini(root / "setup.cfg")
    return dict(found["mypy"]) if found.has_section("mypy") else None


def _options(scan: Scan, mypy: Program) -> tuple[str, ...]:
    configured = mypy_configuration(scan.root)
    options = ["--strict"] if scan.settings.mypy_strict else []
    if mypy.python != scan.environment.interpreter:
        options += ["--python-executable", str(scan.environment.interpreter)]
    if configured is None:
        options += LENIENT
    if configured is None or not {"files", "packages", "modules"} & configured.keys():
        options.append(".")
    return tuple(options)


def _findings(mypy: Program, options: tuple[str, ...]) -> list[dict[str, Any]]:
    said: list[str] = []
    with scratch_folder() as folder:
        cache = MypyCache(mypy.scan)
        cache.put_into(folder)
        asked = (*options, "--cache-dir", str(folder))
        done = mypy.run(*asked, good=(CLEAN, ERRORS, BLOCKED), writable=(folder,), lines=said)
        cache.keep(folder)
    found = [one for one in map(_finding, said) if one is not None]
    if not found and done.exit_code == ERRORS:
        raise SourceFailed(source=MypySource.name, problem=f"it tells of no error that it has found: {said[:1]}"[:300])
    # what has no line is about the project: two files with one name, a plugin that is missing
    stopped = [one["message"] for one in found if one["line"] < 1 and done.exit_code == BLOCKED]
    if stopped or (done.exit_code == BLOCKED and not found):
        raise SourceFailed(source=MypySource.name, problem=(stopped or [done.stderr.strip()[-500:]])[0])
    return [one for one in found if one["severity"] == "error" and one["line"] >= 1]


def _finding(line: str) -> dict[str, Any] | None:
    """What mypy tells in a line; None for what a plugin has printed, which may also stand before it in the line."""
    start = line.find(BEGINS)
    if start < 0:
        return None
    try:
        told = json.loads(line[start:])
    except ValueError as error:
        problem = f"it said {line[start:][:200]!r}, which is no JSON"
        raise SourceFailed(source=MypySource.name, problem=problem) from error
    return told if told.keys() >= TOLD else None


def _gaps(findings: list[dict[str, Any]], scan: Scan) -> Iterator[Gap]:
    root = scan.root
    context, numbered = CodeContext(root), Fingerprinter()
    asked = {relative_path(one["file"], root) for one in findings if _may_be_fixed(one)}
    annotated = annotatable(scan, sorted(path for path in asked if _is_inside(path, root)))
    for found in sorted(findings, key=_place):
        path = relative_path(found["file"], root)
        if not _is_inside(path, root):
            continue  # a library's
        rule = found["code"] or "misc"
        row, hint = found["line"], found["hint"] or ""
        yield Gap(
            source=MypySource.name,
            rule_id=rule,
            fingerprint=numbered.next(rule, path, context.of(path, row, max(0, found["column"]))),
            title=_title(rule, found["message"], context.line(path, row)),
            description="\n".join(filter(None, (found["message"], hint))),
            category=SYNTAX if rule == SYNTAX else "typing",
            severity=SEVERITIES.get(rule, GapSeverity.MEDIUM),
            file_paths=(path,),
            start_line=row,
            end_line=max(row, found.get("end_line") or row),
            fixable=_may_be_fixed(found) and (path, row) in annotated,
        )


def _is_inside(path: str, root: Path) -> bool:
    return (root / path).is_file() and not Path(path).is_absolute()


def _may_be_fixed(found: Mapping[str, Any]) -> bool:
    return found["code"] == MISSING_ANNOTATION and RETURNS_NOTHING in (found["hint"] or "")


def _title(rule: str, message: str, line: str) -> str:
    """Mypy's message; of what lacks annotations it names no function, and has other words once some are there."""
    function = re.search(r"\bdef\s+(\w+)", line) if rule == MISSING_ANNOTATION else None
    return f"{function[1]} is not fully annotated" if function else " ".join(message.split())


def _place(found: Mapping[str, Any]) -> tuple[Any, ...]:
    return found["file"], found["line"], found["column"], found["code"] or "", found["message"]
