"""The hash chain: each audit row carries the hash of the one before it, so a changed row shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

GENESIS = "0" * 64
"""What the first row of a chain has as the hash before it."""

GLOBAL = "global"
"""The chain of everything that belongs to no run; it anchors the other chains."""

ANCHOR = "chain"
"""The entity type of an anchor: a row of the chain `global` that tells position and hash of a run's chain."""

ANCHORED = "anchored"
OPENED = "opened"

HASHED = (
    "chain_seq",
    "entity_id",
    "entity_type",
    "event_id",
    "from_state",
    "metadata",
    "operator",
    "phase",
    "reason",
    "run_id",
    "severity",
    "to_state",
    "transitioned_at",
    "trigger",
    "workstream_id",
)
"""The columns that a hash covers; the row number is the database's own, and the hashes are what is computed."""

canonical_json = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False
).encode
"""JSON with sorted keys and no spaces: equal values give equal bytes."""


def link(prev_hash: str, values: Mapping[str, Any]) -> str:
    """SHA-256 over the hash before and the canonical JSON of exactly these values."""
    return sha256((prev_hash + canonical_json(values)).encode()).hexdigest()


def row_hash(prev_hash: str, row: Mapping[str, Any]) -> str:
    """The hash that an audit row must have: `link` over its `HASHED` columns."""
    return link(prev_hash, {name: row[name] for name in HASHED})


def chain_of(run_id: str | None) -> str:
    """The chain that a row of this run belongs to."""
    return run_id or GLOBAL
