"""A program that a gap source asks: where it is, what it says of the tree, and of which files."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prefect_acms.canonical.outside_errors import SourceFailed, ToolUnavailable
from prefect_acms.tasks.environment import Environment, own_python
from prefect_acms.tasks.git import names_of, run_git
from prefect_acms.tasks.processes import ProcessResult
from prefect_acms.tasks.scratch import scratch_folder
from prefect_acms.tasks.sources import Scan


def python_with(module: str, environment: Environment, root: Path) -> Path | None:
    """The Python whose `module` is used: the environment's, or ours where that has none; None where neither has."""
    if environment.interpreter != own_python() and environment.imports(module, root):
        return environment.interpreter
    return own_python() if find_spec(module) is not None else None


@dataclass(frozen=True, slots=True)
class Program:
    """A program that one source asks about one tree; what goes wrong with it is that source's failure."""

    source: str
    scan: Scan
    command: tuple[str, ...]
    hint: str
    """How one comes by it."""

    @classmethod
    def module(cls, name: str, scan: Scan) -> Program:
        """A module that is run by `python -m`, isolated so that no file of the tree is run in its place.

        Raises SourceFailed where it is not installed.
        """
        hint = f"install prefect-acms[sources], or {name} for the repository's own Python"
        python = python_with(name, scan.environment, scan.root)
        if python is None:
            raise SourceFailed(source=name, problem=f"{name} is not installed: {hint}")
        return cls(name, scan, (str(python), "-I", "-m", name), hint)

    @property
    def python(self) -> Path:
        """The Python that runs a module."""
        return Path(self.command[0])

    def module_version(self) -> str:
        """The name and version of a module."""
        if self.python == Path(sys.executable):
            return f"{self.source} {version(self.source)}"  # known without starting it
        code = f"from importlib.metadata import version; print(version({self.source!r}))"
        asked = Program(self.source, self.scan, (str(self.python), "-I", "-c", code), self.hint)
        return f"{self.source} {asked.run().stdout.strip()}"

    def require(self) -> None:
        """Raise SourceFailed unless it is installed."""
        found = shutil.which(self.command[0], path=self.scan.environment.variables.get("PATH"))
        if found is None:
            raise SourceFailed(source=self.source, problem=f"{self.command[0]} is not installed: {self.hint}")

    def run(
        self,
        *arguments: str,
        good: Collection[int] = (0,),
        lines: list[str] | None = None,
        writable: Sequence[Path] = (),
        variables: Mapping[str, str] | None = None,
    ) -> ProcessResult:
        """Run it at the top of the tree to an exit code that is `good`; raises SourceFailed, with what it said.

        `lines` take in what it prints however long that is.
        """
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
        if done.exit_code not in good:
            said = " ".join((done.stderr.strip() or done.stdout.strip()).split())[-500:]
            raise SourceFailed(source=self.source, problem=said or f"exit code {done.exit_code}")
        return done

    def report(self, *arguments: str, option: str, further: Sequence[str] = (), good: Collection[int] = (0,)) -> Any:
        """The JSON that it writes to the file named by `option`: captured output is cut when it is long."""
        with scratch_folder() as folder:
            path = folder / "report.json"
            self.run(*arguments, option, str(path), *further, good=good, writable=(folder,))
            return read_json(path, self.source)


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


def relative_path(path: str, root: Path) -> str:
    """A path as a program names it, seen from the top of the tree; one outside of the tree stays as it is."""
    for top in (root, root.resolve()):
        with suppress(ValueError):
            return (top / path).relative_to(top).as_posix()
    return path


def read_json(path: Path, source: str) -> Any:
    """The content of a report; raises SourceFailed when it can't be read."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SourceFailed(source=source, problem=f"its report can't be read: {error}") from error
