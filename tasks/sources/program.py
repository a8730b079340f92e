"""A Python program that a gap source asks: found, run in the tree, and its JSON read."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.tasks.environment import Environment, own_python
from prefect_acms.tasks.processes import ProcessResult
from prefect_acms.tasks.scratch import scratch_folder
from prefect_acms.tasks.sources import Scan


def python_with(module: str, environment: Environment, root: Path) -> Path | None:
    """The Python whose `module` is used: the environment's, or ours where that has none; None where neither has."""
    if environment.interpreter != own_python() and environment.imports(module, root):
        return environment.interpreter
    return own_python() if find_spec(module) is not None else None


def relative_path(path: str, root: Path) -> str:
    """A path as a program names it, seen from the top of the tree; one outside of the tree stays as it is."""
    for top in (root, root.resolve()):
        with suppress(ValueError):
            return (top / path).relative_to(top).as_posix()
    return path


@dataclass(frozen=True, slots=True)
class Program:
    """A module that is run by `python -m`, isolated so that no file of the tree is run in its place."""

    name: str
    python: Path
    scan: Scan

    @classmethod
    def of(cls, name: str, scan: Scan) -> Program:
        """The program for a scan; raises SourceFailed where it is not installed."""
        python = python_with(name, scan.environment, scan.root)
        if python is None:
            problem = (
                f"{name} is not installed: install prefect-acms[sources], or {name} for the repository's own Python"
            )
            raise SourceFailed(source=name, problem=problem)
        return cls(name, python, scan)

    @property
    def argv(self) -> tuple[str, ...]:
        """How it is started."""
        return (str(self.python), "-I", "-m", self.name)

    def version(self) -> str:
        """Its name and version."""
        if self.python == Path(sys.executable):
            return f"{self.name} {version(self.name)}"  # known without starting it
        code = f"from importlib.metadata import version; print(version({self.name!r}))"
        found = self._run((str(self.python), "-I", "-c", code)).stdout.strip()
        return f"{self.name} {found}"

    def run(
        self,
        arguments: Sequence[str],
        *,
        good: Sequence[int],
        writable: Sequence[Path] = (),
        on_output: Callable[[str, str], None] | None = None,
    ) -> ProcessResult:
        """Run it to an exit code that is `good`; raises SourceFailed, with what it said, for any other."""
        done = self._run((*self.argv, *arguments), writable, on_output)
        if done.exit_code not in good:
            raise SourceFailed(source=self.name, problem=_said(done))
        return done

    def report(self, arguments: Sequence[str], option: str, *, good: Sequence[int]) -> Any:
        """The JSON that it writes to the file named by `option`: captured output is cut when it is long."""
        with scratch_folder() as folder:
            path = folder / "report.json"
            self.run((*arguments, option, str(path)), good=good, writable=(folder,))
            return read_json(path, self.name)

    def _run(
        self,
        argv: Sequence[str],
        writable: Sequence[Path] = (),
        on_output: Callable[[str, str], None] | None = None,
    ) -> ProcessResult:
        scan = self.scan
        done = scan.environment.run(
            argv, cwd=scan.root, timeout_sec=scan.timeout_sec, writable=writable, on_output=on_output
        )
        if done.timed_out:
            raise SourceFailed(source=self.name, problem=f"it took more than {scan.timeout_sec:g} s")
        return done


def read_json(path: Path, source: str) -> Any:
    """The content of a report; raises SourceFailed when it can't be read."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SourceFailed(source=source, problem=f"its report can't be read: {error}") from error


def _said(done: ProcessResult) -> str:
    return " ".join((done.stderr.strip() or done.stdout.strip()).split())[-500:] or f"exit code {done.exit_code}"
