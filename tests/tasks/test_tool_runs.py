"""A tool's run inside a task: its process a row, its timeout a retry, its crashes counted by its breaker."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run

from prefect_acms.blocks.config import EnvironmentSettings, ResilienceSettings
from prefect_acms.blocks.tool_spec import ToolSpec
from prefect_acms.canonical.errors import RunEnding
from prefect_acms.canonical.outside_errors import BreakerOpen
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.attempts import Executed, Finished, Work, perform
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.ending import end_run
from prefect_acms.tasks.environment import environment_for
from prefect_acms.tasks.tool_runs import ToolRun
from prefect_acms.tasks.tools import ToolValues
from prefect_acms.tasks.worktrees import open_worktree

CHILD_AND_HANG = (
    "import os, pathlib, subprocess, sys, time; child = subprocess.Popen(['sleep', '600']);"
    "open(sys.argv[1], 'a').write(f'{{os.getpid()}} {{child.pid}}\\n'); time.sleep(600)"
)
CRASH = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"


def _tool(*command: str, timeout_sec: float = 60) -> ToolSpec:
    return ToolSpec(tool_id="odd", command=(sys.executable, "-c", *command), timeout_sec=timeout_sec)


def _planned(tmp_path: Path, url: str, resilience: ResilienceSettings, retries: int) -> Planned:
    drive = started_run(repository_of(tmp_path / "repository", {"a.py": ""}), url, resilience=resilience)
    gap = a_gap("a", "a.py")
    tasks = [
        a_task("ws-01/one", [gap], max_retries=retries),
        a_task("ws-01/two", [gap], max_retries=0),
    ]
    return Planned(drive, a_plan(drive, tasks, [gap]))


def _running(drive: Drive, profile: ToolSpec) -> Work:
    path = drive.worktree("ws-01")
    tree = open_worktree(drive.repository, path, drive.base_commit)
    environment = environment_for(path, drive.repository.top, EnvironmentSettings())

    def work(task: TaskRow) -> Executed:
        ToolRun(drive, task, profile, tree, environment)(ToolValues(files=("a.py",)))
        return Executed(0, Finished)

    return work


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_timeout_kills_the_group_and_is_a_retry(tmp_path: Path, canonical_url: str) -> None:
    """timeout_exceeded leads to retrying, then to failed; nothing of any try lives on, each has a row that ended."""
    planned = _planned(tmp_path, canonical_url, ResilienceSettings(retry_base_sec=0.01), retries=1)
    drive, mark = planned.drive, tmp_path / "pids"
    row = perform(
        drive, planned.queued("ws-01/one").id, _running(drive, _tool(CHILD_AND_HANG, str(mark), timeout_sec=2))
    )
    assert (row.state, row.retry_count, row.attempt) == ("failed", 1, 2)
    assert "was killed after" in str(row.last_error)
    pids = mark.read_text().split()
    assert len(pids) == 4
    assert [pid for pid in pids if _lives(pid)] == []
    with drive.reading() as dao:
        moves = [(row.trigger, row.to_state) for row in dao.transitions.of_entity("task", row.id)]
        processes = dao.uet_workers.of_run(drive.run_id)
    assert moves.count(("timeout_exceeded", "retrying")) == 1
    assert moves[-1] == ("timeout_exceeded", "failed")
    assert [process.state for process in processes] == ["TERMINATED"] * 2
    assert all(process.pid for process in processes)
    assert drive.pids == set()


def test_the_breaker_opens_after_crashes_and_holds_the_tool_back(tmp_path: Path, canonical_url: str) -> None:
    """Two crashes open it; the next task is told so and its tool is not even started."""
    resilience = ResilienceSettings(retry_base_sec=0.01, failure_threshold=2, cooldown_sec=3600)
    planned = _planned(tmp_path, canonical_url, resilience, retries=1)
    drive = planned.drive
    work = _running(drive, _tool(CRASH))
    crashed = perform(drive, planned.queued("ws-01/one").id, work)
    assert "SIGSEGV" in str(crashed.last_error)
    with drive.reading() as dao:
        breaker = dao.circuit_breakers.for_tool("odd")
    assert breaker is not None
    assert (breaker.state, breaker.failure_count) == ("OPEN", 2)
    with pytest.raises(BreakerOpen, match="held back by its circuit breaker"):
        work(planned.task("ws-01/two"))
    with drive.reading() as dao:
        assert len(dao.uet_workers.of_run(drive.run_id)) == 2


def test_no_tool_is_started_for_a_run_that_is_being_ended(tmp_path: Path, canonical_url: str) -> None:
    """Between two tools a thread may still be on its way to the next one: it is refused, and leaves nothing."""
    planned = _planned(tmp_path, canonical_url, ResilienceSettings(), retries=0)
    drive, mark = planned.drive, tmp_path / "pids"
    work = _running(drive, _tool(CHILD_AND_HANG, str(mark)))

    def on_its_way(task: TaskRow) -> Executed:
        drive.stop()
        return work(task)

    with pytest.raises(RunEnding):
        perform(drive, planned.queued("ws-01/one").id, on_its_way)
    end_run(drive, RunTrigger.USER_CANCELLED, "interrupted")
    assert not mark.exists()
    assert planned.task("ws-01/one").state == "cancelled"
    assert not drive.worktree("ws-01").exists()
