"""Columns: who may write them, and what can be stored in them, alike on both databases."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from prefect_acms.canonical.errors import InvalidValue, RowRefused
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.canonical.task import TaskTrigger

if TYPE_CHECKING:
    from tests.dao.conftest import World

JSON_VALUES: tuple[Any, ...] = ("task_1", "null", "[1]", 7, 1.5, False, [], ["a", None], {"by": {}})


@pytest.fixture
def run_id(any_world: World) -> str:
    """A running run of this test."""
    return any_world.run().id


@pytest.fixture
def stream_id(any_world: World, run_id: str) -> str:
    """A workstream of the run."""
    return any_world.stream(run_id).id


@pytest.mark.parametrize("column", ["created_at", "updated_at"])
def test_the_columns_of_the_store_are_its_own(any_world: World, run_id: str, column: str) -> None:
    """Neither `change` nor `advance` nor `create` writes them."""
    wrong: dict[str, Any] = {column: "2001-01-01T00:00:00.000000Z"}
    with any_world.store.begin() as dao:
        with pytest.raises(InvalidValue, match="the store keeps it"):
            dao.runs.change(run_id, **wrong)
        with pytest.raises(InvalidValue, match="the store keeps it"):
            dao.runs.change(run_id, version=9)
        with pytest.raises(InvalidValue, match="the store keeps it"):
            dao.runs.advance(run_id, RunTrigger.USER_CANCELLED, **wrong)
        with pytest.raises(InvalidValue, match="the store keeps it"):
            dao.runs.create(repo_root="/r", **wrong)


def test_fixed_columns_stay_what_they_are(any_world: World, run_id: str, stream_id: str) -> None:
    """`is_critical` of a task never changes; the affinity of a worker only while it initializes."""
    task = any_world.task(stream_id)
    with any_world.store.begin() as dao:
        with pytest.raises(InvalidValue, match=r"task\.is_critical"):
            dao.tasks.change(task.id, is_critical=True)
        worker = dao.workers.create(worker_type="thread", run_id=run_id)
        dao.workers.change(worker.id, affinity="gpu")
        dao.workers.advance(worker.id, "registered")
        with pytest.raises(InvalidValue, match="fixed once the worker is idle"):
            dao.workers.change(worker.id, affinity="cpu")


def test_json_may_be_a_text_or_a_number(any_world: World, stream_id: str) -> None:
    """What is written as JSON is read as that JSON, on every database."""
    for value in JSON_VALUES:
        task = any_world.task(stream_id, required_capabilities=["python"])
        with any_world.store.begin() as dao:
            dao.tasks.change(task.id, metadata={"v": value})
            made = dao.tasks.create(workstream_id=stream_id, kind="test", metadata={"v": value})
            dao.tasks.advance(task.id, TaskTrigger.USER_CANCELLED, blocked_by=value)
            found = dao.tasks.get(task.id)
            listed = dao.tasks.of_workstream(stream_id)[-2]
        assert found.blocked_by == listed.blocked_by == value
        assert found.info == made.info == {"v": value}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("config", {"x": object()}),
        ("config", {"x": float("nan")}),
        ("metadata", {1: 2, "a": 3}),
        ("started_at", "soon"),
    ],
)
def test_what_can_not_be_stored_is_refused_before_anything_is_written(
    any_world: World, run_id: str, column: str, value: Any
) -> None:
    """The sentence names the field, the value and what was expected."""
    with any_world.store.begin() as dao, pytest.raises(InvalidValue, match=rf"runs\.{column} is .*: expected"):
        dao.runs.change(run_id, **{column: value})


def test_values_that_no_database_takes_are_refused(any_world: World, run_id: str) -> None:
    """A number too large, a list where a text belongs, a row of a run that is not there."""
    with any_world.store.begin() as dao, pytest.raises(InvalidValue, match=r"runs\.base_commit is \['a'\]"):
        dao.runs.change(run_id, base_commit=["a"])
    with pytest.raises(RowRefused), any_world.store.begin() as dao:
        dao.runs.change(run_id, prefect_run_count=2**70)
    with pytest.raises(RowRefused, match=r"(?i)foreign key"), any_world.store.begin() as dao:
        dao.workstreams.create(run_id="run_x", name="style")
    with pytest.raises(RowRefused, match=r"(?i)not.null"), any_world.store.begin() as dao:
        dao.runs.create()


def test_time_never_runs_backwards_for_a_row(any_world: World, run_id: str) -> None:
    """A clock that was set back can't make a row end before it began."""
    store, now = any_world.store, any_world.store.clock
    try:
        store.clock = lambda: now() - timedelta(days=1)
        with store.begin() as dao:
            event = dao.runs.advance(run_id, RunTrigger.USER_CANCELLED)
            run = dao.runs.get(run_id)
    finally:
        store.clock = now
    assert run.completed_at == event.timestamp
    assert run.created_at <= str(run.started_at) <= str(run.completed_at)


def test_texts_are_stored_so_that_every_database_can_hold_them(any_world: World, run_id: str) -> None:
    """NUL and broken surrogates of a tool's output don't stop a transition."""
    with any_world.store.begin() as dao:
        error = "exit 1\x00 \udcff naïve 🐍"
        dao.runs.advance(run_id, RunTrigger.RUN_CRASHED, error=error, reason=error, event_metadata={"tail": error})
        run = dao.runs.get(run_id)
    told = any_world.trail(run_id)[-1]
    assert run.error == told.reason == told.info["tail"] == "exit 1� ? naïve 🐍"
