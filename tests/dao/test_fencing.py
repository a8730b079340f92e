"""Fencing: who no longer drives a run can't change anything in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from prefect_acms.canonical.errors import InvalidValue, NotFound, Superseded
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.canonical.workstream import WorkstreamTrigger
from prefect_acms.dao.store import Fence, UnitOfWork

if TYPE_CHECKING:
    from tests.dao.conftest import World


def test_each_driver_gets_a_higher_epoch(any_world: World) -> None:
    """Taking over counts one up, and changes no state."""
    run = any_world.run()
    with any_world.store.begin() as dao:
        assert [dao.runs.take_over(run.id) for _ in range(3)] == [1, 2, 3]
        after = dao.runs.get(run.id)
    assert (after.epoch, after.state, after.version) == (3, "running", run.version + 3)


def test_a_driver_with_an_older_epoch_is_refused_before_its_first_write(any_world: World) -> None:
    """Whatever it writes: a transition, a creation, a column, a table without a lifecycle."""
    run = any_world.run()
    stream = any_world.stream(run.id)
    store = any_world.store
    with store.begin() as dao:
        old = Fence(run.id, dao.runs.take_over(run.id))
    with store.begin() as dao:
        new = Fence(run.id, dao.runs.take_over(run.id))
    writes: tuple[Callable[[UnitOfWork], object], ...] = (
        lambda dao: dao.runs.advance(run.id, RunTrigger.RUN_CRASHED, error="?"),
        lambda dao: dao.workstreams.create(run_id=run.id, name="late"),
        lambda dao: dao.workstreams.change(stream.id, branch="late"),
        lambda dao: dao.phases.create(run_id=run.id, name="summary"),
        lambda dao: dao.tool_metrics.record("ruff", success=True, latency_ms=1.0),
        lambda dao: dao.runs.take_over(run.id),
    )
    for write in writes:
        with pytest.raises(Superseded, match="epoch 1 is held, the run is at 2"), store.begin(fence=old) as dao:
            write(dao)
    with store.begin(fence=old, read_only=True) as dao:
        assert len(dao.workstreams.of_run(run.id)) == 1
    with store.begin(fence=new) as dao:
        dao.workstreams.advance(stream.id, WorkstreamTrigger.DISABLED)


def test_one_transition_can_be_fenced_by_itself(any_world: World) -> None:
    """`epoch=` asks the run of the row that is moved."""
    run = any_world.run()
    streams = [any_world.stream(run.id).id for _ in range(2)]
    store = any_world.store
    with store.begin() as dao:
        epoch = dao.runs.take_over(run.id)
        with pytest.raises(Superseded):
            dao.workstreams.advance(streams[0], WorkstreamTrigger.DISABLED, epoch=epoch - 1)
        with pytest.raises(Superseded):
            dao.workstreams.advance_many(streams, WorkstreamTrigger.DISABLED, epoch=epoch + 1)
        dao.workstreams.advance_many(streams, WorkstreamTrigger.DISABLED, epoch=epoch)


def test_what_belongs_to_no_run_has_no_epoch(any_world: World) -> None:
    """A breaker can't be fenced by a run; a fence of a run that is not there lets nothing through."""
    store = any_world.store
    with store.begin() as dao:
        breaker = dao.circuit_breakers.create(tool_id=store.ids.new("tool"))
        with pytest.raises(InvalidValue, match="belongs to no run"):
            dao.circuit_breakers.advance(breaker.id, "failure_threshold_exceeded", epoch=1, failure_count=5)
    with pytest.raises(NotFound, match="run_x"), store.begin(fence=Fence("run_x", 1)) as dao:
        dao.runs.create(repo_root="/r")


def test_the_epoch_is_raised_by_taking_over_only(any_world: World) -> None:
    """Nobody writes it as a column."""
    run = any_world.run()
    with any_world.store.begin() as dao, pytest.raises(InvalidValue, match=r"run\.epoch"):
        dao.runs.change(run.id, epoch=99)
