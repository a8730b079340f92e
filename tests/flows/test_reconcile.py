"""Reconciliation of real runs: of one that has ended, and of one whose process was killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL
from prefect.states import Running
from prefect_rows import asked, set_state, state_of_flow_run
from repositories import Committed, Ran, git

from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.canonical.clock import system_clock
from prefect_acms.dao.audit import verify
from prefect_acms.dao.store import Store, open_store
from prefect_acms.deployments.cli import exit_code
from prefect_acms.flows import reconcile_runs
from prefect_acms.flows.pipeline import run_pipeline
from prefect_acms.tasks.reconciling import RECENT, reconcile_here

pytestmark = pytest.mark.usefixtures("prefect_server")

APP = "import os\nimport sys\n\n\ndef go():\n    return sys.argv\n"
SLOW = """import os
import pathlib
import time


def test_slowly():
    pathlib.Path({mark!r}).write_text(str(os.getpid()))
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def ran(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Ran:  # noqa: ARG001 - a fixture is asked for by its name
    """A run that has fixed something, in a home of its own."""
    home = tmp_path_factory.mktemp("home")
    repository = home / "repository"
    repository.mkdir()
    (repository / "app.py").write_text(APP)
    git(repository, "init", "-q", "-b", "main")
    git(repository, "add", "-A")
    git(repository, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "first")
    store = open_store(f"sqlite:///{home}/canonical.db")
    sources: Any = {"sources": ("ruff",)}
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ACMS_HOME", str(home))
        config = PipelineConfig(repository=repository, database_url=store.url, discovery=sources)
        outcome = run_pipeline(config)
    assert outcome.state == "succeeded"
    return Ran(repository, store, outcome, {})


@pytest.fixture
def home(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    """The home of that run."""
    monkeypatch.setenv("ACMS_HOME", str(ran.repository.parent))


def _later(store: Store, seconds: float = 600) -> Store:
    return open_store(store.url, clock=lambda: system_clock() + (RECENT / RECENT.total_seconds()) * seconds)


def _kinds(done: Any) -> list[str]:
    return [drift.kind.value for drift in done.drifts]


def _flow_run_of(ran: Ran) -> str:
    with ran.store.begin(read_only=True) as dao:
        return str(dao.runs.get(ran.outcome.run_id).prefect_flow_run_id)


@pytest.mark.usefixtures("home")
def test_a_run_that_succeeded_is_in_step_and_prefect_is_set_right_when_it_is_not(ran: Ran) -> None:
    """The state and its message are the run's; task runs that Prefect has lost are told beside it."""
    assert reconcile_here(ran.store).drifts == ()
    flow_run = _flow_run_of(ran)
    set_state(flow_run, Running())  # type: ignore[arg-type]
    later = _later(ran.store)
    done = reconcile_here(later)
    assert [kind for kind in _kinds(done) if kind != "prefect_tasks_lost"] == ["prefect_state"]
    assert state_of_flow_run(flow_run) == ("Completed", "succeeded")
    assert reconcile_here(later).drifts == ()
    assert verify(ran.store).ok


@pytest.mark.usefixtures("home")
def test_commits_that_the_ledger_knows_are_missed_when_they_are_on_no_branch(ran: Ran) -> None:
    """Merged elsewhere they are not; then they are told once, and a person has to know."""
    branch = str(ran.outcome.branch)
    tip = ran.git("rev-parse", branch).strip()
    ran.git("branch", "theirs", branch)
    ran.git("branch", "-D", branch)
    assert reconcile_here(ran.store, ran.outcome.run_id).drifts == ()
    ran.git("branch", "-D", "theirs")
    done = reconcile_here(ran.store, ran.outcome.run_id)
    assert (_kinds(done), done.exit_code) == (["commits_lost"], 1)
    again = reconcile_here(ran.store, ran.outcome.run_id)
    assert (again.drifts, [drift.kind.value for drift in again.left_alone], again.exit_code) == (
        (),
        ["commits_lost"],
        0,
    )
    ran.git("branch", branch, tip)
    assert reconcile_here(ran.store, ran.outcome.run_id).left_alone == ()


@pytest.mark.usefixtures("home")
def test_commits_that_say_otherwise_than_the_ledger_are_told_at_error_severity(ran: Ran) -> None:
    """A patch that was never committed is named by a commit: no rule allows its repair."""
    branch = str(ran.outcome.branch)
    tip = ran.git("rev-parse", branch).strip()
    tree = ran.git("rev-parse", f"{tip}^{{tree}}").strip()
    message = "Stray\n\nACMS-Patch: patch_stray\n"
    stray = git(
        ran.repository,
        *("-c", "user.name=a", "-c", "user.email=a@b", "commit-tree", tree, "-p", tip, "-m", message),
    ).strip()
    ran.git("update-ref", f"refs/heads/{branch}", stray)
    done = reconcile_here(ran.store, ran.outcome.run_id)
    assert (_kinds(done), done.exit_code) == (["commits_unknown"], 1)
    assert "patch_stray" in done.drifts[0].sentence
    with ran.store.begin(read_only=True) as dao:
        (told,) = [row for row in dao.transitions.of_run(ran.outcome.run_id) if row.info.get("kind") == _kinds(done)[0]]
    assert (told.severity, told.trigger) == ("error", "drift_detected")
    assert reconcile_here(ran.store, ran.outcome.run_id).drifts == ()
    ran.git("update-ref", f"refs/heads/{branch}", tip)


@pytest.mark.usefixtures("home")
def test_a_run_that_was_found_in_step_is_not_looked_at_for_ever(ran: Ran) -> None:
    """A week after its end only when somebody asks for it by its name."""
    assert reconcile_here(_later(ran.store)).looked_at == 1
    much_later = _later(ran.store, RECENT.total_seconds() + 60)
    assert reconcile_here(much_later).looked_at == 0
    assert reconcile_here(much_later, ran.outcome.run_id).looked_at == 1


@pytest.mark.usefixtures("home")
def test_the_flow_tells_the_counts(ran: Ran) -> None:
    """As the message of its state, where a schedule's owner looks."""

    async def reconciled() -> State[Any]:
        state: State[Any] = await reconcile_runs(database_url=ran.store.url, return_state=True)
        return state

    state = asyncio.run(reconciled())
    assert state.message is not None
    assert state.message.startswith("1 run looked at; no drift found")


@pytest.mark.usefixtures("home")
def test_the_command_prints_a_table_or_json_and_refuses_an_unknown_run(
    ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its exit code is that of the pass."""
    assert exit_code(["reconcile", "--database-url", ran.store.url]) == 0
    assert "No drift was found." in capsys.readouterr().out
    assert exit_code(["reconcile", "latest", "--database-url", ran.store.url, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["looked_at"], told["drifts"], told["server"]) == (1, [], None)
    assert exit_code(["reconcile", "run_nowhere", "--database-url", ran.store.url]) == 2


@pytest.fixture
def killed(committed: Committed, acms_home: Path, tmp_path: Path) -> Iterator[int]:
    """The pid of a tool whose run was killed in the middle of its discovery, by SIGKILL."""
    mark = tmp_path / "mark"
    repository = committed({"app.py": APP, "test_app.py": SLOW.format(mark=str(mark))})
    variables = {"ACMS_HOME": str(acms_home), "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    start = (sys.executable, "-c", "from prefect_acms.deployments.cli import main; main()", "run", str(repository))
    acms = subprocess.Popen(
        [*start, "--isolation", "off"],  # the test that is killed says its pid from outside its worktree
        env={**os.environ, **variables, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 90
    while not (mark.exists() and mark.read_text()):
        assert acms.poll() is None
        assert time.monotonic() < end
        time.sleep(0.1)
    pid = int(mark.read_text())
    acms.send_signal(signal.SIGKILL)
    acms.wait()
    yield pid
    if psutil.pid_exists(pid):
        os.kill(pid, signal.SIGKILL)


def test_a_run_that_was_killed_is_called_crashed_with_all_below_it(killed: int, acms_home: Path) -> None:
    """Prefect thought that it runs; what it has left running is stopped, and it can be resumed."""
    store = open_store(f"sqlite:///{acms_home}/canonical.db")
    with store.begin(read_only=True) as dao:
        (run,) = dao.runs.latest(1)
    flow_run = str(run.prefect_flow_run_id)
    assert state_of_flow_run(flow_run)[0] == "Running"
    done = reconcile_here(store)
    assert _kinds(done) == ["processes", "prefect_dead", "prefect_open"]
    assert (done.exit_code, done.resumable) == (0, (run.id,))
    assert not psutil.pid_exists(killed) or psutil.Process(killed).status() == psutil.STATUS_ZOMBIE
    assert f"acms resume {run.id}" in state_of_flow_run(flow_run)[1]
    states = asked(lambda client: client.read_flow_runs())
    below = {each.state_name for each in states if each.parent_task_run_id and run.id in each.name}
    assert below <= {"Completed", "Crashed"}
    again = reconcile_here(store)
    assert (again.drifts, again.resumable) == ((), (run.id,))
    assert verify(store).ok
