"""Gaps in the store: written as they were found, read back as what the sources speak of."""

from __future__ import annotations

from typing import Any

from prefect_acms.canonical.machines import MACHINES
from prefect_acms.dao.gaps import GapRow
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.tasks.gaps import Gap

_IN_METADATA = frozenset({"fixable", "details"})
_COLUMNS = frozenset(Gap.model_fields) - _IN_METADATA


def store_gap(dao: UnitOfWork, run_id: str, gap: Gap) -> GapRow:
    """Store one gap as discovered."""
    columns: dict[str, Any] = gap.model_dump(mode="json", exclude=set(_IN_METADATA))
    metadata: dict[str, Any] = {"fixable": gap.fixable} | ({"details": gap.details} if gap.details else {})
    return dao.gaps.create(run_id=run_id, metadata=metadata, **columns)


def gap_of(row: GapRow) -> Gap:
    """The gap that a row holds."""
    columns = {name: getattr(row, name) for name in _COLUMNS}
    return Gap.model_validate(
        columns | {"fixable": bool(row.info.get("fixable")), "details": row.info.get("details") or {}}
    )


def is_open(row: GapRow) -> bool:
    """Whether the gap is neither resolved nor deferred."""
    return row.state not in MACHINES["gap"].terminal
