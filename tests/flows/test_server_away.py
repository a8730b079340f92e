"""`acms run` while the Prefect server goes away: the run ends as its work did, and the command says so in time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from away import Away, Fault
from prefect.settings import PREFECT_API_URL
from repositories import fingerprint_of, git

from prefect_acms.canonical.machines import MACHINES
from prefect_acms.dao.audit import verify
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store, open_store

pytestmark = pytest.mark.usefixtures("prefect_server")

ACMS = (sys.executable, "-c", "from prefect_acms.deployments.cli import main; main()")
FOR_GOOD = None
LONGEST_SEC = 240.0

TEST = """\
import pathlib
import time

HERE = pathlib.Path({folder!r})


def test_it():
    if "import os" not in pathlib.Path("app.py").read_text():
        (HERE / "mark").touch()
        end = time.monotonic() + 60
        while not (HERE / "go").exists() and time.monotonic() < end:
            time.sleep(0.05)
"""
"""A gate of the patched repository that says when it runs, and goes on when it is told to."""


@dataclass
class Running:
    """A real `acms run` through a proxy, on a repository whose gate waits in the middle of the run."""

    folder: Path
    repository: Path
    away: Away
    process: subprocess.Popen[str]
    began: float

    @property
    def store_url(self) -> str:
        """Its database."""
        return f"sqlite:///{self.folder / 'home' / 'canonical.db'}"

    def until(self, happened: Callable[[], bool]) -> None:
        """Wait for that; the run must not end before."""
        end = time.monotonic() + LONGEST_SEC
        while not happened():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end, "it never came so far"
            time.sleep(0.01)

    def until_gate(self) -> None:
        """Wait for the middle of the run: a gate judges the patch, and waits itself."""
        self.until((self.folder / "mark").exists)

    def go_on(self) -> None:
        """Let the gate go on."""
        (self.folder / "go").touch()

    def until_ended(self) -> None:
        """Wait until the store says that the run has ended: Prefect is yet to be told."""
        self.until((self.folder / "home" / "canonical.db").exists)
        store = open_store(self.store_url)
        self.until(lambda: (run := _run_of(store)) is not None and run.state in MACHINES["run"].terminal)
        store.close()

    def assert_succeeded(self, within: float) -> RunRow:
        """It ends in that time with exit 0, its verdict on stdout and nothing on stderr, and left nothing behind."""
        began = time.monotonic()
        out, err = self.process.communicate(timeout=LONGEST_SEC)
        took = time.monotonic() - began
        assert self.process.returncode == 0, out + err
        assert "fixed, each by a commit on the result branch" in out
        assert "Result   branch acms/run_" in out
        assert err == ""
        assert took < within
        return self._assert_truthful()

    def _assert_truthful(self) -> RunRow:
        store = open_store(self.store_url)
        run = _run_of(store)
        assert run is not None
        assert run.state == "succeeded", run.error
        assert _open_rows(store, run.id) == []
        assert verify(store).ok
        store.close()
        worktrees = self.folder / "home" / "worktrees"
        assert not worktrees.exists() or [path for path in worktrees.rglob("*") if path.is_file()] == []
        assert git(self.repository, "worktree", "list", "--porcelain").count("worktree ") == 1
        assert "import os" not in git(self.repository, "show", f"acms/{run.id}:app.py")
        return run


def _run_of(store: Store) -> RunRow | None:
    with store.begin(read_only=True) as dao:
        return next(iter(dao.runs.latest(1)), None)


def _open_rows(store: Store, run_id: str) -> list[str]:
    with store.begin(read_only=True) as dao:
        rows = [*dao.tasks.of_run(run_id), *dao.workstreams.of_run(run_id), *dao.gaps.of_run(run_id)]
    return [f"{row.id} {row.state}" for row in rows if row.state not in MACHINES[row.machine.entity].terminal]


Start = Callable[..., Running]
"""Starts a run; keywords are environment variables."""


@pytest.fixture
def acms_run(tmp_path: Path) -> Iterator[Start]:
    """Starts `acms run` on a repository with one gap, through a proxy to the session's server."""
    started: list[Running] = []
    with Away(str(PREFECT_API_URL.value())) as away:

        def start(fault: Fault = Fault.NONE, **variables: str) -> Running:
            repository = tmp_path / "repository"
            repository.mkdir()
            (repository / "app.py").write_text("import os\nimport sys\n\n\ndef go():\n    return sys.argv\n")
            (repository / "test_app.py").write_text(TEST.format(folder=str(tmp_path)))
            git(repository, "init", "-q", "-b", "main")
            git(repository, "add", "-A")
            git(repository, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "first")
            away.be(fault)
            environment = os.environ | {
                "ACMS_HOME": str(tmp_path / "home"),
                "PREFECT_API_URL": away.api_url,
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            }
            process = subprocess.Popen(
                # the gate says from outside its worktree where it is
                [*ACMS, "run", str(repository), "--source", "ruff", "--isolation", "off"],
                env=environment | variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            started.append(Running(tmp_path, repository, away, process, time.monotonic()))
            return started[-1]

        yield start
        for running in started:
            with suppress(ProcessLookupError):
                running.process.kill()
            running.process.wait(30)


@pytest.mark.parametrize("fault", [Fault.REFUSED, pytest.param(Fault.UNAVAILABLE, marks=pytest.mark.campaign)])
def test_a_run_is_refused_while_the_server_is_away(acms_run: Start, fault: Fault) -> None:
    """One sentence that names the variable, exit 2; nothing was begun, in the store as in the repository."""
    running = acms_run(fault)
    before = fingerprint_of(running.repository)
    out, err = running.process.communicate(timeout=LONGEST_SEC)
    assert running.process.returncode == 2, out + err
    assert out == ""
    assert err.startswith("acms: the Prefect server http://127.0.0.1:")
    assert "(PREFECT_API_URL)" in err
    assert len(err.splitlines()) == 1
    assert fingerprint_of(running.repository) == before
    assert not (running.repository / ".acms_runs").exists()
    assert not (running.folder / "home" / "canonical.db").exists()


def test_a_run_goes_on_when_the_server_goes_away_for_good_in_its_middle(acms_run: Start) -> None:
    """It succeeds, says so, and its trail says which phases Prefect knows nothing of."""
    running = acms_run(PREFECT_CLIENT_MAX_RETRIES="0")
    running.until_gate()
    running.away.be(Fault.REFUSED)
    running.go_on()
    run = running.assert_succeeded(within=60)
    with open_store(running.store_url).begin(read_only=True) as dao:
        reasons = [event.reason or "" for event in dao.transitions.of_run(run.id) if event.trigger == "drift_detected"]
    # a busy server may have missed a phase before that too
    assert reasons[-1].split(":")[0] == "acms-summary runs without the Prefect server"


@pytest.mark.campaign
def test_a_run_that_has_ended_is_told_though_prefect_can_t_be(acms_run: Start) -> None:
    """The server goes when the run has its state, and nobody has told Prefect: the command gives the outcome."""
    running = acms_run(PREFECT_CLIENT_MAX_RETRIES="0")
    running.go_on()
    running.until_ended()
    running.away.be(Fault.REFUSED)
    running.assert_succeeded(within=60)


def test_an_interruption_is_obeyed_at_once_while_the_server_is_away(acms_run: Start) -> None:
    """Ctrl-C in the middle, with a client of usual patience: exit 130 and a canceled run, not waiting for Prefect."""
    running = acms_run()
    running.until_gate()
    running.away.be(Fault.REFUSED)
    os.killpg(running.process.pid, signal.SIGINT)
    began = time.monotonic()
    out, err = running.process.communicate(timeout=LONGEST_SEC)
    assert running.process.returncode == 130, out + err
    assert "Traceback" not in err
    assert time.monotonic() - began < 40
    store = open_store(running.store_url)
    run = _run_of(store)
    assert run is not None
    assert run.state == "canceled"
    assert _open_rows(store, run.id) == []
    assert verify(store).ok


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        (Fault.REFUSED, 12.0),
        (Fault.REFUSED, 150.0),
        (Fault.REFUSED, FOR_GOOD),
        (Fault.UNAVAILABLE, 12.0),
        (Fault.UNAVAILABLE, 150.0),
        (Fault.SLOW, FOR_GOOD),
        (Fault.HANGING, FOR_GOOD),
    ],
)
@pytest.mark.parametrize("when", ["middle", "end"])
def test_no_fault_of_the_server_changes_the_outcome(
    acms_run: Start, fault: Fault, seconds: float | None, when: str
) -> None:
    """With a client of usual patience; two minutes are the most that an outage costs the command."""
    running = acms_run()
    if when == "middle":
        running.until_gate()
    else:
        running.go_on()
        running.until_ended()
    if seconds is FOR_GOOD:
        running.away.be(fault)
    else:
        running.away.be_for(fault, seconds)
    running.go_on()
    running.assert_succeeded(within=120)


@pytest.mark.campaign
@pytest.mark.parametrize("fault", [Fault.SLOW])
def test_a_slow_server_is_enough_to_begin(acms_run: Start, fault: Fault) -> None:
    """At 5 s an answer from the very start, the phases run without it, and the run succeeds."""
    running = acms_run(fault)
    running.go_on()
    running.assert_succeeded(within=LONGEST_SEC)
