"""The trail by pages: each row once, on each database, whatever was committed in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_acms.canonical.events import Notice
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.dao.chain import GLOBAL
from prefect_acms.dao.store import Store, open_store
from prefect_acms.dao.trail_pages import (
    Step,
    TimedGate,
    ToolTask,
    chain_ends,
    mode_of,
    page_of,
    timed_gates,
    tool_tasks,
)

if TYPE_CHECKING:
    from tests.dao.conftest import World


def ends(store: Store) -> dict[str, int]:
    with store.begin(read_only=True) as dao:
        return chain_ends(dao)


def pages(store: Store, chain: str, after: int, until: int) -> list[Step]:
    with store.begin(read_only=True) as dao:
        return page_of(dao, chain, after, until)


def test_pages_add_up_to_the_chain(any_world: World) -> None:
    """Wherever they are cut, in the order of the chain; the metadata is there for an override and for nothing else."""
    run = any_world.run(mode="full")
    task = any_world.task(any_world.stream(run.id).id, tool_id="ruff-fix")
    with any_world.store.begin() as dao:
        dao.tasks.note(task.id, Notice.MANUAL_OVERRIDE, operator="ada", reason="so", event_metadata={"action": "x"})
    end = ends(any_world.store)[run.id]
    steps = pages(any_world.store, run.id, 0, end)
    trail = any_world.trail(run.id)
    assert [step[:6] for step in steps] == [
        (row.entity_type, row.entity_id, row.from_state, row.to_state, row.trigger, row.transitioned_at)
        for row in trail
    ]
    assert [step.metadata for step in steps if step.metadata is not None] == ['{"action":"x"}']
    for cut in range(end + 1):
        assert pages(any_world.store, run.id, 0, cut) + pages(any_world.store, run.id, cut, end) == steps


def test_anchors_are_no_steps(any_world: World) -> None:
    """The chain of what belongs to no run tells of each run's beginning; that is no change of a state."""
    any_world.run()
    any_world.worker()
    steps = pages(any_world.store, GLOBAL, 0, ends(any_world.store)[GLOBAL])
    told = {step.entity_type for step in steps}
    assert "worker" in told
    assert "run" not in told


def test_what_steps_were_about_is_found_by_id(any_world: World) -> None:
    """Mode, tool and gate; nothing is asked for nothing."""
    run = any_world.run(mode="plan_only")
    task = any_world.task(any_world.stream(run.id).id, tool_id="ruff-fix")
    gate = any_world.gate(run.id, "PASSED")
    with any_world.store.begin(read_only=True) as dao:
        assert (mode_of(dao, run.id), mode_of(dao, "run_none")) == ("plan_only", None)
        assert tool_tasks(dao, [task.id, "task_none"]) == {task.id: ToolTask("implementation", "ruff-fix")}
        assert timed_gates(dao, [gate.id]) == {gate.id: TimedGate("UNIT", 0.1)}
        assert (tool_tasks(dao, []), timed_gates(dao, [])) == ({}, {})


def test_a_lower_number_may_be_committed_later(postgresql_url: str) -> None:
    """Who follows row numbers would never see the first run's start; the end of its chain tells of it."""
    store = open_store(postgresql_url)
    other = open_store(postgresql_url)
    with store.begin() as dao:
        first, second = (dao.runs.create(repo_root="/repository").id for _ in range(2))
    with store.begin() as early:
        early.runs.advance(first, RunTrigger.RUN_STARTED)
        early.trail.flush()
        with other.begin() as late:
            late.runs.advance(second, RunTrigger.RUN_STARTED)
        assert (ends(other)[first], ends(other)[second]) == (1, 2)
    assert ends(other)[first] == 2
    with store.begin(read_only=True) as dao:
        numbers = {
            row.run_id: row.transition_id for row in dao.transitions.of_run(first) + dao.transitions.of_run(second)
        }
    assert numbers[first] < numbers[second]
    for each in (store, other):
        each.close()
