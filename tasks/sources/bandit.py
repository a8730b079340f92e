"""The gap source `bandit`: security findings in Python code that is not a test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.tasks.code_context import PYTHON, CodeContext
from prefect_acms.tasks.fingerprints import Fingerprinter
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.pytest_runs import is_test_file
from prefect_acms.tasks.sources import Discovered, Scan
from prefect_acms.tasks.sources.program import Program, relative_path
from prefect_acms.tasks.sources.python_target import read_table

SEVERITIES: Mapping[str, GapSeverity] = {
    "HIGH": GapSeverity.HIGH,
    "MEDIUM": GapSeverity.MEDIUM,
    "LOW": GapSeverity.LOW,
}

NOT_SCANNED = "./.venv,./venv,./node_modules,./build,./dist,./.tox,./.nox"


class BanditSource:
    """Runs bandit under the repository's own configuration, for findings of every severity."""

    name = "bandit"

    def discover(self, scan: Scan) -> Discovered:
        """Each finding; asserts and fixed passwords are what tests are made of, so those of tests are left out."""
        files = _scannable(scan)
        if files == ():
            return Discovered(())
        bandit = Program.module(self.name, scan)
        command = ("-q", "--exit-zero", "-f", "json", *bandit_options(scan.root))
        places = ("-r", ".") if files is None else tuple(f"./{path}" for path in files)
        report = bandit.report(*command, *places, option="-o")
        if report["errors"] and not report["results"]:
            _refuse_useless(report)
        return Discovered(
            tuple(_gaps(report["results"], scan.root)), bandit.module_version(), (*bandit.command, *command, *places)
        )


def bandit_options(root: Path) -> tuple[str, ...]:
    """How bandit is to read a repository: by its own configuration, else without what is not its code."""
    configured = "bandit" in read_table(root / "pyproject.toml").get("tool", {})
    return ("-c", "pyproject.toml") if configured else ("-x", NOT_SCANNED)


def _scannable(scan: Scan) -> tuple[str, ...] | None:
    if scan.files is None:
        return None
    files = (path for path in set(scan.files) if path.endswith(PYTHON) and not is_test_file(path))
    return tuple(sorted(path for path in files if (scan.root / path).is_file()))


def _refuse_useless(report: Mapping[str, Any]) -> None:
    """Raise SourceFailed where no file could be read at all; one that can't is a finding of other sources."""
    first = report["errors"][0]
    if len(report["errors"]) >= len(report["metrics"].keys() - {"_totals"}):
        raise SourceFailed(source=BanditSource.name, problem=f"{first['filename']}: {first['reason']}")


def _gaps(results: list[dict[str, Any]], root: Path) -> Iterator[Gap]:
    context, numbered = CodeContext(root), Fingerprinter()
    for found in sorted(results, key=_place):
        path = relative_path(found["filename"], root)
        if is_test_file(path):
            continue
        row, last = found["line_number"], max(found["line_range"] or [found["line_number"]])
        code = context.of(path, row, found.get("col_offset"))
        yield Gap(
            source=BanditSource.name,
            rule_id=found["test_id"],
            fingerprint=numbered.next(found["test_id"], path, code),
            title=" ".join(found["issue_text"].split()),
            description=_description(found),
            category="security",
            severity=_severity(found),
            file_paths=(path,),
            start_line=row,
            end_line=max(row, last),
        )


def _place(found: Mapping[str, Any]) -> tuple[Any, ...]:
    return found["filename"], found["line_number"], found.get("col_offset") or 0, found["test_id"], found["issue_text"]


def _severity(found: Mapping[str, Any]) -> GapSeverity:
    """As bandit says, and one less where it is not sure."""
    severity = SEVERITIES.get(found["issue_severity"], GapSeverity.INFO)
    ranks = tuple(GapSeverity)
    unsure = int(found["issue_confidence"] == "LOW")
    return ranks[min(ranks.index(severity) + unsure, len(ranks) - 1)]


def _description(found: Mapping[str, Any]) -> str:
    weakness = found.get("issue_cwe") or {}
    known = [f"CWE-{weakness['id']}"] if weakness.get("id") else []
    said = [
        f"{found['test_name']}, confidence {found['issue_confidence'].lower()}",
        *known,
        found.get("more_info") or "",
    ]
    return "\n".join(filter(None, said))
