"""Patches: the diffs themselves, stored once and never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from sqlalchemy import Index, LargeBinary, insert, select
from sqlalchemy.orm import Mapped, defer, mapped_column

from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.reading import Dao
from prefect_acms.dao.schema import JsonList, Row, at_least, check, to


class PatchRow(Row):
    """One diff as a tool made it; what becomes of it is told by the ledger."""

    __tablename__ = "patches"
    __table_args__ = (
        at_least("version", 1),
        check("sha256", "length(sha256) = 64"),
        at_least("lines_added", 0),
        at_least("lines_removed", 0),
        Index(None, "task_id"),
    )

    task_id: Mapped[str] = mapped_column(to("tasks.id"))
    content: Mapped[bytes] = mapped_column(LargeBinary)
    sha256: Mapped[str]
    files: Mapped[JsonList]
    lines_added: Mapped[int] = mapped_column(default=0)
    lines_removed: Mapped[int] = mapped_column(default=0)
    base_commit: Mapped[str | None]


class PatchDao(Dao[PatchRow]):
    """Patches."""

    row = PatchRow
    entity = "patch"

    def create(
        self,
        *,
        task_id: str,
        content: bytes | str,
        files: Sequence[str] = (),
        lines_added: int = 0,
        lines_removed: int = 0,
        base_commit: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        id: str | None = None,  # noqa: A002 - the name of the column
    ) -> PatchRow:
        """Store a diff byte for byte, with its SHA-256."""
        diff = content.encode() if isinstance(content, str) else content
        store, now = self._unit.store, self._now()
        row = {
            "id": id or store.ids.new(self.entity),
            "version": 1,
            "created_at": now,
            "updated_at": now,
            "info": store.scrubber.value(dict(metadata or {})),
            "task_id": task_id,
            "content": diff,
            "sha256": sha256(diff).hexdigest(),
            "files": list(files),
            "lines_added": lines_added,
            "lines_removed": lines_removed,
            "base_commit": base_commit,
        }
        self._do(insert(PatchRow).values(**row), row["id"])
        return self.get(row["id"])

    def of_task(self, task_id: str) -> list[PatchRow]:
        """The diffs of a task in the order they were made."""
        return self._all(select(PatchRow).where(PatchRow.task_id == task_id).order_by(PatchRow.id))

    def of_run(self, run_id: str, *, contents: bool = True) -> list[PatchRow]:
        """The diffs that the ledger of a run is about; without `contents` their bytes are not read, nor to be had."""
        mine = PatchRow.id.in_(select(LedgerRow.patch_id).where(LedgerRow.run_id == run_id))
        statement = select(PatchRow).where(mine).order_by(PatchRow.id)
        return self._all(statement if contents else statement.options(defer(PatchRow.content, raiseload=True)))
