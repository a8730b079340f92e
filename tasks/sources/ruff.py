"""The gap source `ruff`: lint and modernisation findings, and where asked for, unformatted files."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.tasks.code_context import CodeContext
from prefect_acms.tasks.environment import Environment
from prefect_acms.tasks.fingerprints import Fingerprinter
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.processes import ProcessResult
from prefect_acms.tasks.scratch import scratch_folder
from prefect_acms.tasks.sources import Discovered, Scan
from prefect_acms.tasks.sources.program import python_with, read_json, relative_path
from prefect_acms.tasks.sources.python_target import read_table, ruff_target
from prefect_acms.tasks.sources.ruff_rules import family_of

BROAD_DEFAULT = "E4,E7,E9,F,W,B,UP"
"""What is looked for in a repository that has no ruff configuration."""

LINTED = (".py", ".pyi", ".ipynb")
SYNTAX = "invalid-syntax"

FORMAT = "format"
"""Named among the rules to look for, it asks for unformatted files too; without it nobody's files are formatted."""

UNFORMATTED = "unformatted"

FOUND_NOTHING, FOUND_SOMETHING, TROUBLE = 0, 1, 2
"""ruff's exit codes."""

_WOULD_REFORMAT = re.compile(r"^(?:Would reformat: (.+)|(.+):\d+:\d+: unformatted: .*)$")
"""How ruff's formatter names a file: up to 0.13 or so, and since."""


class RuffSource:
    """Runs `ruff check`, and `ruff format --check` where `format` is among the rules; writes nothing."""

    name = "ruff"

    def discover(self, scan: Scan) -> Discovered:
        """The findings under the repository's own configuration, or under a broad default where it has none."""
        files = None if scan.files is None else _lintable(scan.root, scan.files)
        if files == ():
            return Discovered(())
        ruff = _Ruff(scan, (*ruff_program(scan.environment, scan.root), "-m", "ruff"))
        command = ("check", "--output-format", "json", "--no-cache", "--force-exclude", *_options(scan))
        places = ("--", *(files or (".",)))
        chosen = scan.settings.ruff_select
        gaps = [*_gaps(ruff.check(command, places), scan)] if chosen != (FORMAT,) else []
        if FORMAT in chosen:
            gaps += ruff.unformatted(places)
        return Discovered(tuple(gaps), ruff.version(), (*ruff.program, *command, *places))


def ruff_program(environment: Environment, root: Path) -> tuple[str, ...]:
    """The Python, with flags, whose ruff is used: the environment's, or ours where that has none.

    Isolated, so that a ruff.py in the repository is not run in ruff's place.
    """
    return (str(python_with("ruff", environment, root) or sys.executable), "-I")


def ruff_configuration(root: Path) -> Mapping[str, Any] | None:
    """The repository's own ruff configuration at its top, in the order in which ruff looks for it."""
    for name in (".ruff.toml", "ruff.toml"):
        if (root / name).is_file():
            return read_table(root / name)
    found = read_table(root / "pyproject.toml").get("tool", {}).get("ruff")
    return found if isinstance(found, Mapping) else None


def ruff_options(root: Path, trusted_fixes: Sequence[str] = ()) -> tuple[str, ...]:
    """How ruff is to read a repository: by its own configuration; else isolated, for the Python that it declares.

    The unsafe fixes of trusted rules count as safe, beside those that the repository's own configuration trusts.
    """
    configuration = ruff_configuration(root)
    trusting = _trusting(trusted_fixes, configuration or {})
    if configuration is not None:
        return trusting
    target = ruff_target(root)
    return ("--isolated", *(("--target-version", target) if target else ()), *trusting)


def _trusting(rules: Sequence[str], configuration: Mapping[str, Any]) -> tuple[str, ...]:
    if not rules:
        return ()
    own = configuration.get("lint", {}).get("extend-safe-fixes", ())
    return ("--config", f"lint.extend-safe-fixes={json.dumps(sorted({*own, *rules}))}")


def _options(scan: Scan) -> tuple[str, ...]:
    chosen = ",".join(rule for rule in scan.settings.ruff_select if rule != FORMAT)
    reading = ruff_options(scan.root, scan.settings.trusted_fixes)
    if not chosen and ruff_configuration(scan.root) is None:
        chosen = BROAD_DEFAULT
    return (*reading, "--select", chosen) if chosen else reading


def _lintable(root: Path, files: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(path for path in set(files) if path.endswith(LINTED) and (root / path).is_file()))


@dataclass(frozen=True, slots=True)
class _Ruff:
    """ruff in one tree."""

    scan: Scan
    program: tuple[str, ...]

    def version(self) -> str:
        if self.program[0] == sys.executable:
            # ours is asked for every time that something is looked at, and it is known without starting it
            return f"ruff {version('ruff')}"
        return self._run(("--version",)).stdout.strip()

    def check(self, command: Sequence[str], places: Sequence[str]) -> list[dict[str, Any]]:
        """The findings; they go to a file of their own, because captured output is cut when it is long."""
        with scratch_folder() as folder:
            report = folder / "findings.json"
            done = self._run((*command, "--output-file", str(report), *places), writable=(folder,))
            if done.exit_code not in {FOUND_NOTHING, FOUND_SOMETHING}:
                raise SourceFailed(source=RuffSource.name, problem=_said(done))
            findings: list[dict[str, Any]] = read_json(report, RuffSource.name)
        return findings

    def unformatted(self, places: Sequence[str]) -> list[Gap]:
        """The files that ruff's formatter would change; those with syntax errors are findings of `check` already."""
        said: list[str] = []
        command = ("format", "--check", "--no-cache", "--force-exclude")
        done = self._run((*command, "--output-format", "concise", *places), said)
        if done.exit_code == TROUBLE and "--output-format" in done.stderr:
            done = self._run((*command, *places), said)
        if done.exit_code not in {FOUND_NOTHING, FOUND_SOMETHING, TROUBLE}:
            raise SourceFailed(source=RuffSource.name, problem=_said(done))
        found = filter(None, map(_WOULD_REFORMAT.match, said))
        return [_unformatted(relative_path(named[1] or named[2], self.scan.root)) for named in found]

    def _run(
        self, arguments: Sequence[str], lines: list[str] | None = None, writable: Sequence[Path] = ()
    ) -> ProcessResult:
        scan = self.scan
        done = scan.environment.run(
            (*self.program, *arguments),
            cwd=scan.root,
            timeout_sec=scan.timeout_sec,
            writable=writable,
            on_output=None if lines is None else lambda _, line: lines.append(line),
        )
        if done.timed_out:
            raise SourceFailed(source=RuffSource.name, problem=f"it took more than {scan.timeout_sec:g} s")
        return done


def _said(done: ProcessResult) -> str:
    return " ".join((done.stderr.strip() or done.stdout.strip()).split())[-500:] or f"exit code {done.exit_code}"


def _gaps(findings: Iterable[dict[str, Any]], scan: Scan) -> Iterable[Gap]:
    context = CodeContext(scan.root)
    numbered = Fingerprinter()
    for finding in sorted(findings, key=_place):
        rule = finding["code"] or SYNTAX
        path = relative_path(finding["filename"], scan.root)
        start, end = _rows(finding)
        # a notebook's rows are counted in a cell, so its message has to stand for the code
        code = [finding["message"]] if finding.get("cell") else context.of(path, *_range(finding))
        category, severity = family_of(rule)
        yield Gap(
            source=RuffSource.name,
            rule_id=rule,
            fingerprint=numbered.next(rule, path, code),
            title=finding["message"],
            description=finding.get("url") or "",
            category=category,
            severity=severity,
            file_paths=(path,),
            start_line=start,
            end_line=end,
            fixable=_is_fixable(finding, unsafe=scan.settings.unsafe_fixes),
        )


def _place(finding: Mapping[str, Any]) -> tuple[Any, ...]:
    start = finding["location"]
    cell = finding.get("cell") or 0
    return finding["filename"], cell, start["row"], start["column"], finding["code"] or SYNTAX, finding["message"]


def _rows(finding: Mapping[str, Any]) -> tuple[int, int]:
    """First and last row; a range that ends before the first column of a row ends in the row above."""
    start, end = finding["location"]["row"], finding["end_location"]
    last = end["row"] - 1 if end["column"] == 1 else end["row"]
    return start, max(start, last)


def _range(finding: Mapping[str, Any]) -> tuple[int, int, tuple[int, int]]:
    """Row and column where it begins, and the place where it ends, as a context counts them."""
    start, end = finding["location"], finding["end_location"]
    return start["row"], start["column"] - 1, (end["row"], max(0, end["column"] - 2))


def _is_fixable(finding: Mapping[str, Any], *, unsafe: bool) -> bool:
    applicability = (finding.get("fix") or {}).get("applicability")
    return applicability == "safe" or (unsafe and applicability == "unsafe")


def _unformatted(path: str) -> Gap:
    return Gap(
        source=RuffSource.name,
        rule_id=UNFORMATTED,
        fingerprint=Fingerprinter().next(UNFORMATTED, path, ()),
        title=f"{path} is not formatted as ruff would format it",
        category="formatting",
        severity=GapSeverity.INFO,
        file_paths=(path,),
        fixable=True,
    )
