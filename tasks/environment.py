"""Where tools and gates run: which Python, and which few variables they see."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from prefect_acms.blocks.config import EnvironmentSettings
from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.canonical.outside_errors import ToolFailed
from prefect_acms.dao.redaction import ending
from prefect_acms.tasks.isolation import Isolation, result_outside, rust_toolchains
from prefect_acms.tasks.processes import OnOutput, ProcessResult, run_process
from prefect_acms.tasks.scratch import scratch_folder

PASSED_ON = (
    *("USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "PYTEST_DISABLE_PLUGIN_AUTOLOAD"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "SYSTEMROOT"),
)
"""The variables of ours that a tool sees, beside LC_*; no credential is among them, and no way to one."""

VIRTUAL_ENVIRONMENTS = (".venv", "venv")
"""Folders of a repository that may hold its own Python, first one wins."""


@dataclass(frozen=True, slots=True)
class Environment:
    """An interpreter, the complete variables of the programs that run beside it, and what they see of the machine."""

    interpreter: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    isolation: Isolation | None = None

    def python(self, *arguments: str) -> tuple[str, ...]:
        """The argument list that runs this Python."""
        return (str(self.interpreter), *arguments)

    def with_variables(self, **variables: str) -> Environment:
        """The same interpreter, with these variables besides."""
        return replace(self, variables={**self.variables, **variables})

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        timeout_sec: float,
        variables: Mapping[str, str] | None = None,
        readable: Sequence[Path] = (),
        writable: Sequence[Path] = (),
        network: bool = False,
        on_output: OnOutput | None = None,
        on_start: Callable[[int], None] | None = None,
    ) -> ProcessResult:
        """Run a program as `run_process` does, isolated where that is in force, with an empty home of its own.

        `variables` stand in for those of the environment; `readable` and `writable` are folders outside the worktree,
        for what it is to know and for results.
        """
        given = self.variables if variables is None else variables
        # Two of them, since there are programs that refuse to have their home in the folder for temporary files.
        with scratch_folder() as home, scratch_folder() as temporary:
            own = {"HOME": str(home), "TMPDIR": str(temporary)}
            command = tuple(argv)
            if self.isolation is not None:
                own = {"HOME": str(self.isolation.home)}
                command = self.isolation.wrapped(argv, cwd=cwd, readable=readable, writable=writable, network=network)
            result = run_process(
                command,
                cwd=cwd,
                env={**own, **given},
                timeout_sec=timeout_sec,
                on_output=on_output,
                on_start=on_start,
            )
        return result if self.isolation is None else result_outside(result, argv)

    def imports(self, module: str, root: Path) -> bool:
        """Whether a module is installed for this Python; one that lies in the worktree `root` does not count."""
        variables = {name: value for name, value in self.variables.items() if name != "PYTHONPATH"}
        code = f"import sys; del sys.path[0]; import {module}"
        return self.run(self.python("-c", code), cwd=root, variables=variables, timeout_sec=60).exit_code == 0


def environment_for(worktree: Path, repository_top: Path, settings: EnvironmentSettings) -> Environment:
    """The environment of a worktree: the repository's own Python if it has one, else the configured one, else ours.

    The worktree's packages are imported before any that are installed, so an editable install of the user's own
    working tree never stands in for the code under test.
    """
    interpreter = _interpreter(repository_top, settings)
    variables = _variables(worktree, interpreter)
    if (repository_top / "package.json").is_file():
        # what the setup has installed, behind what the machine has: it can't stand in for git, say
        variables["PATH"] += f"{os.pathsep}{worktree / 'node_modules/.bin'}"
    if (toolchains := rust_toolchains()) is not None:
        variables["RUSTUP_HOME"] = str(toolchains)
    return Environment(interpreter, dict(sorted(variables.items())))


def run_setup(
    worktree: Path, environment: Environment, settings: EnvironmentSettings, on_output: OnOutput | None = None
) -> None:
    """Run the configured setup commands in a new worktree, in order; raises ToolFailed on the first that fails.

    They may use the network, to install what the tests need, and else they see what tools and gates see: a patch
    that was merged before may have a say in what they do.
    """
    for command in settings.setup:
        result = environment.run(
            command, cwd=worktree, timeout_sec=settings.setup_timeout_sec, network=True, on_output=on_output
        )
        if result.timed_out:
            raise ToolFailed(tool=" ".join(command), problem=f"setup took more than {settings.setup_timeout_sec:g} s")
        if result.exit_code != 0:
            said = ending((result.stderr or result.stdout).strip(), 2000)
            raise ToolFailed(tool=" ".join(command), problem=f"setup ended with {result.exit_code}: {said}")


def own_python() -> Path:
    """The Python that runs us; it has pytest and ruff."""
    return Path(sys.executable)


def repository_python(repository_top: Path) -> Path | None:
    """The Python of the repository's own virtual environment, if it has one that can be run."""
    for folder in VIRTUAL_ENVIRONMENTS:
        for program in ("bin/python", "Scripts/python.exe"):
            candidate = repository_top / folder / program
            if candidate.is_file() and os.access(candidate, os.X_OK):
                return candidate
    return None


def _interpreter(repository_top: Path, settings: EnvironmentSettings) -> Path:
    if own := repository_python(repository_top):
        return own
    if settings.interpreter is None:
        return own_python()
    # not resolved: following the link out of a virtual environment would lose its packages
    named = settings.interpreter.expanduser().absolute()
    if not (named.is_file() and os.access(named, os.X_OK)):
        raise InvalidValue(field="environment.interpreter", value=str(named), expected="a Python that can be run")
    return named


def _variables(worktree: Path, interpreter: Path) -> dict[str, str]:
    passed = {name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith("LC_")}
    programs = interpreter.parent
    own = {
        "PATH": os.pathsep.join([str(programs), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(str(folder) for folder in _import_roots(worktree)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
    }
    if (programs.parent / "pyvenv.cfg").is_file():
        own["VIRTUAL_ENV"] = str(programs.parent)
    return dict(sorted({**passed, **own}.items()))


def _import_roots(worktree: Path) -> list[Path]:
    """`src` holds packages unless it is one itself: then its modules would stand in for Python's own."""
    source = worktree / "src"
    return [worktree] if (source / "__init__.py").exists() else [source, worktree]
