"""How fast one audited transition is, beside raw sqlite3 writing the same rows: `python benchmarks/transitions.py`.

The transition is a gap's `in_progress -> resolved`: a read, a guard over the row and a stated fact, a guarded UPDATE,
an audit row, the head of the chain. The raw part does the same with four hand-written statements and nothing else. It
is timed without hashing (the yardstick: nothing writes these rows faster) and with. Each part has a database of its
own with the same schema and rows; they take turns, and the median over the turns counts.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from prefect_acms.canonical.gap import GapTrigger
from prefect_acms.dao.connections import Synchronous
from prefect_acms.dao.store import Store, open_store

Part = Callable[[Sequence[str], int], None]
"""Moves these gaps, so many in one commit."""

PLAN: tuple[tuple[Synchronous, int, float], ...] = (
    ("FULL", 1, 0.5),
    ("NORMAL", 1, 0.5),
    ("FULL", 100, 0.4),
    ("NORMAL", 100, 0.4),
)
"""Setting, transitions a commit, and the ratio to raw sqlite3 that is wanted."""

STILL_FOUND = frozenset({"another", "and one more"})
NOW = "2099-01-31T09:05:00.000000Z"
SELECT = "SELECT state, version, run_id, workstream_id, fingerprint FROM gaps WHERE id = ?"
UPDATE = "UPDATE gaps SET state = ?, version = version + 1, updated_at = ? WHERE id = ? AND state = ? AND version = ?"
INSERT = (
    "INSERT INTO state_transitions (event_id, run_id, entity_type, entity_id, from_state, to_state, trigger, reason,"
    " severity, metadata, operator, workstream_id, phase, transitioned_at, chain_seq, prev_hash, hash)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
EXTEND = "UPDATE chain_heads SET seq = ?, hash = ? WHERE run_id = ?"


class Raw:
    """sqlite3 and four statements."""

    def __init__(self, path: Path, synchronous: Synchronous, *, hashing: bool) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode = WAL", f"synchronous = {synchronous}", "foreign_keys = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._hashing = hashing
        self._events = count()
        head = self._connection.execute("SELECT seq, hash FROM chain_heads WHERE run_id <> 'global'")
        self._seq, self._hash = head.fetchone()

    def __call__(self, ids: Sequence[str], per_commit: int) -> None:
        """Move the gaps."""
        run = self._connection.execute
        for start in range(0, len(ids), per_commit):
            run("BEGIN IMMEDIATE")
            for gap_id in ids[start : start + per_commit]:
                self._move(gap_id)
            run("COMMIT")

    def _move(self, gap_id: str) -> None:
        run = self._connection.execute
        state, version, run_id, workstream_id, fingerprint = run(SELECT, (gap_id,)).fetchone()
        if fingerprint in STILL_FOUND:
            raise ValueError(gap_id)
        run(UPDATE, ("resolved", NOW, gap_id, state, version))
        self._seq += 1
        row = (
            f"evt_{next(self._events):026d}", run_id, "gap", gap_id, state, "resolved", "rescan_clean", None, "info",
            "{}", None, workstream_id, None, NOW, self._seq, self._hash,
        )  # fmt: skip
        if self._hashing:
            self._hash = sha256(json.dumps(row).encode()).hexdigest()
        run(INSERT, (*row, self._hash))
        run(EXTEND, (self._seq, self._hash, run_id))


def one_by_one(store: Store) -> Part:
    """The service: `advance`, for each transition."""

    def move(ids: Sequence[str], per_commit: int) -> None:
        for start in range(0, len(ids), per_commit):
            with store.begin() as dao:
                for gap_id in ids[start : start + per_commit]:
                    facts = {"rescan_fingerprints": STILL_FOUND}
                    dao.gaps.advance(gap_id, GapTrigger.RESCAN_CLEAN, facts=facts)

    return move


def many(store: Store) -> Part:
    """The service: `advance_many`, for each commit."""

    def move(ids: Sequence[str], per_commit: int) -> None:
        for start in range(0, len(ids), per_commit):
            with store.begin() as dao:
                facts = {"rescan_fingerprints": STILL_FOUND}
                dao.gaps.advance_many(ids[start : start + per_commit], GapTrigger.RESCAN_CLEAN, facts=facts)

    return move


def prepare(path: Path, gaps: int, synchronous: Synchronous) -> tuple[Store, list[str]]:
    """A database with one run and so many gaps in progress."""
    store = open_store(f"sqlite:///{path}", synchronous="NORMAL")
    with store.begin() as dao:
        run = dao.runs.create(repo_root="/repository", base_commit="c0ffee")
        stream = dao.workstreams.create(run_id=run.id, name="style")
        common: dict[str, Any] = {
            "run_id": run.id,
            "source": "ruff",
            "rule_id": "F401",
            "title": "unused import",
            "severity": "low",
        }
        ids = [dao.gaps.create(**common, fingerprint=f"{n:016x}", file_paths=["src/a.py"]).id for n in range(gaps)]
        dao.gaps.advance_many(ids, GapTrigger.CLUSTERED, workstream_id=stream.id)
        dao.gaps.advance_many(ids, GapTrigger.PLAN_COMPILED)
        dao.gaps.advance_many(ids, GapTrigger.TASK_STARTED)
    store.close()
    return open_store(f"sqlite:///{path}", synchronous=synchronous), ids


def measure(folder: Path, synchronous: Synchronous, per_commit: int, turns: int, moves: int) -> dict[str, list[float]]:
    """Microseconds a transition, turn by turn, for each part."""
    parts: dict[str, tuple[Part, list[str]]] = {}
    for name in ("raw", "raw with hashes", "advance", "advance_many"):
        path = folder / f"{name}-{synchronous}-{per_commit}.db"
        store, ids = prepare(path, turns * moves, synchronous)
        raw = name.startswith("raw") and Raw(path, synchronous, hashing="hashes" in name)
        parts[name] = (raw or (many(store) if name.endswith("many") else one_by_one(store)), ids)
    took: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(turns):
        for name, (part, ids) in parts.items():
            started = time.perf_counter()
            part(ids[turn * moves : (turn + 1) * moves], per_commit)
            took[name].append((time.perf_counter() - started) / moves * 1e6)
    return took


def ratio(took: dict[str, list[float]], part: str) -> float:
    """How many transitions a part does while raw sqlite3 does one: the median over the turns, each by itself."""
    return median(raw / own for raw, own in zip(took["raw"], took[part], strict=True))


def main() -> int:
    """Print a table; the exit code says whether every ratio is reached."""
    options = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    options.add_argument("--turns", type=int, default=9)
    options.add_argument("--moves", type=int, default=300, help="transitions a turn and part")
    options.add_argument("--folder", type=Path, default=None, help="where the databases are made; the disk matters")
    chosen = options.parse_args()
    missed = 0
    titles = f"{'raw':>10}{'with hashes':>13}{'advance':>10}{'ratio':>7}{'advance_many':>14}{'ratio':>7}{'wanted':>8}"
    print(" " * 26 + titles)
    for synchronous, per_commit, wanted in PLAN:
        with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
            took = measure(Path(folder), synchronous, per_commit, chosen.turns, chosen.moves)
        one, batch = ratio(took, "advance"), ratio(took, "advance_many")
        missed += (batch if per_commit > 1 else one) < wanted
        raw, hashes, each, together = (median(times) for times in took.values())
        print(
            f"{synchronous + f', {per_commit} a commit':>26}{raw:>8.1f}us{hashes:>11.1f}us"
            f"{each:>8.1f}us{one:>7.2f}{together:>12.1f}us{batch:>7.2f}{wanted:>8}"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
