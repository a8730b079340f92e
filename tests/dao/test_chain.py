"""The hash chain: one a run, extended by each row, anchored in the chain `global`."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select

from prefect_acms.canonical.events import Notice
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.dao.chain import GENESIS, GLOBAL, HASHED, row_hash
from prefect_acms.dao.transitions import ChainHeadRow, TransitionRow

if TYPE_CHECKING:
    from tests.dao.conftest import World


def values(row: TransitionRow) -> dict[str, Any]:
    """A row by the names of its columns."""
    found = {name: getattr(row, name) for name in HASHED if name != "metadata"}
    return {**found, "metadata": row.info}


def head_of(world: World, chain: str) -> tuple[int, str]:
    """Where a chain ends."""
    with world.store.begin(read_only=True) as dao:
        found = dao.session.execute(
            select(ChainHeadRow.seq, ChainHeadRow.hash).where(ChainHeadRow.run_id == chain)
        ).one()
        return found.seq, found.hash


def anchors(world: World, run_id: str) -> list[TransitionRow]:
    """What the chain `global` tells of a run's chain."""
    with world.store.begin(read_only=True) as dao:
        return dao.transitions.of_entity("chain", run_id)


def test_each_row_carries_the_hash_of_the_one_before(any_world: World) -> None:
    """From sixty-four zeros on, without a gap, to the head; computed here from what is stored."""
    run = any_world.run(metadata={"ü": [1, 2.5, None, {"b": 1, "a": 2}]})
    stream = any_world.stream(run.id)
    with any_world.store.begin() as dao:
        dao.runs.note(
            run.id, Notice.DRIFT_DETECTED, reason="naïve “quotes” \\ \n 🐍", event_metadata={"m": {2: "x", 10: "y"}}
        )
        dao.workstreams.advance(stream.id, "disabled")
        dao.runs.advance(run.id, RunTrigger.ALL_WORKSTREAMS_COMPLETE, operator="ada")
    before = GENESIS
    for seq, row in enumerate(any_world.trail(run.id), start=1):
        plain = json.dumps(values(row), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert (row.chain_seq, row.prev_hash) == (seq, before)
        assert row.hash == hashlib.sha256((before + plain).encode()).hexdigest() == row_hash(before, values(row))
        before = row.hash
    assert head_of(any_world, run.id) == (6, before)


def test_the_hash_covers_every_column_but_the_number_and_the_hashes(world: World) -> None:
    """A column that is added to the trail is covered too, or this test tells."""
    columns = {column.name for column in TransitionRow.__table__.columns}
    assert columns - set(HASHED) == {"transition_id", "prev_hash", "hash"}
    assert list(HASHED) == sorted(HASHED)
    assert world.store.trail_statements.append.names == tuple(
        column.name for column in TransitionRow.__table__.columns if column.name != "transition_id"
    )


def test_a_chain_is_anchored_when_it_opens_and_when_its_run_has_ended(any_world: World) -> None:
    """A run that is dropped or cut off later is missed in `global`."""
    run = any_world.run()
    first = any_world.trail(run.id)[0]
    (opened,) = anchors(any_world, run.id)
    assert (opened.run_id, opened.trigger, opened.from_state, opened.to_state) == (None, "opened", None, "anchored")
    assert opened.info == {"seq": 1, "hash": first.hash}
    with any_world.store.begin() as dao:
        dao.runs.advance(run.id, RunTrigger.USER_CANCELLED)
    with any_world.store.begin() as dao:
        dao.runs.note(run.id, Notice.POST_SUCCESS_ROLLBACK, reason="too late")
    trail = any_world.trail(run.id)
    ended, noted = anchors(any_world, run.id)[1:]
    assert ended.info == {"seq": 3, "hash": trail[2].hash}
    assert noted.info == {"seq": 4, "hash": trail[3].hash}
    assert (noted.trigger, noted.from_state, noted.to_state) == ("anchored", "anchored", "anchored")
    assert head_of(any_world, GLOBAL)[0] >= noted.chain_seq


def test_what_belongs_to_no_run_is_in_the_chain_global(any_world: World) -> None:
    """Breakers, and workers that serve any run."""
    store = any_world.store
    worker = any_world.worker(None)
    with store.begin() as dao:
        breaker = dao.circuit_breakers.create(tool_id=store.ids.new("tool"))
        told = [*dao.transitions.of_entity("worker", worker.id)]
        told += dao.transitions.of_entity("circuit_breaker", breaker.id)
        highest = dao.session.scalar(select(func.max(TransitionRow.chain_seq)).where(TransitionRow.run_id.is_(None)))
    assert [row.run_id for row in told] == [None] * 3
    assert head_of(any_world, GLOBAL) == (highest, told[-1].hash)


def test_events_say_in_which_phase_they_happened(any_world: World) -> None:
    """The phase that is going on is the context of every event of the run; so is the workstream."""
    run = any_world.run()
    with any_world.store.begin() as dao:
        phase = dao.phases.create(run_id=run.id, name="discovery")
        during = dao.runs.note(run.id, Notice.DRIFT_DETECTED, reason="?")
    stream = any_world.stream(run.id)
    with any_world.store.begin() as dao:
        dao.phases.finish(phase.id, "completed", {"gaps": 3})
        after = dao.workstreams.advance(stream.id, "disabled")
        phases = dao.phases.of_run(run.id)
    assert (during.context.phase, during.context.workstream_id) == ("discovery", None)
    assert (after.context.phase, after.context.workstream_id) == (None, stream.id)
    assert [(row.phase, row.workstream_id) for row in any_world.trail(run.id)[2:]] == [
        ("discovery", None),
        ("discovery", stream.id),
        (None, stream.id),
    ]
    assert [(p.name, p.ordinal, p.outcome, p.artifacts) for p in phases] == [("discovery", 1, "completed", {"gaps": 3})]


def test_a_unit_sees_its_own_trail(world: World) -> None:
    """Rows that are not written yet are written before they are read."""
    with world.store.begin() as dao:
        run = dao.runs.create(repo_root="/r")
        assert [row.trigger for row in dao.transitions.of_run(run.id)] == ["created"]
        dao.runs.advance(run.id, RunTrigger.RUN_STARTED)
        assert [row.trigger for row in dao.transitions.of_run(run.id)] == ["created", "run_started"]
    assert head_of(world, run.id)[0] == 2


@pytest.mark.parametrize("count", [1, 2, 250])
def test_long_and_short_units_chain_alike(world: World, count: int) -> None:
    """One row a commit, or hundreds: the chain is the same kind of chain."""
    run = world.run()
    ids = [world.gap(run.id, fingerprint=str(n)).id for n in range(2)] if count < 250 else []
    with world.store.begin() as dao:
        found: dict[str, Any] = {"source": "s", "rule_id": "r", "title": "t"}
        ids += [dao.gaps.create(run_id=run.id, fingerprint=str(n), **found).id for n in range(count)]
        dao.gaps.advance_many(ids, "filtered", deferred_reason="later")
    trail = world.trail(run.id)
    assert [row.chain_seq for row in trail] == list(range(1, 3 + 2 * len(ids)))
    assert all(row.prev_hash == before.hash for before, row in pairwise(trail))
    assert head_of(world, run.id) == (trail[-1].chain_seq, trail[-1].hash)
