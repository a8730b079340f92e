"""Ctrl-C and SIGTERM while something slow goes on: the run ends at once and truthfully, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL
from repositories import Committed, fingerprint_of, git

from prefect_acms.canonical.machines import MACHINES
from prefect_acms.dao.audit import verify
from prefect_acms.dao.store import Store, open_store

pytestmark = pytest.mark.usefixtures("prefect_server")

ACMS = (sys.executable, "-c", "from prefect_acms.deployments.cli import main; main()")
PATIENCE_SEC = 90.0

APP = "import os\nimport sys\n\n\ndef go():\n    return sys.argv\n"


def _slow(mark: Path, when: str) -> str:
    """A test module whose one test says its pid and then hangs, with a child of its own, when that is true."""
    return (
        "import os\nimport pathlib\nimport subprocess\nimport time\n\n\n"
        "def test_slowly():\n"
        '    text = pathlib.Path("app.py").read_text()\n'
        f"    if {when}:\n"
        '        child = subprocess.Popen(["sleep", "600"])\n'
        f'        pathlib.Path({str(mark)!r}).write_text(f"{{os.getpid()}} {{child.pid}}")\n'
        "        time.sleep(600)\n"
    )


@dataclass
class Child:
    """A real `acms run` in a process group of its own, as a terminal makes one."""

    process: subprocess.Popen[str]
    mark: Path

    def wait_for_mark(self) -> list[int]:
        """The pids that the slow thing wrote when it began."""
        end = time.monotonic() + PATIENCE_SEC
        while not (self.mark.exists() and len(self.mark.read_text().split()) == 2):
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end, "it never came so far"
            time.sleep(0.1)
        return [int(pid) for pid in self.mark.read_text().split()]

    def interrupt(self, number: signal.Signals) -> float:
        """Send the signal as a terminal or a supervisor does; the seconds until it has ended."""
        began = time.monotonic()
        if number is signal.SIGINT:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        self.process.wait(PATIENCE_SEC)
        return time.monotonic() - began


@pytest.fixture
def acms_child(acms_home: Path, tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Starts `acms run`; it uses the session's Prefect server."""
    started: list[Child] = []

    def start(repository: Path, *options: str) -> Child:
        environment = os.environ | {
            "ACMS_HOME": str(acms_home),
            "PREFECT_API_URL": str(PREFECT_API_URL.value()),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        process = subprocess.Popen(
            # what hangs says so from outside its worktree
            [*ACMS, "run", str(repository), "--isolation", "off", *options],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(Child(process, tmp_path / "mark"))
        return started[-1]

    yield start
    for child in started:
        left = [child.process.pid, *(map(int, child.mark.read_text().split()) if child.mark.exists() else ())]
        for pid in left if child.process.poll() is None else ():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def _open_rows(store: Store, run_id: str) -> list[str]:
    with store.begin(read_only=True) as dao:
        rows = [
            *dao.tasks.of_run(run_id),
            *dao.workstreams.of_run(run_id),
            *dao.workers.of_run(run_id),
            *dao.uet_workers.of_run(run_id),
            *dao.test_gates.of_run(run_id),
            *dao.gaps.of_run(run_id),
            dao.runs.get(run_id),
        ]
    return [f"{row.id} {row.state}" for row in rows if row.state not in MACHINES[row.machine.entity].terminal]


async def _prefect_state(flow_run_id: str) -> str | None:
    async with get_client() as client:
        found = await client.read_flow_run(UUID(flow_run_id))
    return found.state.name if found.state else None


def _assert_clean_end(repository: Path, home: Path, before: dict[str, str]) -> Store:
    """The run is canceled with everything in it, and neither the home nor the repository holds a trace of its work."""
    store = open_store(f"sqlite:///{home}/canonical.db")
    with store.begin(read_only=True) as dao:
        (run,) = dao.runs.latest(10)
    assert run.state == "canceled"
    assert _open_rows(store, run.id) == []
    assert verify(store).ok
    worktrees = home / "worktrees"
    assert not worktrees.exists() or list(worktrees.rglob("*")) == []
    assert git(repository, "worktree", "list", "--porcelain").count("worktree ") == 1
    assert fingerprint_of(repository) == before
    assert (repository / ".acms_runs" / run.id / "summary.json").exists()
    return store


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.campaign)])
def test_an_interrupted_run_is_canceled_while_a_slow_gate_runs(
    committed: Committed, acms_home: Path, acms_child: Callable[..., Child], tmp_path: Path, number: signal.Signals
) -> None:
    """Exit 130, no traceback; children cancelled, process groups gone, worktrees gone, the user's things untouched."""
    tests = _slow(tmp_path / "mark", 'not text.startswith("import os")')
    repository = committed({"app.py": APP, "test_app.py": tests})
    before = fingerprint_of(repository)
    child = acms_child(repository, "--source", "ruff")
    pids = child.wait_for_mark()
    took = child.interrupt(number)
    out, err = child.process.communicate()
    assert child.process.returncode == 130, err + out
    assert "Traceback" not in err
    assert took < 60
    assert [pid for pid in pids if _alive(pid)] == []
    store = _assert_clean_end(repository, acms_home, before)
    with store.begin(read_only=True) as dao:
        (run,) = dao.runs.latest(1)
        states = [task.state for task in dao.tasks.of_run(run.id)]
        entries = dao.ledger.of_run(run.id)
    assert asyncio.run(_prefect_state(str(run.prefect_flow_run_id))) == "Cancelled"
    assert set(states) == {"completed", "cancelled"}
    assert {entry.state for entry in entries} == {"quarantined"}


@pytest.mark.parametrize("when", ["discovery", pytest.param("setup", marks=pytest.mark.campaign)])
def test_an_interrupted_run_is_canceled_while_it_looks_and_while_it_sets_up(
    committed: Committed,
    acms_home: Path,
    acms_child: Callable[..., Child],
    tmp_path: Path,
    when: str,
) -> None:
    """The tests of discovery and a setup command are stopped like any tool."""
    slow = _slow(tmp_path / "mark", "True")
    files = {"app.py": APP, "test_app.py" if when == "discovery" else "slow.py": slow}
    repository = committed(files)
    before = fingerprint_of(repository)
    options: tuple[str, ...] = ("--source", "pytest")
    if when == "setup":
        options = ("--source", "ruff", "--setup", f'{sys.executable} -c "import slow; slow.test_slowly()"')
    child = acms_child(repository, *options)
    pids = child.wait_for_mark()
    took = child.interrupt(signal.SIGINT)
    out, err = child.process.communicate()
    assert child.process.returncode == 130, err + out
    assert took < 60
    assert [pid for pid in pids if _alive(pid)] == []
    _assert_clean_end(repository, acms_home, before)
