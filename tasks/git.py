"""Running git: its own program, with no hooks and no background work, and our own configuration where bytes matter."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from prefect_acms.canonical.errors import GitMissing
from prefect_acms.canonical.outside_errors import GitFailed
from prefect_acms.dao.redaction import redact
from prefect_acms.tasks.survivors import DRIVER_MARK, driver_mark

NEEDED = (2, 38)
"""The first git whose `merge-tree` merges without a working tree."""

TIMEOUT_SEC = 600.0

INTERRUPTED_SEC = 30.0
"""Seconds that a git command may go on after we were interrupted."""

_QUIET = (
    *("core.hooksPath=/dev/null", "gc.auto=0", "maintenance.auto=false", "core.fsmonitor=false"),
    *("core.untrackedCache=false", "advice.detachedHead=false"),
)
"""In force for every command: no hook fires and nothing runs in the background."""

_PLAIN = (
    *(
        "core.autocrlf=false",
        "core.safecrlf=false",
        "core.fileMode=true",
        "core.quotePath=true",
        "core.attributesFile=/dev/null",
    ),
    *("core.sparseCheckout=false", "core.splitIndex=false", "core.ignoreStat=false", "core.checkStat=default"),
    *("diff.suppressBlankEmpty=false", "diff.noprefix=false", "diff.mnemonicPrefix=false", "diff.orderFile="),
    *("apply.whitespace=nowarn", "apply.ignoreWhitespace=no", "i18n.commitEncoding=UTF-8", "safe.directory=*"),
    *("merge.renames=true", "merge.directoryRenames=false", "merge.conflictStyle=merge"),
    # a pointer file of LFS is content like any other: no download, and the same with and without git-lfs
    *("filter.lfs.process=", "filter.lfs.smudge=", "filter.lfs.clean=", "filter.lfs.required=false"),
)
"""In force where bytes matter: the user's configuration changes neither our diffs nor our trees."""


def run_git(
    arguments: Sequence[str],
    *,
    cwd: Path,
    plain: bool = True,
    config: Iterable[str] = (),
    variables: Mapping[str, str] | None = None,
    input: bytes | None = None,  # noqa: A002  # the name that subprocess.run gives it
    accept: tuple[int, ...] = (0,),
) -> subprocess.CompletedProcess[bytes]:
    """Run git with hooks, background work and index refreshes off; raises GitFailed on an exit code not accepted.

    `plain` leaves the user's and the system's configuration out; without it, the answer is what the user would see.
    """
    flags = [*_QUIET, *(_PLAIN if plain else ()), *config]
    argv = [git_program(), *(part for flag in flags for part in ("-c", flag)), *arguments]
    try:
        done = _ended(argv, cwd, {**_variables(plain=plain), **(variables or {})}, input or b"")
    except subprocess.TimeoutExpired as error:
        problem = f"no answer in {TIMEOUT_SEC:g} s"
        raise GitFailed(command=_spoken(arguments), exit_code=124, problem=problem) from error
    except FileNotFoundError as error:
        raise GitFailed(command=_spoken(arguments), exit_code=127, problem=str(error)) from error
    if done.returncode not in accept:
        raise GitFailed(command=_spoken(arguments), exit_code=done.returncode, problem=said(done))
    return done


def _ended(
    argv: Sequence[str], cwd: Path, variables: Mapping[str, str], data: bytes
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end even if we are interrupted meanwhile: a git that is killed leaves its locks behind.

    In a session of its own it does not hear the Ctrl-C of a terminal, nor the kill of our process group.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        argv, cwd=cwd, env=variables, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
    ) as process:
        try:
            stdout, stderr = process.communicate(data, timeout=TIMEOUT_SEC)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        except BaseException:
            process.communicate(timeout=INTERRUPTED_SEC)
            raise
    return subprocess.CompletedProcess(argv, process.returncode, stdout, stderr)


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    """What git said about a failure, in one line."""
    text = (done.stderr.strip() or done.stdout.strip()).decode("utf-8", errors="replace")
    return redact(" ".join(text.split()))[:2000] or "it gave no reason"


def text_of(done: subprocess.CompletedProcess[bytes]) -> str:
    """The output as text, without the end of line."""
    return os.fsdecode(done.stdout).rstrip("\n")


def names_of(data: bytes) -> tuple[str, ...]:
    """Names that git separated by NUL."""
    return tuple(os.fsdecode(name) for name in data.split(b"\0") if name)


def git_program() -> str:
    """The path of a git that is new enough; raises GitMissing."""
    return _git_program(os.environ.get("PATH", os.defpath))


@cache
def _git_program(path: str) -> str:
    needed = ".".join(map(str, NEEDED))
    program = shutil.which("git", path=path)
    if program is None:
        raise GitMissing(needed=needed, found="none")
    answer = subprocess.run([program, "version"], capture_output=True, check=False, timeout=60).stdout
    found = answer.decode("utf-8", errors="replace").strip()
    version = re.search(r"(\d+)\.(\d+)", found)
    if version is None or (int(version[1]), int(version[2])) < NEEDED:
        raise GitMissing(needed=needed, found=found or "no answer")
    return program


def _variables(*, plain: bool) -> dict[str, str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    variables |= {DRIVER_MARK: driver_mark(os.getpid())}
    # an object that is missing is not fetched: what talks to a remote is a program that the repository names
    variables |= {"GIT_ALLOW_PROTOCOL": "none"}
    variables |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", "LC_ALL": "C"}
    if plain:
        variables |= {
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ATTR_NOSYSTEM": "1",
        }
    return variables


def _spoken(arguments: Sequence[str]) -> str:
    return " ".join(arguments[:3])
