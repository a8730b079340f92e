"""What each DAO finds, beside moving its rows."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.orm import object_session

from prefect_acms.canonical.errors import InvalidValue, RowRefused, UnknownName
from prefect_acms.canonical.uet_worker import UetWorkerTrigger

if TYPE_CHECKING:
    from tests.dao.conftest import World


def test_runs_are_found_by_repository_and_by_flow_run(any_world: World) -> None:
    """The newest first."""
    root = any_world.store.ids.new("root")
    with any_world.store.begin() as dao:
        ids = [dao.runs.create(repo_root=root, prefect_flow_run_id=f"{root}-{n % 2}").id for n in range(3)]
        assert [run.id for run in dao.runs.latest(2, repo_root=root)] == [ids[2], ids[1]]
        assert dao.runs.latest(1)[0].id == ids[2]
        found = dao.runs.by_flow_run(f"{root}-0")
        assert found is not None
        assert found.id == ids[2]
        assert dao.runs.by_flow_run("nobody's") is None


def test_runs_are_found_by_what_their_metadata_holds(any_world: World) -> None:
    """A list, an object or a word under that key; the newest first."""
    key = any_world.store.ids.new("key")
    with any_world.store.begin() as dao:
        ids = [dao.runs.create(repo_root="/r").id for _ in range(4)]
        for run_id, held in zip(ids, ([{"a": 1}], {}, "word"), strict=False):
            dao.runs.change(run_id, metadata={key: held})
        assert [run.id for run in dao.runs.holding(key)] == ids[2::-1]


def test_children_are_listed_in_the_order_they_were_made(any_world: World) -> None:
    """Of the run, of the workstream, of the task."""
    run = any_world.run()
    streams = [any_world.stream(run.id) for _ in range(2)]
    tasks = [any_world.task(streams[0].id, prefect_task_run_id=f"{run.id}-{n}") for n in range(3)]
    entries = [any_world.entry(tasks[0].id) for _ in range(2)]
    gates = [any_world.gate(run.id, task_id=tasks[0].id) for _ in range(2)]
    workers = [any_world.worker(run.id) for _ in range(2)]
    with any_world.store.begin(read_only=True) as dao:
        assert [row.id for row in dao.workstreams.of_run(run.id)] == [row.id for row in streams]
        assert [row.id for row in dao.tasks.of_run(run.id)] == [row.id for row in tasks]
        assert [row.id for row in dao.tasks.of_workstream(streams[0].id)] == [row.id for row in tasks]
        assert dao.tasks.of_workstream(streams[1].id) == []
        for found in (dao.ledger.of_run(run.id), dao.ledger.of_task(tasks[0].id)):
            assert [row.id for row in found] == [row.id for row in entries]
        assert [row.id for row in dao.ledger.of_workstream(streams[0].id)] == [row.id for row in entries]
        assert [row.id for row in dao.patches.of_task(tasks[0].id)] == [row.patch_id for row in entries]
        for gates_found in (dao.test_gates.of_run(run.id), dao.test_gates.of_task(tasks[0].id)):
            assert [row.id for row in gates_found] == [row.id for row in gates]
        assert [row.id for row in dao.workers.of_run(run.id)] == [row.id for row in workers]
        found_task = dao.tasks.by_task_run(f"{run.id}-1")
        assert found_task is not None
        assert found_task.id == tasks[1].id
        assert dao.tasks.by_task_run("nobody's") is None


def test_rows_belong_to_no_session(any_world: World) -> None:
    """Nothing that is done to a row reaches the database, neither one that was made nor one that was read."""
    run = any_world.run()
    with any_world.store.begin() as dao:
        rows = [dao.runs.create(repo_root="/r"), dao.runs.get(run.id), *dao.runs.latest(1)]
        for row in rows:
            assert object_session(row) is None
            row.repo_root = "/elsewhere"
    with any_world.store.begin(read_only=True) as dao:
        assert dao.runs.get(run.id).repo_root == "/repository"


def test_a_diff_is_stored_byte_for_byte(any_world: World) -> None:
    """Also when it is no text; its hash and its entry follow from it."""
    run = any_world.run()
    task = any_world.task(any_world.stream(run.id).id)
    diff = b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-\xff\x00\r\n+caf\xe9\n"
    with any_world.store.begin() as dao:
        patch = dao.patches.create(task_id=task.id, content=diff, files=["x"], lines_added=1, base_commit="c0ffee")
        text = dao.patches.create(task_id=task.id, content="naïve", metadata={"split": 1})
        entry = dao.ledger.create(patch_id=patch.id)
        with pytest.raises(RowRefused, match=r"(?i)foreign key"):
            dao.patches.create(task_id="task_x", content=b"")
        dao.desk.failure = None
        dao.desk.driver.rollback()
    assert (patch.content, patch.sha256) == (diff, sha256(diff).hexdigest())
    assert (text.content, text.info) == ("naïve".encode(), {"split": 1})
    assert (entry.task_id, entry.workstream_id, entry.run_id) == (task.id, task.workstream_id, run.id)


def test_gates_may_wait_for_gates(any_world: World) -> None:
    """And are never their own condition."""
    run = any_world.run()
    lint, unit = any_world.gate(run.id), any_world.gate(run.id)
    with any_world.store.begin() as dao:
        dao.test_gates.depends(unit.id, on=[lint.id])
        assert [gate.id for gate in dao.test_gates.dependencies(unit.id)] == [lint.id]
    with pytest.raises(RowRefused, match="not_itself"), any_world.store.begin() as dao:
        dao.test_gates.depends(unit.id, on=[unit.id])


def test_a_phase_ends_once(any_world: World) -> None:
    """Its name is one of the six; what it made is kept together."""
    run = any_world.run()
    with any_world.store.begin() as dao:
        with pytest.raises(UnknownName, match="unknown phase 'lunch'"):
            dao.phases.create(run_id=run.id, name="lunch")
        phase = dao.phases.create(run_id=run.id, name="planning", artifacts={"a": 1})
        dao.phases.finish(phase.id, "completed", {"b": 2})
        with pytest.raises(InvalidValue, match="no second one"):
            dao.phases.finish(phase.id, "failed")
        after = dao.phases.get(phase.id)
    assert (after.outcome, after.artifacts, after.version) == ("completed", {"a": 1, "b": 2}, 2)


def test_records_of_tools_add_up(any_world: World) -> None:
    """Calls, successes, milliseconds."""
    tool = any_world.store.ids.new("tool")
    with any_world.store.begin() as dao:
        assert dao.tool_metrics.find(tool) is None
        dao.tool_metrics.record(tool, success=True, latency_ms=10)
        dao.tool_metrics.record(tool, success=False, latency_ms=2.5)
        found = dao.tool_metrics.get(tool)
        assert tool in [row.tool_id for row in dao.tool_metrics.all()]
        assert [dao.tool_metrics.next_index(tool) for _ in range(3)] == [0, 1, 2]
    assert (found.call_count, found.success_count, found.total_latency_ms) == (2, 1, 12.5)


def test_each_tool_has_one_breaker(any_world: World) -> None:
    """A second one is refused."""
    tool = any_world.store.ids.new("tool")
    with any_world.store.begin() as dao:
        assert dao.circuit_breakers.for_tool(tool) is None
        breaker = dao.circuit_breakers.create(tool_id=tool, failure_threshold=2)
        dao.circuit_breakers.change(breaker.id, failure_count=1, last_failure_at=any_world.store.clock())
        found = dao.circuit_breakers.for_tool(tool)
        assert tool in [row.tool_id for row in dao.circuit_breakers.all()]
    assert found is not None
    assert (found.failure_count, found.failure_threshold) == (1, 2)
    with pytest.raises(RowRefused, match=r"(?i)unique"), any_world.store.begin() as dao:
        dao.circuit_breakers.create(tool_id=tool)


def test_a_beat_is_the_present_moment(any_world: World) -> None:
    """Of a worker and of an engine worker."""
    worker = any_world.worker(None)
    with any_world.store.begin() as dao:
        process = dao.uet_workers.create(worker_type="process")
        dao.workers.beat(worker.id)
        dao.uet_workers.beat(process.id)
        assert dao.workers.get(worker.id).last_heartbeat > worker.last_heartbeat
        assert dao.uet_workers.get(process.id).last_heartbeat > process.last_heartbeat


def test_no_parent_is_deleted_under_its_children(any_world: World) -> None:
    """Foreign keys RESTRICT, on both databases."""
    run = any_world.run()
    any_world.stream(run.id)
    with any_world.store.begin() as dao:
        error = dao.connection.dialect.loaded_dbapi.Error
        with pytest.raises(error, match=r"(?i)foreign key"):
            dao.desk.cursor.execute(f"DELETE FROM runs WHERE id = '{run.id}'")  # noqa: S608 - the point
        dao.desk.driver.rollback()


def test_engine_workers_move_as_their_machine_says(any_world: World) -> None:
    """The process of a tool is a row like any other."""
    run_id = any_world.run().id
    with any_world.store.begin() as dao:
        worker = dao.uet_workers.create(run_id=run_id, worker_type="process", pid=4711, host="here")
        for trigger in (UetWorkerTrigger.SPAWNED, UetWorkerTrigger.TASK_ASSIGNED, UetWorkerTrigger.CRASHED):
            dao.uet_workers.advance(worker.id, trigger)
        (after,) = dao.uet_workers.of_run(run_id)
    assert (after.state, after.version) == ("TERMINATED", 4)
    assert after.terminated_at is not None
