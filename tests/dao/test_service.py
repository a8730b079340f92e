"""The transition service, on SQLite and on PostgreSQL: one way to change a state, all or nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from prefect_acms.canonical.errors import (
    GuardRefused,
    InvalidTransition,
    InvalidValue,
    LostRace,
    MissingColumn,
    NotFound,
    OperatorRequired,
    RowRefused,
    UnknownName,
)
from prefect_acms.canonical.events import Notice
from prefect_acms.canonical.gap import GapTrigger
from prefect_acms.canonical.machine import Severity
from prefect_acms.canonical.patch import PatchTrigger
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.canonical.task import TaskTrigger
from prefect_acms.canonical.workstream import WorkstreamTrigger
from prefect_acms.dao.schema import StateRow
from prefect_acms.dao.store import Store

if TYPE_CHECKING:
    from tests.dao.conftest import World


@pytest.fixture
def run_id(any_world: World) -> str:
    """A running run of this test."""
    return any_world.run().id


@pytest.fixture
def stream_id(any_world: World, run_id: str) -> str:
    """A workstream of the run."""
    return any_world.stream(run_id).id


def columns(row: StateRow) -> dict[str, Any]:
    """All that a row holds."""
    return {attribute.key: getattr(row, attribute.key) for attribute in row.__mapper__.column_attrs}


def test_a_row_is_created_in_the_first_state_of_its_machine(any_world: World, run_id: str) -> None:
    """Creation is a transition too: from nothing, by the trigger `created`."""
    with any_world.store.begin() as dao:
        stream = dao.workstreams.create(run_id=run_id, name="style", reason="found together", metadata={"key": "ws-01"})
        stored = dao.workstreams.get(stream.id)
        told = dao.transitions.of_entity("workstream", stream.id)
    assert (stored.state, stored.version, stored.info) == ("planned", 1, {"key": "ws-01"})
    assert stored.created_at == stored.updated_at == told[0].transitioned_at
    assert [(t.from_state, t.to_state, t.trigger, t.reason) for t in told] == [
        (None, "planned", "created", "found together")
    ]


def test_what_creation_gives_back_is_what_is_stored(any_world: World, run_id: str, stream_id: str) -> None:
    """The row of `create` equals the row that is read: types, defaults and all."""
    given: dict[str, Any] = {
        "required_capabilities": ("python",),
        "is_critical": True,
        "file_scope": ["a.py"],
        "timeout_sec": 5,
    }
    with any_world.store.begin() as dao:
        made = dao.tasks.create(workstream_id=stream_id, kind="test", metadata={"n": 1.5, "nested": {"a": []}}, **given)
        assert columns(made) == columns(dao.tasks.get(made.id))
    assert made.run_id == run_id
    assert made.required_capabilities == ["python"]


def test_a_transition_writes_the_columns_that_its_edge_sets(any_world: World, run_id: str) -> None:
    """State, version, time stamps and counters change in the one UPDATE."""
    with any_world.store.begin() as dao:
        run = dao.runs.create(repo_root="/r")
        event = dao.runs.advance(run.id, RunTrigger.RUN_STARTED)
        after = dao.runs.get(run.id)
    assert (after.state, after.version, after.started_at) == ("running", 2, event.timestamp)
    assert after.updated_at == event.timestamp
    assert (event.from_state, event.to_state, event.severity) == ("pending", "running", Severity.INFO)
    assert event.event_type == "run_state_transition"
    assert event.context.run_id == run.id
    assert run_id != run.id


def test_counters_count_and_cleared_columns_are_null(any_world: World, run_id: str, stream_id: str) -> None:
    """`attempt` counts up when a task starts, `worker_id` is gone when it ends, `retry_count` counts retries."""
    task, worker = any_world.task(stream_id, queued=True), any_world.worker(run_id)
    with any_world.store.begin() as dao:
        dao.tasks.claim(task.id, worker.id)
        running = dao.tasks.get(task.id)
        later = datetime(2099, 1, 1, tzinfo=UTC)
        failed: dict[str, Any] = {"last_error": "exit 3", "next_attempt_at": later, "facts": {"retryable": True}}
        dao.tasks.advance(task.id, TaskTrigger.EXECUTION_FAILED, **failed)
        retrying = dao.tasks.get(task.id)
    assert (running.attempt, running.worker_id, running.retry_count) == (1, worker.id, 0)
    assert (retrying.state, retrying.attempt, retrying.worker_id, retrying.retry_count) == ("retrying", 1, None, 1)
    assert retrying.next_attempt_at == "2099-01-01T00:00:00.000000Z"


def test_a_pair_that_is_not_in_the_table_is_refused(any_world: World, run_id: str) -> None:
    """The refusal names what would be legal."""
    with any_world.store.begin() as dao, pytest.raises(InvalidTransition, match=r"legal from here: .*user_cancelled"):
        dao.runs.advance(run_id, RunTrigger.RUN_STARTED)


def test_a_terminal_state_has_no_exit(any_world: World, run_id: str) -> None:
    """Neither an operator nor anybody else leaves it."""
    with any_world.store.begin() as dao:
        dao.runs.advance(run_id, RunTrigger.USER_CANCELLED)
    with any_world.store.begin() as dao, pytest.raises(InvalidTransition, match="nothing"):
        dao.runs.advance(run_id, RunTrigger.USER_CANCELLED, operator="root")


def test_a_guard_that_says_no_changes_nothing(any_world: World, run_id: str, stream_id: str) -> None:
    """A run is not cancelled before its children; the row is the same, and the trail too."""
    before = columns_of(any_world.store, run_id)
    trail = len(any_world.trail(run_id))
    with any_world.store.begin() as dao, pytest.raises(GuardRefused, match="children are cancelled first"):
        dao.runs.advance(run_id, RunTrigger.USER_CANCELLED)
    assert columns_of(any_world.store, run_id) == before
    assert len(any_world.trail(run_id)) == trail
    with any_world.store.begin() as dao:
        dao.workstreams.advance(stream_id, WorkstreamTrigger.RUN_ENDED)
        dao.runs.advance(run_id, RunTrigger.USER_CANCELLED)


def columns_of(store: Store, run_id: str) -> dict[str, Any]:
    """All that the row of a run holds."""
    with store.begin(read_only=True) as dao:
        return columns(dao.runs.get(run_id))


def test_a_refusal_leaves_the_unit_of_work_usable(any_world: World, run_id: str) -> None:
    """What was refused wrote nothing, so the rest of the unit is committed."""
    with any_world.store.begin() as dao:
        with pytest.raises(InvalidTransition):
            dao.runs.advance(run_id, RunTrigger.RUN_STARTED)
        dao.runs.change(run_id, base_commit="c0ffee")
    assert columns_of(any_world.store, run_id)["base_commit"] == "c0ffee"


@pytest.mark.parametrize("given", [{}, {"error": None}])
def test_a_column_that_the_edge_sets_must_be_handed_in(any_world: World, run_id: str, given: dict[str, Any]) -> None:
    """No value is a refusal that names the column; NULL is no value."""
    with any_world.store.begin() as dao, pytest.raises(MissingColumn, match="without a value for error"):
        dao.runs.advance(run_id, RunTrigger.RUN_CRASHED, **given)


def test_a_column_that_the_edge_fills_is_not_handed_in(any_world: World, run_id: str) -> None:
    """Nobody dates a transition back."""
    with any_world.store.begin() as dao, pytest.raises(InvalidValue, match=r"run\.completed_at"):
        dao.runs.advance(run_id, RunTrigger.USER_CANCELLED, completed_at="2001-01-01T00:00:00.000000Z")


def test_an_unknown_column_is_named_with_the_known_ones(any_world: World, run_id: str) -> None:
    """Bad input is one clear sentence."""
    with any_world.store.begin() as dao:
        with pytest.raises(UnknownName, match=r"unknown column of runs 'colour': .*base_commit"):
            dao.runs.advance(run_id, RunTrigger.USER_CANCELLED, colour="red")
        with pytest.raises(UnknownName, match="colour"):
            dao.runs.change(run_id, colour="red")
        with pytest.raises(UnknownName, match="colour"):
            dao.runs.create(repo_root="/r", colour="red")
        with pytest.raises(UnknownName, match="unknown run trigger 'jump'"):
            dao.runs.advance(run_id, "jump")


def test_an_edge_for_operators_asks_who(any_world: World, stream_id: str) -> None:
    """A quarantined patch is discarded by a named person only."""
    entry = any_world.entry(any_world.task(stream_id).id)
    with any_world.store.begin() as dao:
        dao.ledger.advance(entry.id, PatchTrigger.VALIDATION_FAILED, quarantine_reason="it does not parse")
        with pytest.raises(OperatorRequired):
            dao.ledger.advance(entry.id, PatchTrigger.DISCARDED)
        event = dao.ledger.advance(entry.id, PatchTrigger.DISCARDED, operator="ada", reason="not needed")
    assert (event.operator, event.reason, event.to_state) == ("ada", "not needed", "dropped")


def test_a_row_that_moved_on_is_a_lost_race(any_world: World, run_id: str) -> None:
    """Who decided on an old version is told the version seen and the version found."""
    gap = any_world.gap(run_id)
    with any_world.store.begin() as dao:
        dao.gaps.change(gap.id, start_line=3)
        with pytest.raises(LostRace, match="version 1 was read, 2 was found"):
            dao.gaps.advance(gap.id, GapTrigger.FILTERED, deferred_reason="later", version=gap.version)
        dao.gaps.advance(gap.id, GapTrigger.FILTERED, deferred_reason="later", version=2)


@pytest.mark.parametrize("count", [1, 3])
def test_a_row_that_changes_between_the_read_and_the_write_is_a_lost_race(
    any_world: World, run_id: str, count: int
) -> None:
    """The UPDATE is guarded by what was read; one that finds another version stops the whole unit."""
    ids = [any_world.gap(run_id, fingerprint=str(n)).id for n in range(count)]

    def unit() -> None:
        with any_world.store.begin() as dao:
            cause = dao.gaps._cause(GapTrigger.FILTERED, columns={"deferred_reason": "later"})
            rows = dao.gaps._read(ids, cause)
            steps = [dao.gaps._decide(rows[id_], cause) for id_ in ids]
            dao.gaps.change(ids[-1], start_line=3)
            with pytest.raises(
                LostRace, match=rf"gap {ids[-1]} was changed meanwhile: version 1 was read, 2 was found"
            ):
                dao.gaps._write(steps)

    with pytest.raises(LostRace):
        unit()
    with any_world.store.begin(read_only=True) as dao:
        assert {(gap.state, gap.version) for gap in dao.gaps.of_run(run_id)} == {("discovered", 1)}


def test_nothing_is_moved_that_is_not_there(any_world: World) -> None:
    """An unknown id is NotFound, for every way to touch it."""
    with any_world.store.begin() as dao:
        assert dao.gaps.find("gap_x") is None
        for touch in (
            lambda: dao.gaps.get("gap_x"),
            lambda: dao.gaps.advance("gap_x", GapTrigger.CLUSTERED),
            lambda: dao.gaps.advance_many(["gap_x"], GapTrigger.CLUSTERED),
            lambda: dao.gaps.change("gap_x", start_line=1),
            lambda: dao.gaps.note("gap_x", Notice.DRIFT_DETECTED, reason="?"),
        ):
            with pytest.raises(NotFound, match="there is no gap 'gap_x'"):
                touch()


def test_many_move_in_the_order_given(any_world: World, run_id: str, stream_id: str) -> None:
    """`advance_many` gives the events in that order, and the chain has them so."""
    ids = [any_world.gap(run_id, fingerprint=str(n)).id for n in range(13)][::-1]
    with any_world.store.begin() as dao:
        events = dao.gaps.advance_many(ids, GapTrigger.CLUSTERED, workstream_id=stream_id, reason="same rule")
        told = dao.transitions.of_run(run_id)[-13:]
        rows = dao.gaps.of_workstream(stream_id)
    assert [event.entity_id for event in events] == ids == [row.entity_id for row in told]
    assert {(row.state, row.version) for row in rows} == {("clustered", 2)}
    assert {event.context.workstream_id for event in events} == {stream_id}


def test_if_one_of_many_is_refused_none_moves(any_world: World, run_id: str, stream_id: str) -> None:
    """Every one is decided before the first is written."""
    ids = [any_world.gap(run_id, fingerprint=str(n)).id for n in range(3)]
    with any_world.store.begin() as dao:
        dao.gaps.advance(ids[2], GapTrigger.FILTERED, deferred_reason="not now")
        with pytest.raises(InvalidTransition, match=ids[2]):
            dao.gaps.advance_many(ids, GapTrigger.CLUSTERED, workstream_id=stream_id)
        with pytest.raises(InvalidValue, match="each id once"):
            dao.gaps.advance_many([ids[0], ids[0]], GapTrigger.CLUSTERED, workstream_id=stream_id)
        assert dao.gaps.advance_many([], GapTrigger.CLUSTERED) == []
    with any_world.store.begin(read_only=True) as dao:
        assert [gap.state for gap in dao.gaps.of_run(run_id)] == ["discovered", "discovered", "deferred"]


def test_what_a_check_refuses_half_way_is_not_committed(any_world: World, run_id: str, stream_id: str) -> None:
    """Even when the error is caught: the unit fails at its end, and nothing of it stays."""
    ids = [any_world.gap(run_id, fingerprint=str(n)).id for n in range(2)]

    def unit() -> None:
        with any_world.store.begin() as dao:
            dao.gaps.change(ids[0], start_line=7)
            with pytest.raises(RowRefused, match="ck_gaps_start_line"):
                dao.gaps.advance_many(ids, GapTrigger.CLUSTERED, workstream_id=stream_id, start_line=0)

    with pytest.raises(RowRefused, match="ck_gaps_start_line"):
        unit()
    with any_world.store.begin(read_only=True) as dao:
        assert [(gap.state, gap.start_line) for gap in dao.gaps.of_run(run_id)] == [("discovered", None)] * 2


def test_either_spelling_of_a_target_is_understood(any_world: World, stream_id: str) -> None:
    """Input accepts `canceled`, stored is `cancelled`; an unknown name lists the known ones."""
    task = any_world.task(stream_id)
    with any_world.store.begin() as dao:
        with pytest.raises(UnknownName, match="unknown task state 'gone'"):
            dao.tasks.advance(task.id, TaskTrigger.USER_CANCELLED, to="gone")
        dao.tasks.advance(task.id, TaskTrigger.USER_CANCELLED, to="canceled")
        assert dao.tasks.get(task.id).state == "cancelled"


def test_change_merges_metadata_and_counts_the_version(any_world: World, run_id: str) -> None:
    """Keys that are not named stay; the state stays; nothing is told, since no state changed."""
    gap = any_world.gap(run_id, metadata={"a": 1, "b": {"c": 2}})
    before = len(any_world.trail(run_id))
    with any_world.store.begin() as dao:
        dao.gaps.change(gap.id, metadata={"b": 3}, file_paths=("x.py",), end_line=4)
        after = dao.gaps.get(gap.id)
    assert (after.info, after.file_paths, after.end_line) == ({"a": 1, "b": 3}, ["x.py"], 4)
    assert (after.version, after.state) == (2, "discovered")
    assert len(any_world.trail(run_id)) == before


def test_a_transition_may_write_other_columns_and_metadata_too(any_world: World, run_id: str) -> None:
    """What belongs together is written by the same UPDATE."""
    gap = any_world.gap(run_id, metadata={"a": 1})
    with any_world.store.begin() as dao:
        dao.gaps.advance(gap.id, GapTrigger.BASELINED, deferred_reason="known", severity="low", metadata={"z": None})
        after = dao.gaps.get(gap.id)
    assert (after.state, after.severity, after.info, after.version) == ("deferred", "low", {"a": 1, "z": None}, 2)


def test_a_notice_is_told_and_changes_no_row(any_world: World, run_id: str) -> None:
    """A notice stands in the trail beside the state that the row is in."""
    before = columns_of(any_world.store, run_id)
    with any_world.store.begin() as dao:
        event = dao.runs.note(
            run_id, Notice.GUARDRAIL_VIOLATION, reason="too many files", event_metadata={"files": 51}, operator="ada"
        )
    told = any_world.trail(run_id)[-1]
    assert (event.event_type, event.from_state, event.to_state) == ("guardrail_violation", "running", "running")
    assert (told.trigger, told.severity, told.info) == ("guardrail_violation", "warning", {"files": 51})
    assert columns_of(any_world.store, run_id) == before
