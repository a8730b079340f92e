"""Older spellings of states, accepted on import and never stored."""

from __future__ import annotations

from collections.abc import Mapping

from prefect_acms.canonical.errors import UnknownName
from prefect_acms.canonical.machines import MACHINES

_DONE = ("SUCCESS", "SUCCEEDED", "COMPLETED", "completed")
_FAILED = ("FAILED", "failure")
_CANCELLED = ("CANCELED", "CANCELLED", "canceled", "cancelled")

OLDER: Mapping[str, Mapping[str, str]] = {
    "run": {
        **dict.fromkeys(_DONE, "succeeded"),
        **dict.fromkeys(_FAILED, "failed"),
        **dict.fromkeys(_CANCELLED, "canceled"),
        "INITIALIZING": "pending",
    },
    "workstream": {
        **dict.fromkeys(_FAILED, "failed"),
        **dict.fromkeys(_CANCELLED, "cancelled"),
        "pending": "planned",
        "running": "executing",
    },
    "task": {
        **dict.fromkeys(_DONE, "completed"),
        **dict.fromkeys(_FAILED, "failed"),
        **dict.fromkeys(_CANCELLED, "cancelled"),
        "ready": "queued",
        "READY": "queued",
    },
    "patch_ledger": {
        "PENDING": "created",
        "VALIDATING": "validated",
        "STAGED": "queued",
        "BLOCKED": "awaiting_review",
        "APPLIED": "applied",
        "VERIFIED": "verified",
        "ROLLED_BACK": "rolled_back",
        "QUARANTINED": "quarantined",
        "EXPIRED": "dropped",
        "SUPERSEDED": "dropped",
    },
}
"""Older name -> stored name, an entity each; MINI_PIPE and the first Canonical wrote these."""


def stored_name(entity: str, name: str) -> str:
    """The stored spelling of a state name, older or not; raises UnknownName with the known ones."""
    if entity not in MACHINES:
        raise UnknownName(kind="entity", name=entity, known=list(MACHINES))
    stored = [state.value for state in MACHINES[entity].states]
    older = OLDER.get(entity, {})
    if name in stored:
        return name
    if name in older:
        return older[name]
    raise UnknownName(kind=f"{entity} state", name=name, known=[*stored, *sorted(set(older) - set(stored))])
