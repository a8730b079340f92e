"""Who waits for whom, which task took whose place, and what has not ended: the same on each database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_acms.canonical.task import TaskTrigger
from prefect_acms.dao.stuck import open_processes, open_workers, open_workstreams, running_tasks

if TYPE_CHECKING:
    from tests.dao.conftest import World


def test_a_new_task_takes_the_place_of_an_old_one(any_world: World) -> None:
    """What still waits is pointed at it, what has ended keeps what it was built on."""
    stream = any_world.stream(any_world.run().id)
    before, old, waiting, ended, new = [any_world.task(stream.id).id for _ in range(5)]
    again = any_world.task(stream.id, retry_of=old).id
    with any_world.store.begin() as dao:
        dao.tasks.depends(old, on=[before])
        for task in (waiting, ended):
            dao.tasks.depends(task, on=[old])
        dao.tasks.advance(ended, TaskTrigger.USER_CANCELLED)
        dao.task_links.take_place(again, old)
        dao.tasks.depends(new, on=[ended])
    with any_world.store.begin(read_only=True) as dao:
        assert [row.id for row in dao.tasks.dependencies(again)] == [before]
        assert [row.id for row in dao.task_links.dependents(again)] == [waiting]
        assert [row.id for row in dao.task_links.dependents(old)] == [ended]
        replacement = dao.task_links.replacement(old)
        assert replacement is not None
        assert replacement.id == again
        assert dao.task_links.replacement(again) is None
        standing = {row.id for row in dao.tasks.standing(stream.id)}
    assert standing == {before, waiting, ended, new, again}


def test_what_has_not_ended_is_found(any_world: World) -> None:
    """With the last change of a workstream or of a task of it, whichever came later."""
    run = any_world.run()
    stream = any_world.stream(run.id)
    task, worker = any_world.task(stream.id, queued=True), any_world.worker(run.id)
    with any_world.store.begin() as dao:
        process = dao.uet_workers.create(run_id=run.id, worker_type="ruff")
        dao.tasks.claim(task.id, worker.id)
    with any_world.store.begin(read_only=True) as dao:
        last = next(moment for row, moment in open_workstreams(dao) if row.id == stream.id)
        assert last == dao.transitions.of_entity("task", task.id)[-1].transitioned_at
        assert task.id in {row.id for row in running_tasks(dao)}
        assert worker.id in {row.id for row in open_workers(dao)}
        assert process.id in {row.id for row in open_processes(dao)}
