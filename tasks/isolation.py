"""Isolation: what runs for a run sees its worktree and the system, read-only, and neither a home nor the network."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import gettempdir

from prefect_acms.blocks.config import EnvironmentSettings, IsolationMode
from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.canonical.outside_errors import ToolUnavailable
from prefect_acms.dao.home import acms_home
from prefect_acms.tasks.processes import ProcessResult

TEMPORARY_BYTES = 2 << 30
"""How much a program may write to its own /tmp, which lies in memory."""

LARGEST_FILE = 2 << 30
"""Bytes that a program may write to one file."""

PROBE_SEC = 20.0

_LIMITED = ("/bin/sh", "-c", f'ulimit -c 0; ulimit -f {LARGEST_FILE // 512}; exec "$0" "$@"')
"""Sets limits and becomes what follows; a process of ours, which has threads, can set none for its children."""

_ALONE = ("--die-with-parent", "--unshare-pid", "--unshare-ipc", "--cap-drop", "ALL")
_SYSTEM = ("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc")
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108  # each program gets its own
_SOCKETS = Path("/run")
_SHOWN_OF_SOCKETS = (Path("/run/systemd/resolve"), Path("/run/current-system"), Path("/run/opengl-driver"))
"""What programs need of /run: names of hosts, and on NixOS the system itself."""

_MOST_LINKS = 40
_DEADLY = frozenset(
    {
        *(signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGKILL, signal.SIGSEGV),
        *(signal.SIGTERM, signal.SIGXCPU, signal.SIGXFSZ, signal.SIGSYS),
    }
)


@dataclass(frozen=True, slots=True)
class Isolation:
    """The view of one worktree: what is hidden, and what of that is shown again, read-only.

    `stand_ins` are files that are shown in place of others. Everything else of the machine can be read, by whoever
    may read it anyway, and nothing outside the worktree can be written.
    """

    worktree: Path
    hidden: tuple[Path, ...]
    shown: tuple[Path, ...]
    stand_ins: tuple[tuple[Path, Path], ...] = ()

    @property
    def home(self) -> Path:
        """The empty folder that a program has for a home."""
        home = Path.home().resolve()
        return home if home in self.hidden else _TEMPORARY[0]

    def wrapped(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        readable: Iterable[Path] = (),
        writable: Iterable[Path] = (),
        network: bool = False,
    ) -> tuple[str, ...]:
        """The argument list that runs a program inside the view, which also shows these further folders."""
        mounts = [*_SYSTEM]
        further = (path for path in readable if _is_below(path, self.hidden))
        for folder in self.hidden:
            mounts += ["--size", str(TEMPORARY_BYTES), "--tmpfs", str(folder)]
        for kind, paths in (("--ro-bind", (*self.shown, *further)), ("--bind", (self.worktree, *writable))):
            for path in paths:
                for place in self._places(path):
                    mounts += [kind, str(path), str(place)]
        for stand_in, path in self.stand_ins:
            mounts += ["--ro-bind", str(stand_in), str(path)]
        net = () if network else ("--unshare-net",)
        return (*_LIMITED, str(_bubblewrap()), *_ALONE, *net, *mounts, "--chdir", str(cwd), "--", *argv)

    def _places(self, path: Path) -> Iterator[Path]:
        """Where a path must be in the view; one that leads through a hidden link, there too."""
        yield path.resolve()
        if path != path.resolve() and any(path.is_relative_to(folder) for folder in self.hidden):
            yield path


def isolation_problem() -> str | None:
    """Why programs can't be isolated on this machine; None if they can. Found out once a process."""
    return _problem(_bubblewrap())


def require_isolation(settings: EnvironmentSettings) -> None:
    """Raise InvalidValue where isolation is required and can't be had."""
    problem = isolation_problem() if settings.isolation is IsolationMode.REQUIRED else None
    if problem is not None:
        raise InvalidValue(
            field="environment.isolation", value="required", expected=f"auto or off on this machine: {problem}"
        )


def isolation_of(
    worktree: Path,
    settings: EnvironmentSettings,
    *,
    repository: Path,
    git_folder: Path,
    interpreters: Iterable[Path],
    search_path: str,
    stand_ins: Iterable[tuple[Path, Path]] = (),
) -> Isolation | None:
    """The view that programs get of a worktree, or None where they are not isolated.

    Raises InvalidValue where isolation is required and can't be had.
    """
    require_isolation(settings)
    if settings.isolation is IsolationMode.OFF or isolation_problem() is not None:
        return None
    hidden = _hidden(repository)
    programs = (Path(folder) for folder in search_path.split(os.pathsep) if Path(folder).is_absolute())
    prefixes = (prefix for interpreter in interpreters for prefix in _prefixes(interpreter))
    named = (path.expanduser() for path in settings.readable)
    rust = filter(None, (rust_toolchains(),))
    wanted = dict.fromkeys((*programs, *prefixes, *rust, *_own_code(), *named, *_SHOWN_OF_SOCKETS, git_folder))
    shown = tuple(path for path in wanted if path.exists() and _is_below(path, hidden))
    return Isolation(worktree, hidden, shown, tuple(stand_ins))


def rust_toolchains() -> Path | None:
    """Where rustup keeps compilers, which its programs look up in a home that tools don't have; none: no rustup."""
    place = Path(os.environ.get("RUSTUP_HOME") or "~/.rustup").expanduser()
    return place if (place / "toolchains").is_dir() else None


def result_outside(result: ProcessResult, argv: Sequence[str]) -> ProcessResult:
    """A result as it would be without isolation: the program's own arguments, and the signal it died of.

    Raises ToolUnavailable when the view could not be made, or has no such program.
    """
    last = result.stderr.strip().rpartition("\n")[2]
    if result.exit_code == 1 and last.startswith("bwrap: "):
        raise ToolUnavailable(tool=argv[0], problem=last.rpartition(": ")[2] if "execvp" in last else last)
    died = result.exit_code - 128
    exit_code = -died if died in _DEADLY and not result.timed_out else result.exit_code
    return replace(result, argv=tuple(argv), exit_code=exit_code)


@cache
def _bubblewrap() -> Path | None:
    found = shutil.which("bwrap")
    return Path(found) if found else None


@cache
def _problem(program: Path | None) -> str | None:
    """Why bubblewrap does not work here: it may be missing, or the kernel may forbid it."""
    if program is None:
        return "bubblewrap (bwrap) is not installed"
    command = (program, *_ALONE, "--unshare-net", *_SYSTEM, "--tmpfs", "/tmp", "--", "true")  # noqa: S108
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SEC, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap can't be run: {error}"
    if done.returncode == 0:
        return None
    return f"bubblewrap does not work here: {done.stderr.strip() or f'exit code {done.returncode}'}"


def _hidden(repository: Path) -> tuple[Path, ...]:
    """The folders whose content no program sees: homes, ours, temporary files, sockets, the user's own working tree."""
    prefect = os.environ.get("PREFECT_HOME")
    named = (Path.home(), *_TEMPORARY, Path(gettempdir()), _SOCKETS, acms_home(), repository)
    folders = {path.resolve() for path in (*named, *((Path(prefect),) if prefect else ()))}
    return tuple(sorted(folder for folder in folders if folder.is_dir() and folder != Path("/")))


def _own_code() -> Iterator[Path]:
    """Where the rooms lie whose programs are tools: in an editable installation that is a checkout, maybe in a home."""
    package = Path(__file__).parent.parent
    for room in ("canonical", "dao", "blocks", "tasks"):
        yield package / room
        yield (package / room / "__init__.py").resolve().parent


def _is_below(path: Path, hidden: Iterable[Path]) -> bool:
    """Whether a path is hidden, and showing it shows no hidden folder as a whole."""
    places = {path, path.resolve()}
    return any(place.is_relative_to(folder) for place in places for folder in hidden) and not any(
        folder.is_relative_to(place) for place in places for folder in hidden
    )


def _prefixes(interpreter: Path) -> Iterator[Path]:
    """The folders in which a Python is installed: its virtual environment, and all that it is linked to."""
    for _ in range(_MOST_LINKS):
        prefix = interpreter.parent.parent
        yield prefix
        yield from _base_of(prefix / "pyvenv.cfg")
        if not interpreter.is_symlink():
            return
        interpreter = Path(os.path.normpath(interpreter.parent / interpreter.readlink()))


def _base_of(configuration: Path) -> Iterator[Path]:
    if configuration.is_file():
        for line in configuration.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition("=")
            if key.strip() == "home" and Path(value.strip()).is_absolute():
                yield Path(value.strip()).parent
