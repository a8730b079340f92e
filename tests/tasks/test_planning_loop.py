"""Plans that lead to no patch are cut down, and then not carried out any more; on rows of real runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run
from operated import leave
from repositories import git

from prefect_acms.blocks.fix_loop import FixLoopSettings
from prefect_acms.blocks.tool_spec import TaskKind
from prefect_acms.canonical.errors import PlanningLoop
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.tasks.attempts import Executed, Finished, perform
from prefect_acms.tasks.bench import Bench
from prefect_acms.tasks.captures import stored_capture
from prefect_acms.tasks.driving import Drive, phase
from prefect_acms.tasks.ending import end_run
from prefect_acms.tasks.planning_loop import NARROWED, likeness, loop_in, most_severe
from prefect_acms.tasks.plans import Plan

KEY = "ws-01/one"
DIFF = b"diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-A = 1\n+A = 2\n"


class History:
    """Runs of one repository, one after the other."""

    def __init__(self, folder: Path, url: str) -> None:
        self.repository, self.url = repository_of(folder / "shop", {"a.py": "A = 1\n", "b.py": "B = 1\n"}), url

    def begun(self, *names: str, **settings: Any) -> tuple[Drive, Plan]:
        """A new run, and its plan about gaps of these names."""
        drive = started_run(self.repository, self.url, **settings)
        gaps = [a_gap(name, "a.py", source="elsewhere") for name in names]
        task = a_task(KEY, gaps, kind=TaskKind.IMPLEMENTATION, pattern_id="planned-step", max_retries=0)
        return drive, a_plan(drive, [task], gaps)

    def carried_out(self, *names: str, diff: bytes = b"", narrowed: bool = False) -> None:
        """A run whose only tool has made this change, and which has ended."""
        drive, plan = self.begun(*names)
        with phase(drive, "planning") as artifacts:
            artifacts["plan"] = plan.model_dump(mode="json")
            if narrowed:
                artifacts[NARROWED] = "before"
        planned = Planned(drive, plan)
        task = planned.queued(KEY)
        bench = Bench.of(drive, task)
        executed = Executed(0, lambda: Finished(problem="no"), store=lambda dao: _store(dao, bench, diff))
        assert perform(drive, task.id, lambda _task: executed).state == "failed"
        end_run(drive, RunTrigger.RUN_CRASHED, "nothing came of it")
        leave(drive)


def _store(dao: UnitOfWork, bench: Bench, diff: bytes) -> None:
    stored_capture(dao, bench, diff)


@pytest.fixture
def history(tmp_path: Path, canonical_url: str) -> History:
    """A repository without runs."""
    return History(tmp_path, canonical_url)


def test_the_same_plan_again_after_one_in_vain_is_cut_down_and_then_not_carried_out(history: History) -> None:
    """Once to the most severe gaps; when that has led to nothing either, planning ends the run, and says why."""
    drive, plan = history.begun("x", "y")
    assert loop_in(drive, plan) is None
    leave(drive)
    history.carried_out("x", "y")
    drive, plan = history.begun("x", "y")
    assert str(loop_in(drive, plan)).startswith("AP_PLANNING_LOOP: the plan before this one was almost the same")
    leave(drive)
    history.carried_out("x", narrowed=True)
    with pytest.raises(PlanningLoop, match="AP_PLANNING_LOOP: 2 plan"):
        loop_in(*history.begun("x", "y"))


def test_three_plans_in_vain_are_enough_however_they_differ(history: History) -> None:
    """None is like the one before; the fourth is cut down."""
    for name in ("a", "b"):
        history.carried_out(name)
    drive, plan = history.begun("d")
    assert loop_in(drive, plan) is None
    leave(drive)
    history.carried_out("c")
    assert str(loop_in(*history.begun("d"))).startswith("AP_PLANNING_LOOP: 3 plans of this commit")


def test_a_patch_a_commit_or_another_setting_is_a_new_beginning(history: History) -> None:
    """What came of a plan, or may come of one, is no loop."""
    history.carried_out("x", diff=DIFF)
    assert loop_in(*history.begun("x")) is None
    history.carried_out("x")
    assert loop_in(*history.begun("x", fix_loop=FixLoopSettings(plans=9))) is None
    git(history.repository, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "more")
    assert loop_in(*history.begun("x")) is None


def test_likeness_is_what_two_plans_share(history: History) -> None:
    """Of three things two are in both; the most severe gaps come first, and then those that come first in lists."""
    drive, one = history.begun("x", "y")
    leave(drive)
    drive, other = history.begun("x", "y", "z")
    assert likeness(one, one) == 1
    assert likeness(one, other) == pytest.approx(2 / 3)
    gaps = (a_gap("p", "a.py", severity="low"), a_gap("q", "a.py"), a_gap("r", "b.py", severity="critical"))
    assert most_severe(gaps, 2) == {"r", "q"}
    needy = (*gaps[:2], a_gap("s", "b.py", severity="critical", dependencies=("p",)))
    assert most_severe(needy, 2) == {"s", "p"}
    assert most_severe(needy, 1) == {"q"}
