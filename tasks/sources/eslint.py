"""The gap source `eslint`: what ESLint finds in JavaScript and TypeScript, under the repository's own configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.tasks.code_context import CodeContext
from prefect_acms.tasks.fingerprints import Fingerprinter
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.sources import Discovered, Scan
from prefect_acms.tasks.sources.formatters import FROM_NPM
from prefect_acms.tasks.sources.program import Program, files_of

LINTED = (".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts", ".vue")

SYNTAX = "syntax"
"""The rule of a file that can't be read."""

_ERROR = 2


class EslintSource:
    """Runs ESLint without its fixes; writes nothing."""

    name = "eslint"

    def discover(self, scan: Scan) -> Discovered:
        """Its findings; raises SourceFailed where it is not installed or has no configuration."""
        files = files_of(scan, LINTED)
        if not files:
            return Discovered(())
        eslint = Program(self.name, scan, ("eslint",), FROM_NPM)
        eslint.require()
        named = (".",) if scan.files is None else tuple(f"./{path}" for path in files)
        command = ("--format", "json", "--no-color", "--no-error-on-unmatched-pattern", "--no-warn-ignored")
        told = eslint.report(*command, option="--output-file", further=("--", *named), good=(0, 1))
        version = eslint.run("--version").stdout.strip()
        return Discovered(tuple(_gaps(told, scan.root)), f"eslint {version}", ("eslint", *command, *named))


def _gaps(told: Iterable[Mapping[str, Any]], root: Path) -> Iterator[Gap]:
    context, numbered = CodeContext(root), Fingerprinter()
    top = root.resolve()
    for file in sorted(told, key=lambda one: str(one["filePath"])):
        place = Path(file["filePath"]).resolve()
        if not place.is_relative_to(top):
            continue
        path = place.relative_to(top).as_posix()
        for found in sorted(file["messages"], key=_place):
            rule = found.get("ruleId") or SYNTAX
            start = max(found.get("line") or 1, 1)
            end = max(found.get("endLine") or start, start)
            yield Gap(
                source=EslintSource.name,
                rule_id=rule,
                fingerprint=numbered.next(f"eslint {rule}", path, context.lines(path, start, end)),
                title=" ".join(found["message"].split()) or rule,
                category="lint",
                severity=_severity(found),
                file_paths=(path,),
                start_line=start,
                end_line=end,
                fixable="fix" in found,
            )


def _place(found: Mapping[str, Any]) -> tuple[Any, ...]:
    return found.get("line") or 0, found.get("column") or 0, found.get("ruleId") or "", found["message"]


def _severity(found: Mapping[str, Any]) -> GapSeverity:
    if found.get("fatal"):
        return GapSeverity.HIGH
    return GapSeverity.MEDIUM if found.get("severity") == _ERROR else GapSeverity.LOW
