"""A run goes on with what an operator has reset: the new task is done, the old one is history."""

from __future__ import annotations

from pathlib import Path

from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run
from operated import leave

from prefect_acms.blocks.config import GateSettings
from prefect_acms.flows.execution import _Execution
from prefect_acms.tasks.driving import Drive, drive_run
from prefect_acms.tasks.overrides import override
from prefect_acms.tasks.recovery import recover

ADA = {"operator": "ada", "reason": "the disk was full"}


def execution_of(drive: Drive) -> _Execution:
    """What the execution phase of a resumed run starts from."""
    with drive.reading() as dao:
        tasks = dao.tasks.of_run(drive.run_id)
        upstream = {task.id: [row.id for row in dao.tasks.dependencies(task.id)] for task in tasks}
        workstreams = {row.id: row for row in dao.workstreams.of_run(drive.run_id)}
        prerequisites = {row_id: [row.id for row in dao.workstreams.prerequisites(row_id)] for row_id in workstreams}
    return _Execution(drive, tasks, workstreams, upstream, prerequisites)


def test_a_resumed_run_does_the_new_tasks_in_their_order(tmp_path: Path, canonical_url: str) -> None:
    """A chain whose first task has failed is reset: nothing of it is lost any more, and it goes on from its start."""
    gates = GateSettings(lint_enabled=False, security_enabled=False, unit=("true",))
    drive = started_run(repository_of(tmp_path / "shop", {"a.py": "A = 1\n"}), canonical_url, gates=gates)
    gap = a_gap("a", "a.py")
    tasks = [a_task("ws-01/one", [gap]), a_task("ws-01/two", [gap], "ws-01/one"), a_task("ws-01/three", [gap])]
    planned = Planned(drive, a_plan(drive, tasks, [gap]))
    leave(drive)
    first, second = planned.task("ws-01/one").id, planned.task("ws-01/two").id
    override(drive.store, "fail-task", first, **ADA)
    override(drive.store, "fail-task", second, **ADA)
    override(drive.store, "reset-task", second, **ADA)
    override(drive.store, "reset-task", first, **ADA)
    again = drive_run(drive.run_id, database=canonical_url)
    recover(again)
    execution = execution_of(again)
    execution._already_ended()
    schedule, done = execution.schedule, []
    while ready := schedule.ready():
        done += ready
        for name in ready:
            assert schedule.ended(name, well=True) == []
    keys = [execution.by_id[name].info["key"] for name in done if name in execution.by_id]
    assert sorted(keys) == ["ws-01/one", "ws-01/three", "ws-01/two"]
    assert keys.index("ws-01/one") < keys.index("ws-01/two")
    assert not {first, second} & set(done)
    assert done[-1] == planned.workstream("ws-01").id
