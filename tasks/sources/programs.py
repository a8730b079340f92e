"""Programs of other languages that gap sources ask: where they are, what they say, and in which files of the tree."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect_acms.canonical.outside_errors import SourceFailed, ToolUnavailable
from prefect_acms.tasks.git import names_of, run_git
from prefect_acms.tasks.processes import ProcessResult
from prefect_acms.tasks.sources import Scan


@dataclass(frozen=True, slots=True)
class Program:
    """A program that one source asks about one tree; what goes wrong with it is that source's failure."""

    source: str
    scan: Scan
    command: tuple[str, ...]
    hint: str
    """How one comes by it."""

    def require(self) -> None:
        """Raise SourceFailed unless it is installed."""
        found = shutil.which(self.command[0], path=self.scan.environment.variables.get("PATH"))
        if found is None:
            raise SourceFailed(source=self.source, problem=f"{self.command[0]} is not installed: {self.hint}")

    def run(
        self,
        *arguments: str,
        expected: Iterable[int] = (0,),
        lines: list[str] | None = None,
        writable: Sequence[Path] = (),
        variables: Mapping[str, str] | None = None,
    ) -> ProcessResult:
        """Run it at the top of the tree; `lines` take in what it prints however long that is. Raises SourceFailed."""
        environment = self.scan.environment
        try:
            done = environment.run(
                (*self.command, *arguments),
                cwd=self.scan.root,
                timeout_sec=self.scan.timeout_sec,
                variables={**environment.variables, **(variables or {})},
                writable=writable,
                on_output=None
                if lines is None
                else lambda stream, line: lines.append(line) if stream == "stdout" else None,
            )
        except ToolUnavailable as error:
            raise SourceFailed(source=self.source, problem=f"{error}: {self.hint}") from error
        if done.timed_out:
            raise SourceFailed(source=self.source, problem=f"it took more than {self.scan.timeout_sec:g} s")
        if done.exit_code not in set(expected):
            said = " ".join((done.stderr.strip() or done.stdout.strip()).split())[-500:]
            raise SourceFailed(source=self.source, problem=said or f"exit code {done.exit_code}")
        return done


def files_of(scan: Scan, endings: tuple[str, ...]) -> tuple[str, ...]:
    """The files of the tree with these endings that are asked about, sorted; what git does not know is none of it."""
    if scan.files is not None:
        known: Iterable[str] = scan.files
    else:
        known = names_of(run_git(["ls-files", "-z", "--cached"], cwd=scan.root).stdout)
    return tuple(
        sorted(
            path
            for path in set(known)
            if path.endswith(endings) and (scan.root / path).is_file() and not (scan.root / path).is_symlink()
        )
    )


def rows_of(path: Path) -> list[str]:
    """The lines of a file."""
    return re.split(r"\r\n|\r|\n", path.read_text(encoding="utf-8", errors="replace"))
