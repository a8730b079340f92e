"""The audit: a trail that is as it was written verifies, and what was done to it behind our back is found and named."""

# ruff: noqa: S608 - the SQL of these tests is made of their own names

from __future__ import annotations

import io
import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from prefect_acms.canonical.errors import ChainBroken, NotFound
from prefect_acms.canonical.events import Notice
from prefect_acms.dao.audit import BadRow, export, verify
from prefect_acms.dao.chain import GENESIS, HASHED, row_hash
from prefect_acms.dao.ids import Ids
from prefect_acms.dao.store import Store, open_store

ENDED, LIVE = "run_ended", "run_live"
Tamper = Callable[[sqlite3.Connection], object]


def _ticking() -> Callable[[], datetime]:
    numbers = count()
    return lambda: datetime(2026, 1, 31, tzinfo=UTC) + timedelta(seconds=next(numbers))


def fill(store: Store) -> None:
    """Two runs, one of them ended, and things that belong to no run."""
    with store.begin() as dao:
        dao.workers.create(id="worker_1", worker_type="pool", capabilities=[])
        dao.circuit_breakers.create(id="breaker_1", tool_id="ruff")
    for run_id in (ENDED, LIVE):
        with store.begin() as dao:
            dao.runs.create(id=run_id, repo_root="/r", reason="because ünïcode", metadata={"a": {"ü": [1, 2.5, None]}})
        with store.begin() as dao:
            dao.runs.advance(run_id, "run_started", event_metadata={"who": "me"})
            dao.workstreams.create(id=f"ws_{run_id}", run_id=run_id, name="one")
            dao.tasks.create(id=f"task_{run_id}", run_id=run_id, workstream_id=f"ws_{run_id}", kind="analysis")
            dao.runs.note(run_id, Notice.BUDGET_EXCEEDED, reason="too much", operator="ada")
    with store.begin() as dao:
        dao.tasks.advance(f"task_{ENDED}", "run_ended")
        dao.workstreams.advance(f"ws_{ENDED}", "run_ended")
        dao.runs.advance(ENDED, "user_cancelled", operator="ada")
        dao.tasks.advance(f"task_{LIVE}", "scheduler_assigned")
        dao.workers.advance("worker_1", "registered")


def _open(url: str) -> Store:
    return open_store(url, clock=_ticking(), ids=Ids(seed=7), synchronous="NORMAL")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with something in it, to be copied."""
    path = tmp_path_factory.mktemp("audit") / "canonical.db"
    opened = _open(f"sqlite:///{path}")
    fill(opened)
    opened.close()
    return path


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Iterator[Store]:
    """A store with something in it."""
    shutil.copy(template, tmp_path / "canonical.db")
    opened = _open(f"sqlite:///{tmp_path / 'canonical.db'}")
    yield opened
    opened.close()


@pytest.fixture
def behind(store: Store) -> Iterator[sqlite3.Connection]:
    """The back door: the file itself, its shields taken down."""
    database = sqlite3.connect(store.url.partition("///")[2], isolation_level=None)
    database.execute("PRAGMA foreign_keys = OFF")
    database.execute("PRAGMA ignore_check_constraints = ON")
    for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        database.execute(f"DROP TRIGGER {name}")
    yield database
    database.close()


def found(store: Store, chain: str | None = None) -> BadRow:
    """What the audit names; it must name something."""
    verification = verify(store, chain)
    assert not verification.ok
    assert verification.first_bad is not None
    return verification.first_bad


def of(chain: str) -> str:
    """The rows of a chain, in SQL."""
    return "run_id IS NULL" if chain == "global" else f"run_id = '{chain}'"


def length(behind: sqlite3.Connection, chain: str) -> int:
    """How many rows the chain has."""
    return int(behind.execute(f"SELECT count(*) FROM state_transitions WHERE {of(chain)}").fetchone()[0])


def rehash(behind: sqlite3.Connection, chain: str) -> None:
    """What a careful forger does: every hash of the chain computed anew, and its head too."""
    behind.row_factory = sqlite3.Row
    before, seq = GENESIS, 0
    for row in behind.execute(f"SELECT * FROM state_transitions WHERE {of(chain)} ORDER BY chain_seq").fetchall():
        values = {name: row[name] for name in HASHED} | {"metadata": json.loads(row["metadata"])}
        place = (before, row_hash(before, values), row["transition_id"])
        behind.execute("UPDATE state_transitions SET prev_hash = ?, hash = ? WHERE transition_id = ?", place)
        before, seq = place[1], row["chain_seq"]
    behind.execute("UPDATE chain_heads SET seq = ?, hash = ? WHERE run_id = ?", (seq, before, chain))
    behind.row_factory = None


def renumber(behind: sqlite3.Connection) -> None:
    """Leave no hole in the row numbers, and none at their end."""
    ids = behind.execute("SELECT transition_id FROM state_transitions ORDER BY transition_id").fetchall()
    for number, (old,) in enumerate(ids, start=1):
        behind.execute("UPDATE state_transitions SET transition_id = ? WHERE transition_id = ?", (number, old))
    behind.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'state_transitions'", (len(ids),))


def test_a_trail_as_it_was_written_verifies(store: Store) -> None:
    """All chains together, and each by itself."""
    verification = verify(store)
    assert verification.first_bad is None
    assert verification.ok
    assert verification.chains == 3
    single = [verify(store, chain) for chain in ("global", ENDED, LIVE)]
    assert all(one.ok and one.chains == 1 for one in single)
    assert sum(one.rows for one in single) == verification.rows > 18


def test_an_empty_store_verifies(tmp_path: Path) -> None:
    """Nothing was written, so nothing is missing."""
    opened = _open(f"sqlite:///{tmp_path / 'canonical.db'}")
    assert verify(opened).ok
    assert verify(opened).rows == 0
    opened.close()


def test_a_chain_that_does_not_exist_is_told(store: Store) -> None:
    """A name that nothing speaks of is bad input, not a broken chain."""
    with pytest.raises(NotFound, match="there is no audit chain 'run_x'"):
        verify(store, "run_x")


def test_what_was_found_can_be_raised(store: Store, behind: sqlite3.Connection) -> None:
    """The bad row is an error with the place and the problem."""
    behind.execute(f"UPDATE state_transitions SET reason = 'x' WHERE {of(LIVE)} AND chain_seq = 2")
    bad = found(store)
    with pytest.raises(ChainBroken, match=rf"run_live is broken at position 2 \(row {bad.transition_id}\): its c"):
        raise bad.error()


EDITS: dict[str, Any] = {
    "event_id": "evt_x", "run_id": "zzz", "entity_type": "gap", "entity_id": "x", "from_state": "x", "to_state": "x",
    "trigger": "x", "reason": "x", "severity": "critical", "metadata": '{"x":1}', "operator": "eve",
    "workstream_id": "x", "phase": "x", "transitioned_at": "2026-01-31T09:05:00.000000Z", "chain_seq": 99,
    "prev_hash": "f" * 64, "hash": "f" * 64, "transition_id": 0,
}  # fmt: skip


def test_every_column_of_the_trail_is_tried(behind: sqlite3.Connection) -> None:
    """The table of edits below leaves no column out."""
    assert set(EDITS) == {column[1] for column in behind.execute("PRAGMA table_info(state_transitions)")}


@pytest.mark.parametrize("chain", ["global", ENDED, LIVE])
@pytest.mark.parametrize("column", EDITS)
def test_an_edited_column_is_found_and_its_row_named(
    column: str, chain: str, store: Store, behind: sqlite3.Connection
) -> None:
    """Whichever column of whichever chain."""
    where = f"{of(chain)} AND chain_seq = 3"
    behind.execute(f"UPDATE state_transitions SET {column} = ? WHERE {where}", (EDITS[column],))
    bad = found(store)
    assert (bad.chain, bad.seq) == (chain, 3)
    if column not in {"run_id", "transition_id"}:
        assert (found(store, chain).chain, found(store, chain).seq) == (chain, 3)


@pytest.mark.parametrize("stored", ['{"who": "me"}', '{"who":"x","who":"me"}', "{who}", "null", ""])
def test_metadata_of_another_spelling_is_found(stored: str, store: Store, behind: sqlite3.Connection) -> None:
    """Even where the value is the same: the text is what was written."""
    behind.execute(f"UPDATE state_transitions SET metadata = ? WHERE {of(LIVE)} AND chain_seq = 2", (stored,))
    bad = found(store)
    assert (bad.chain, bad.seq, bad.problem) == (LIVE, 2, "its metadata is not as it was written")


@pytest.mark.parametrize("chain", ["global", ENDED, LIVE])
@pytest.mark.parametrize("seq", [1, 2, 3])
def test_a_deleted_row_is_found_and_its_place_named(
    seq: int, chain: str, store: Store, behind: sqlite3.Connection
) -> None:
    """The first one, or one in the middle."""
    behind.execute(f"DELETE FROM state_transitions WHERE {of(chain)} AND chain_seq = {seq}")
    assert (found(store).chain, found(store).seq, found(store).transition_id) == (chain, seq, None)
    assert (found(store, chain).chain, found(store, chain).seq) == (chain, seq)


@pytest.mark.parametrize("chain", ["global", ENDED, LIVE])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_cut_off_tail_is_found(rows: int, chain: str, store: Store, behind: sqlite3.Connection) -> None:
    """The head of the chain tells that it was longer."""
    last = length(behind, chain) - rows
    behind.execute(f"DELETE FROM state_transitions WHERE {of(chain)} AND chain_seq > {last}")
    assert (found(store).chain, found(store).seq) == (chain, last + 1)


@pytest.mark.parametrize("chain", ["global", ENDED, LIVE])
@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("numbers_too", [False, True])
def test_a_cut_off_tail_with_a_mended_head_is_found(
    rows: int, chain: str, store: Store, behind: sqlite3.Connection, *, numbers_too: bool
) -> None:
    """The anchors tell it of a run that ended, the entities' own states of all others."""
    last = length(behind, chain) - rows
    behind.execute(f"DELETE FROM state_transitions WHERE {of(chain)} AND chain_seq > {last}")
    rehash(behind, chain)
    if numbers_too:
        renumber(behind)
    assert not verify(store).ok


def test_a_cut_off_last_notice_is_found_by_the_numbers(store: Store, behind: sqlite3.Connection) -> None:
    """A notice changes no state, so only the number of rows ever written tells that it was there."""
    with store.begin() as dao:
        dao.runs.note(LIVE, Notice.DRIFT_DETECTED, reason="drift")
    last = length(behind, LIVE)
    behind.execute(f"DELETE FROM state_transitions WHERE {of(LIVE)} AND chain_seq = {last}")
    rehash(behind, LIVE)
    assert found(store).problem.startswith("it is gone, ")


@pytest.mark.parametrize("chain", ["global", ENDED, LIVE])
@pytest.mark.parametrize("column", ["chain_seq", "transition_id"])
def test_two_rows_in_another_order_are_found(column: str, chain: str, store: Store, behind: sqlite3.Connection) -> None:
    """Whether their places in the chain are exchanged or their row numbers."""
    ids = [row[0] for row in behind.execute(
        f"SELECT {column} FROM state_transitions WHERE {of(chain)} AND chain_seq IN (2, 3) ORDER BY chain_seq"
    )]  # fmt: skip
    for old, new in ((ids[0], -1), (ids[1], ids[0]), (-1, ids[1])):
        behind.execute(f"UPDATE state_transitions SET {column} = {new} WHERE {of(chain)} AND {column} = {old}")
    assert (found(store).chain, found(store).seq in {2, 3}) == (chain, True)


def _without(chain: str, *tables: str) -> Tamper:
    def tamper(behind: sqlite3.Connection) -> None:
        behind.execute(f"DELETE FROM state_transitions WHERE {of(chain)}")
        for table in tables:
            key = "id" if table == "runs" else "run_id"
            behind.execute(f"DELETE FROM {table} WHERE {key} = '{chain}'")
        renumber(behind)

    return tamper


@pytest.mark.parametrize("chain", [ENDED, LIVE])
@pytest.mark.parametrize(
    "tables", [(), ("chain_heads",), ("chain_heads", "runs"), ("chain_heads", "runs", "workstreams", "tasks")]
)
def test_a_whole_run_that_was_dropped_is_found(
    tables: tuple[str, ...], chain: str, store: Store, behind: sqlite3.Connection
) -> None:
    """The chain `global` has anchored its beginning, so it is missed even when nothing of it is left."""
    _without(chain, *tables)(behind)
    assert (found(store).chain, found(store).seq, found(store).transition_id) == (chain, 1, None)
    assert found(store, chain).chain == chain


@pytest.mark.parametrize("tables", [(), ("chain_heads",)])
def test_a_dropped_global_chain_is_found(tables: tuple[str, ...], store: Store, behind: sqlite3.Connection) -> None:
    """The runs know that they should be anchored."""
    _without("global", *tables)(behind)
    assert "gone" in found(store).problem or "not anchored" in found(store).problem


def test_a_run_that_was_slipped_in_is_found(store: Store, behind: sqlite3.Connection) -> None:
    """A run without a trail, and a run with a trail that nobody anchored."""
    columns = ", ".join(c[1] for c in behind.execute("PRAGMA table_info(runs)") if c[1] != "id")
    behind.execute(f"INSERT INTO runs (id, {columns}) SELECT 'run_new', {columns} FROM runs WHERE id = '{LIVE}'")
    assert (found(store).chain, found(store).problem) == ("run_new", "the run has no trail")
    behind.execute(
        "INSERT INTO state_transitions SELECT 99, 'evt_n', 'run_new', 'run', 'run_new', NULL, 'running', 'created', "
        "NULL, 'info', '{}', NULL, NULL, NULL, transitioned_at, 1, '', '' FROM state_transitions LIMIT 1"
    )
    behind.execute("INSERT INTO chain_heads VALUES ('run_new', 1, '')")
    rehash(behind, "run_new")
    assert found(store).problem == "the beginning of this chain is not anchored in the chain global"


FORGED = {
    ENDED: "UPDATE state_transitions SET reason = 'no' WHERE run_id = 'run_ended' AND chain_seq = 3",
    "global": """UPDATE state_transitions SET metadata = '{"hash":"x","seq":1}' WHERE trigger = 'opened'""",
}


@pytest.mark.parametrize("chain", FORGED)
def test_a_forger_who_computes_all_hashes_anew_is_found(chain: str, store: Store, behind: sqlite3.Connection) -> None:
    """Of a run that has ended the last hash is anchored; of what is anchored, the hash is in the run's own chain."""
    behind.execute(FORGED[chain])
    rehash(behind, chain)
    assert found(store).problem == "its hash is not the one that the chain global has anchored"
    assert found(store, ENDED).chain == ENDED


def test_a_forged_history_must_fit_together(store: Store, behind: sqlite3.Connection) -> None:
    """Hashes may be computed anew, yet what an entity did must start where it was."""
    behind.execute(f"UPDATE state_transitions SET to_state = 'queued' WHERE {of(LIVE)} AND chain_seq = 3")
    rehash(behind, LIVE)
    assert "starts at pending, but" in found(store).problem or "it left workstream" in found(store).problem


STATES = {
    "runs": (LIVE, "pending"), "workstreams": (f"ws_{LIVE}", "skipped"), "tasks": (f"task_{LIVE}", "blocked"),
    "workers": ("worker_1", "initializing"), "circuit_breakers": ("breaker_1", "OPEN"),
}  # fmt: skip


@pytest.mark.parametrize("table", STATES)
def test_a_state_that_the_trail_does_not_know_is_found(table: str, store: Store, behind: sqlite3.Connection) -> None:
    """The state of every entity is the one that its last transition left it in."""
    entity, state = STATES[table]
    behind.execute(f"UPDATE {table} SET state = '{state}' WHERE id = '{entity}'")
    bad = found(store)
    assert re.fullmatch(rf"it left \w+ {entity} \w+, but it is {state}", bad.problem)
    assert bad.transition_id is not None


@pytest.mark.parametrize("table", STATES)
def test_an_entity_that_is_gone_is_found(table: str, store: Store, behind: sqlite3.Connection) -> None:
    """The trail knows what there was."""
    behind.execute(f"DELETE FROM {table} WHERE id = '{STATES[table][0]}'")
    assert found(store).problem.endswith(" is gone")


@pytest.mark.parametrize("table", STATES)
def test_a_version_below_the_number_of_changes_is_found(table: str, store: Store, behind: sqlite3.Connection) -> None:
    """Each transition raises the version, so it can't be lower than their number."""
    behind.execute(f"UPDATE {table} SET version = 0 WHERE id = '{STATES[table][0]}'")
    assert "is at version 0" in found(store).problem


def test_a_head_that_was_changed_is_found(store: Store, behind: sqlite3.Connection) -> None:
    """Shorter, or with another hash, or missing."""
    for tamper in (
        "UPDATE chain_heads SET hash = 'x' WHERE run_id = 'run_live'",
        "UPDATE chain_heads SET seq = 1 WHERE run_id = 'run_live'",
        "DELETE FROM chain_heads WHERE run_id = 'run_live'",
    ):
        behind.execute(tamper)
        assert found(store).chain == LIVE
        assert "head of the chain" in found(store).problem


def test_everything_is_exported_as_lines_of_events(store: Store) -> None:
    """A run in the order of its chain, everything in the order of storing; each line with context, place and hashes."""
    out = io.StringIO()
    assert export(store, LIVE, out) == len(out.getvalue().splitlines())
    lines = [json.loads(text) for text in out.getvalue().splitlines()]
    assert [event["chain_seq"] for event in lines] == list(range(1, len(lines) + 1))
    assert lines[0] | {"event_id": "", "hash": "", "timestamp": ""} == {
        "event_id": "", "timestamp": "", "event_type": "run_state_transition", "severity": "info",
        "entity_type": "run", "entity_id": LIVE, "from_state": None, "to_state": "pending", "trigger": "created",
        "reason": "because ünïcode", "metadata": {}, "operator": None,
        "context": {"run_id": LIVE, "workstream_id": None, "phase": None},
        "chain_seq": 1, "prev_hash": GENESIS, "hash": "",
    }  # fmt: skip
    assert lines[4]["event_type"] == "budget_exceeded"
    assert all(after["prev_hash"] == before["hash"] for before, after in pairwise(lines))
    every = io.StringIO()
    assert export(store, None, every) == verify(store).rows
    with pytest.raises(NotFound):
        export(store, "run_x", out)


def test_a_trail_on_postgresql_verifies_and_its_tampering_is_found(postgresql_url: str) -> None:
    """The same laws on a server."""
    import psycopg  # noqa: PLC0415 - an optional dependency

    opened = _open(postgresql_url)
    fill(opened)
    assert verify(opened).first_bad is None
    with psycopg.connect(postgresql_url) as server:
        server.execute("ALTER TABLE state_transitions DISABLE TRIGGER ALL")
        server.execute("UPDATE state_transitions SET reason = 'x' WHERE run_id = 'run_live' AND chain_seq = 3")
    assert (found(opened).chain, found(opened).seq) == (LIVE, 3)
    with psycopg.connect(postgresql_url) as server:
        server.execute("DELETE FROM state_transitions WHERE run_id = 'run_live' AND chain_seq >= 3")
    assert (found(opened).chain, found(opened).seq, found(opened).transition_id) == (LIVE, 3, None)
    opened.close()
