"""What `acms doctor` looks at; each look changes nothing and never raises."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, entry_points, requires, version
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

from packaging.requirements import Requirement

from prefect_acms.canonical.errors import BadInput
from prefect_acms.dao import migration
from prefect_acms.dao.connections import shown
from prefect_acms.dao.home import acms_home, can_be_written, database_url
from prefect_acms.tasks.git import git_program, run_git, text_of
from prefect_acms.tasks.isolation import isolation_problem

DISTRIBUTION = "prefect-acms"
NEEDED_PYTHON = (3, 11)
SERVER_TIMEOUT_SEC = 3.0


class Check(NamedTuple):
    """One thing that was looked at, and what to do about it if it isn't good."""

    what: str
    state: Literal["good", "warning", "bad"]
    found: str
    remedy: str = ""


def checks(given_url: str | None = None) -> Iterator[Check]:
    """Look at everything that a run needs."""
    yield _python()
    yield _git()
    yield _isolation()
    yield from _packages()
    yield _sources()
    yield _home()
    yield _store(given_url)
    yield server_check()


def _python() -> Check:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < NEEDED_PYTHON:
        return Check("python", "bad", found, "use Python 3.11 or newer")
    return Check("python", "good", found)


def _git() -> Check:
    try:
        program = git_program()
    except BadInput as error:
        return Check("git", "bad", str(error), "install git, or put it on PATH")
    return Check("git", "good", f"{text_of(run_git(['version'], cwd=Path.cwd()))} at {program}")


def _isolation() -> Check:
    problem = isolation_problem()
    if problem is not None:
        found = f"none: {problem}; tools and gates can read your files and use the network"
        return Check("isolation", "warning", found, "install bubblewrap, on a system that lets it make namespaces")
    return Check("isolation", "good", "bubblewrap: tools and gates see their worktree, no home and no network")


def _packages() -> Iterator[Check]:
    try:
        needed = [Requirement(line) for line in requires(DISTRIBUTION) or ()]
    except PackageNotFoundError:
        yield Check(DISTRIBUTION, "warning", "not installed as a distribution", "run `pip install prefect-acms`")
        return
    yield Check(DISTRIBUTION, "good", version(DISTRIBUTION))
    for requirement in needed:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield _package(requirement)


def _package(requirement: Requirement) -> Check:
    remedy = f"run `pip install '{requirement}'`"
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return Check(requirement.name, "bad", "not installed", remedy)
    if not requirement.specifier.contains(found, prereleases=True):
        return Check(requirement.name, "bad", f"{found}, needed is {requirement.specifier}", remedy)
    return Check(requirement.name, "good", found)


def _sources() -> Check:
    names = sorted(entry.name for entry in entry_points(group="prefect_acms.gap_sources"))
    if not names:
        return Check("gap sources", "warning", "none is registered", "run `pip install prefect-acms`")
    return Check("gap sources", "good", ", ".join(names))


def _home() -> Check:
    home = acms_home()
    if not can_be_written(home):
        return Check("home", "bad", f"{home} can't be written", "set ACMS_HOME to a folder of yours")
    return Check("home", "good", f"{home}" if home.exists() else f"{home}, made by the first run")


def _store(given_url: str | None) -> Check:
    url = database_url(given_url)
    try:
        found = migration.current(url)
    except BadInput as error:
        return Check("store", "bad", str(error), "mend or move it, or name another with --database-url")
    if found is None:
        return Check("store", "good", f"{shown(url)}, made by the first run")
    if found != migration.head():
        newest = migration.head()
        return Check("store", "warning", f"{shown(url)} at {found}, newest is {newest}", "run `acms db upgrade`")
    return Check("store", "good", f"{shown(url)} at {found}")


def server_check() -> Check:
    """Look at the Prefect server that PREFECT_API_URL names, if any."""
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return Check("prefect server", "good", "embedded: each run brings its own")
    try:
        with urlopen(f"{url.rstrip('/')}/health", timeout=SERVER_TIMEOUT_SEC):  # noqa: S310  the caller's own setting
            return Check("prefect server", "good", url)
    except (URLError, OSError, ValueError) as error:
        return Check("prefect server", "bad", f"{url}: {error}", "start it, or unset PREFECT_API_URL")
