"""What every test has: homes of its own, nobody's settings, and a Prefect server for those who ask."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import postgresql
import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from providers import Provider

pytest.register_assert_rewrite("breakers", "refusals", "shops")  # support that asserts

_HOMES = pytest.StashKey[Path]()
_FOREIGN = (
    "PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_PROFILE", "ACMS_DATABASE_URL",
    "PYTHONDONTWRITEBYTECODE",  # with it each of the hundreds of processes compiles our modules anew
)  # fmt: skip
_TOGETHER = ("tests/campaigns/", "tests/faults/")  # their files share what takes long to make
_FIRST = ("tests/system/", "tests/campaigns/", "tests/faults/", "tests/flows/")
_OF_THIS_PYTEST = ("PYTEST_ADDOPTS", "PYTEST_XDIST_")


def pytest_configure(config: pytest.Config) -> None:
    """Give each worker of the session a home before Prefect is imported, since it reads its settings then."""
    # A shell that starts us in the background lets us ignore Ctrl-C, and all that we start: some tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    homes = Path(tempfile.mkdtemp(prefix="acms-tests-"))
    config.stash[_HOMES] = homes
    prefixes = ("GIT_", *(_OF_THIS_PYTEST if _runs_tests(config) else ()))
    for name in [*_FOREIGN, *(name for name in os.environ if name.startswith(prefixes))]:
        os.environ.pop(name, None)
    os.environ |= {
        "PREFECT_HOME": str(homes / "prefect"),
        "ACMS_HOME": str(homes / "acms"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    if _runs_tests(config):
        from hypothesis import settings  # noqa: PLC0415 - the process that only starts workers needs none

        # how long an example takes says how busy the machine is
        settings.register_profile("suite", deadline=None)
        settings.load_profile("suite")
        # What the suite needs of plugins takes most of the time of a gate's pytest, and there are hundreds of those.
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Give each worker a file at a time, or a whole folder whose files belong together."""
    return _Together(config, log)


class _Together(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::", 1)[0]
        return next((folder for folder in _TOGETHER if path.startswith(folder)), path)


def _runs_tests(config: pytest.Config) -> bool:
    """Whether tests run in this process; the one that only starts workers hands its variables on to them."""
    return hasattr(config, "workerinput") or config.getoption("dist") == "no"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest; leave campaigns out, unless `-m campaign` or `ACMS_CAMPAIGN=1` asks for them."""
    # of each folder, in order, those that are not in it come after those that are
    items.sort(key=lambda item: [not item.nodeid.startswith(folder) for folder in _FIRST])
    if "campaign" in config.getoption("markexpr") or os.environ.get("ACMS_CAMPAIGN"):
        return
    for item in items:
        if item.get_closest_marker("campaign"):
            item.add_marker(pytest.mark.skip(reason="a long campaign: -m campaign or ACMS_CAMPAIGN=1 runs it"))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take the worker's home away."""
    shutil.rmtree(config.stash[_HOMES], ignore_errors=True)


@pytest.fixture(autouse=True)
def acms_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty ACMS_HOME for each test; the folder comes into being when something is stored in it."""
    home = tmp_path_factory.getbasetemp() / "homes" / os.urandom(6).hex()
    monkeypatch.setenv("ACMS_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A canonical database without rows, to copy: quicker than to make one for each test."""
    from prefect_acms.dao.store import open_store  # noqa: PLC0415 - tests of the rooms above need no database

    path = tmp_path_factory.mktemp("database") / "canonical.db"
    open_store(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def canonical_url(empty_database: Path, tmp_path: Path) -> str:
    """The URL of a database of this test alone."""
    path = shutil.copy(empty_database, tmp_path / "canonical.db")
    return f"sqlite:///{path}"


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    """A provider of models on this machine, and the variables by which its clients find it."""
    from providers import provided  # noqa: PLC0415 - most tests ask no model

    with provided() as started:
        for name, value in started.variables().items():
            monkeypatch.setenv(name, value)
        yield started


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The socket folder of a PostgreSQL server of our own, stopped at the end of the session."""
    if not postgresql.installed():
        pytest.skip("PostgreSQL's programs are not installed")
    with postgresql.cluster() as folder:
        yield folder


@pytest.fixture(scope="session")
def prefect_server(request: pytest.FixtureRequest) -> Iterator[None]:
    """One Prefect server for all tests of a worker that ask for it."""
    from prefect_harness import prefect_harness  # noqa: PLC0415 - a second that most tests don't need

    with prefect_harness(request.getfixturevalue("postgresql_server") if postgresql.installed() else None):
        yield
