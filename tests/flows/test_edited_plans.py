"""Plans that a person has edited, and the order in which execution carries them out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from repositories import Committed, git

from prefect_acms.blocks.config import DiscoverySettings, ExecutionSettings, Mode, PipelineConfig
from prefect_acms.canonical.errors import CyclicPlan
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.dao.store import open_store
from prefect_acms.flows.pipeline import run_pipeline
from prefect_acms.flows.schedule import Node, Schedule

LETTERS = "abc"
TOOLS = """
[tools.writer]
command = ["PYTHON", "-c", SCRIPT, "{files}"]
task_kinds = ["implementation"]
deterministic = true

[tools.failer]
command = ["PYTHON", "-c", "import sys; sys.exit(9)", "{files}"]
task_kinds = ["implementation"]

[patterns.write]
title = "Write"
categories = ["write"]
kinds = ["implementation"]
allowed_tools = ["writer", "failer"]
"""
SCRIPT = """
import pathlib, sys, time
for path in map(pathlib.Path, sys.argv[1:]):
    time.sleep(0.2)
    if path.suffix == ".txt":
        path.unlink()
    else:
        path.write_text(path.read_text().replace("2", "3").replace("1", "2"))
"""


def test_a_node_is_lost_only_when_all_that_it_waits_for_has_ended() -> None:
    """Only then do the rows of its upstreams say why it can't start."""
    schedule = Schedule({"a": Node(), "b": Node(), "c": Node(needs=frozenset("ab")), "d": Node(needs=frozenset("c"))})
    assert schedule.ended("a", well=False) == []
    assert schedule.ended("b", well=True) == ["c", "d"]
    assert schedule.unfinished == 0


def test_lost_nodes_come_with_upstreams_first_whatever_their_order_in_the_plan() -> None:
    """A plan may list a task before the one that it needs."""
    schedule = Schedule({"d": Node(needs=frozenset("c")), "c": Node(needs=frozenset("a")), "a": Node()})
    assert schedule.ended("a", well=False) == ["c", "d"]


@pytest.fixture
def config(committed: Committed, canonical_url: str, tmp_path: Path) -> PipelineConfig:
    """A repository with a file for each letter, and a tool that changes `.py` files and deletes `.txt` files."""
    names = [f"{letter}.py" for letter in LETTERS] + ["größe ☃.txt"]
    repository = committed(dict.fromkeys(names, "X = 1\n") | {"test_x.py": "def test_x():\n    pass\n"})
    entries = [
        {"id": str(n), "title": name, "source": "own", "category": "write", "file_paths": [name]}
        for n, name in enumerate(names)
    ]
    report = tmp_path / "gaps.json"
    report.write_text(json.dumps({"version": "1", "generated_at": "2026-01-01T00:00:00Z", "gaps": entries}))
    tools = tmp_path / "tools.toml"
    tools.write_text(TOOLS.replace("PYTHON", sys.executable).replace("SCRIPT", json.dumps(SCRIPT)))
    return PipelineConfig(
        repository=repository,
        database_url=canonical_url,
        discovery=DiscoverySettings(sources=("report",), reports=(report,)),
        execution=ExecutionSettings(tool_files=(tools,)),
    )


def _plan(config: PipelineConfig) -> dict[str, Any]:
    """The gaps of the plan that we make, each in a workstream and a task of its own."""
    planned = run_pipeline(config.model_copy(update={"mode": Mode.PLAN_ONLY}))
    plan: dict[str, Any] = json.loads((Path(planned.folder) / "plan.json").read_text())
    (workstream,) = plan["workstreams"]
    task = next(task for task in plan["tasks"] if task["kind"] == "implementation")
    plan["workstreams"], plan["tasks"] = [], []
    for n, gap in enumerate(plan["gaps"], start=1):
        own = {"file_scope": gap["file_paths"], "gaps": [gap["fingerprint"]], "depends_on": []}
        key = f"ws-{n:02}-write"
        plan["workstreams"].append(workstream | own | {"key": key})
        plan["tasks"].append(
            task | own | {"key": f"{key}/implementation", "workstream": key, "tool_id": "writer", "max_retries": 0}
        )
    return plan


def _execute(config: PipelineConfig, plan: dict[str, Any], tmp_path: Path) -> Any:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan))
    return run_pipeline(config.model_copy(update={"mode": Mode.EXECUTE_ONLY, "plan": str(path)}))


@pytest.mark.usefixtures("prefect_server")
def test_an_edited_plan_is_carried_out_in_the_order_that_it_says(config: PipelineConfig, tmp_path: Path) -> None:
    """Workstreams wait for workstreams, hard and soft; tasks of one workstream take turns; a lost one says why.

    1 fails. 2 needs 1 and is lost. 3 comes after 1 however that ends, and two tasks share it. 4 deletes a file.
    """
    plan = _plan(config)
    one, two, three, four = plan["workstreams"]
    assert four["file_scope"] == ["größe ☃.txt"]
    plan["tasks"][0]["tool_id"] = "failer"
    two["depends_on"] = [one["key"]]
    three |= {"depends_on": [one["key"]], "order_only": [one["key"]]}
    plan["tasks"].append(plan["tasks"][2] | {"key": f"{three['key']}/implementation-2"})
    plan["tasks"].reverse()
    outcome = _execute(config, plan, tmp_path)
    assert (outcome.state, outcome.degraded) == ("succeeded", True)
    with open_store(config.database_url).begin(read_only=True) as dao:
        states = {row.info["key"]: row.state for row in dao.workstreams.of_run(outcome.run_id)}
        tasks = {row.info["key"]: row for row in dao.tasks.of_run(outcome.run_id)}
        gaps = dao.gaps.of_run(outcome.run_id)
        order = [row.entity_id for row in dao.transitions.of_run(outcome.run_id) if row.trigger == "worker_started"]
    assert states == {
        one["key"]: "failed",
        two["key"]: "failed",
        three["key"]: "completed",
        four["key"]: "completed",
    }
    assert git(config.path, "show", f"{outcome.branch}:c.py") == "X = 3\n"  # one after the other
    assert [row.id for row in tasks.values() if row.state not in MACHINES["task"].terminal] == []
    assert tasks[f"{two['key']}/implementation"].attempt == 0
    assert order.index(tasks[f"{one['key']}/implementation"].id) < order.index(
        tasks[f"{three['key']}/implementation"].id
    )
    assert all(gap.deferred_reason for gap in gaps if gap.state == "deferred")
    files = git(config.path, "ls-tree", "-r", "-z", "--name-only", str(outcome.branch)).split("\0")
    assert "größe ☃.txt" not in files
    assert (config.path / "größe ☃.txt").exists()


@pytest.mark.usefixtures("prefect_server")
def test_workstreams_that_wait_for_each_other_are_refused(config: PipelineConfig, tmp_path: Path) -> None:
    """No task waits for itself, but a workstream is merged as a whole: such a plan would wait for ever."""
    plan = _plan(config)
    first, second = plan["tasks"][:2]
    plan["tasks"] += [
        first | {"key": f"{first['workstream']}/late", "depends_on": [second["key"]]},
        second | {"key": f"{second['workstream']}/late", "depends_on": [first["key"]]},
    ]
    with pytest.raises(CyclicPlan, match=f"{first['workstream']} -> {second['workstream']}"):
        _execute(config, plan, tmp_path)
    with open_store(config.database_url).begin(read_only=True) as dao:
        assert len(dao.runs.latest(10)) == 1
