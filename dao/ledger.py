"""The patch ledger: what became of each patch."""

from __future__ import annotations

from sqlalchemy import Index, select
from sqlalchemy.orm import Mapped, mapped_column

from prefect_acms.canonical.patch import MAX_APPLY_ATTEMPTS, PATCH_LEDGER, PatchState
from prefect_acms.dao.deciding import Values
from prefect_acms.dao.schema import (
    MaybeJson,
    Moment,
    StateRow,
    Words,
    at_least,
    check,
    in_order,
    set_exactly_in,
    set_in,
    states_of,
    to,
    unset_in,
)
from prefect_acms.dao.service import StateDao

_VALID = ("validated", "awaiting_review", "queued", "applied", "apply_failed", "verified", "committed", "rolled_back")
_COMMITTED = ("committed", "rolled_back")


class LedgerRow(StateRow):
    """One patch on its way into the run's branch, or out of it."""

    __tablename__ = "patch_ledger_entries"
    machine = PATCH_LEDGER
    __table_args__ = (
        states_of(PATCH_LEDGER),
        at_least("version", 1),
        set_in("validation_format", *_VALID),
        set_in("validation_scope", *_VALID),
        set_in("validation_constraints", *_VALID),
        set_in("validation_tests_passed", "verified", *_COMMITTED),
        check("apply_attempts", f"apply_attempts BETWEEN 0 AND {MAX_APPLY_ATTEMPTS}"),
        set_in("applied_at", "applied", "verified", *_COMMITTED),
        set_in("last_error", "apply_failed"),
        set_exactly_in("commit_sha", *_COMMITTED),
        set_exactly_in("committed_at", *_COMMITTED),
        set_in("quarantine_reason", "quarantined"),
        set_in("quarantined_at", "quarantined"),
        unset_in(
            "quarantined_at",
            *(state.value for state in PATCH_LEDGER.states if state.value not in {"quarantined", "dropped"}),
        ),
        set_exactly_in("rollback_reason", "rolled_back"),
        set_exactly_in("rollback_compensation", "rolled_back"),
        set_exactly_in("rolled_back_at", "rolled_back"),
        check("not_superseding_itself", "supersedes <> id"),
        in_order("created_at", "applied_at"),
        in_order("applied_at", "committed_at"),
        in_order("committed_at", "rolled_back_at"),
        in_order("created_at", "quarantined_at"),
        Index(None, "run_id", "state"),
        Index(None, "patch_id"),
        Index(None, "task_id"),
        Index(None, "workstream_id"),
        Index(None, "supersedes"),
    )

    run_id: Mapped[str] = mapped_column(to("runs.id"))
    patch_id: Mapped[str] = mapped_column(to("patches.id"))
    task_id: Mapped[str] = mapped_column(to("tasks.id"))
    workstream_id: Mapped[str] = mapped_column(to("workstreams.id"))
    phase_id: Mapped[str | None] = mapped_column(to("phases.id"))
    validation_format: Mapped[bool | None]
    validation_scope: Mapped[bool | None]
    validation_constraints: Mapped[bool | None]
    validation_tests_passed: Mapped[bool | None]
    apply_attempts: Mapped[int] = mapped_column(default=0)
    applied_at: Mapped[Moment | None]
    commit_sha: Mapped[str | None]
    committed_at: Mapped[Moment | None]
    quarantine_reason: Mapped[Words | None]
    quarantine_metadata: Mapped[MaybeJson]
    quarantined_at: Mapped[Moment | None]
    rollback_reason: Mapped[Words | None]
    rollback_compensation: Mapped[MaybeJson]
    rolled_back_at: Mapped[Moment | None]
    last_error: Mapped[Words | None]
    supersedes: Mapped[str | None] = mapped_column(to("patch_ledger_entries.id"))


class LedgerDao(StateDao[LedgerRow]):
    """The patch ledger."""

    row = LedgerRow
    entity = PATCH_LEDGER.entity
    prefix = "entry"
    fixed = frozenset({"run_id", "workstream_id", "task_id", "patch_id", "supersedes"})

    def of_run(self, run_id: str) -> list[LedgerRow]:
        """The entries of a run in the order they were made."""
        return self._all(select(LedgerRow).where(LedgerRow.run_id == run_id).order_by(LedgerRow.id))

    def of_workstream(self, workstream_id: str) -> list[LedgerRow]:
        """The entries of a workstream in the order they were made."""
        return self._all(select(LedgerRow).where(LedgerRow.workstream_id == workstream_id).order_by(LedgerRow.id))

    def of_task(self, task_id: str) -> list[LedgerRow]:
        """The entries of a task in the order they were made."""
        return self._all(select(LedgerRow).where(LedgerRow.task_id == task_id).order_by(LedgerRow.id))

    def of_patch(self, patch_id: str) -> list[LedgerRow]:
        """The entries of a patch in the order they were made: one, as a rule."""
        return self._all(select(LedgerRow).where(LedgerRow.patch_id == patch_id).order_by(LedgerRow.id))

    def superseded_by(self, entry_id: str) -> list[LedgerRow]:
        """The entries that took the place of this one."""
        return self._all(select(LedgerRow).where(LedgerRow.supersedes == entry_id).order_by(LedgerRow.id))

    def waiting(self) -> list[LedgerRow]:
        """The entries of every run that wait for a review, in the order they were made."""
        waits = LedgerRow.state == PatchState.AWAITING_REVIEW
        return self._all(select(LedgerRow).where(waits).order_by(LedgerRow.id))

    def committed(self) -> list[LedgerRow]:
        """The entries of every run that are committed and were not taken back, in the order they were made."""
        return self._all(select(LedgerRow).where(LedgerRow.state == PatchState.COMMITTED).order_by(LedgerRow.id))

    def _completed(self, columns: Values) -> Values:
        """An entry belongs to the task of its patch, and to the workstream and run of that task."""
        if "patch_id" not in columns or {"task_id", "workstream_id", "run_id"} <= columns.keys():
            return columns
        task = self._unit.tasks.of_patch(columns["patch_id"])
        if task is not None:
            return {"task_id": task.id, "workstream_id": task.workstream_id, "run_id": task.run_id, **columns}
        return columns
