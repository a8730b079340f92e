"""The gap source `conflicts`: what is left of merge conflicts in tracked files."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.tasks.code_context import CodeContext
from prefect_acms.tasks.fingerprints import Fingerprinter
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.sources import Discovered, Scan

COMMAND = ("git", "-c", "core.quotePath=false", "grep", "--name-only", "-I", "-e", "^<<<<<<< ")
FOUND_NOTHING = 1


class ConflictsSource:
    """Asks git for the files, in the environment that the run gives to every program."""

    name = "conflicts"

    def discover(self, scan: Scan) -> Discovered:
        """One gap a marker; where `scan.files` is given, of these files only, with the same fingerprints."""
        done = scan.environment.run(COMMAND, cwd=scan.root, timeout_sec=scan.timeout_sec)
        if done.timed_out or done.exit_code not in {0, FOUND_NOTHING}:
            raise SourceFailed(source=self.name, problem=done.stderr.strip() or f"git ended with {done.exit_code}")
        files = sorted(done.stdout.splitlines())
        asked = files if scan.files is None else [path for path in files if path in scan.files]
        gaps = tuple(gap for path in asked for gap in self._gaps(path, scan.root))
        return Discovered(gaps, f"conflicts {version('acms-source-conflicts')}", COMMAND)

    def _gaps(self, path: str, root: Path) -> Iterator[Gap]:
        # one Fingerprinter a scan of a file, fed from its top to its end: it numbers findings that are alike
        context, numbered = CodeContext(root), Fingerprinter()
        lines = (root / path).read_text(encoding="utf-8", errors="replace").split("\n")
        for row, line in enumerate(lines, start=1):
            if line.startswith("<<<<<<< "):
                yield Gap(
                    source=self.name,
                    rule_id="conflict-marker",
                    fingerprint=numbered.next("conflict-marker", path, context.of(path, row)),
                    title="a merge conflict was committed",
                    category="syntax",
                    severity=GapSeverity.CRITICAL,
                    file_paths=(path,),
                    start_line=row,
                )
