"""Runs: one attempt to improve one repository."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Index, String, cast, select, tuple_
from sqlalchemy.orm import Mapped, mapped_column

from prefect_acms.canonical.clock import utc_text
from prefect_acms.canonical.machine import Edge
from prefect_acms.canonical.run import RUN, RunState
from prefect_acms.canonical.verdicts import Verdict, run_verdict
from prefect_acms.dao.deciding import Values
from prefect_acms.dao.schema import (
    JsonDict,
    Moment,
    StateRow,
    Words,
    at_least,
    in_order,
    set_exactly_in,
    set_in,
    states_of,
    terminal,
    unset_in,
)
from prefect_acms.dao.service import StateDao


class RunRow(StateRow):
    """One run of the pipeline on one repository."""

    __tablename__ = "runs"
    machine = RUN
    __table_args__ = (
        states_of(RUN),
        at_least("version", 1),
        at_least("epoch", 0),
        unset_in("started_at", "pending"),
        set_in("started_at", "running", "succeeded", "failed", "quarantined"),
        set_exactly_in("completed_at", *terminal(RUN)),
        set_in("error", "failed"),
        set_exactly_in("quarantine_reason", "quarantined"),
        in_order("created_at", "started_at"),
        in_order("started_at", "completed_at"),
        in_order("created_at", "completed_at"),
        Index(None, "repo_root", "created_at"),
        Index(None, "prefect_flow_run_id"),
    )

    project_id: Mapped[str | None]
    repo_root: Mapped[str]
    base_commit: Mapped[str | None]
    mode: Mapped[str] = mapped_column(default="full")
    config: Mapped[JsonDict]
    epoch: Mapped[int] = mapped_column(default=0)
    lease_expires_at: Mapped[Moment | None]
    prefect_flow_run_id: Mapped[str | None]
    prefect_run_count: Mapped[int | None]
    started_at: Mapped[Moment | None]
    completed_at: Mapped[Moment | None]
    error: Mapped[Words | None]
    quarantine_reason: Mapped[Words | None]


class RunDao(StateDao[RunRow]):
    """Runs."""

    row = RunRow
    entity = RUN.entity
    prefix = "run"
    fixed = frozenset({"epoch"})
    brings_metadata = True

    def take_over(self, run_id: str) -> int:
        """Become the driver of the run: gives the new epoch, and every older one is refused from now on."""
        self._unit.admit()
        head = self._unit.trail.head(run_id)
        epoch = self.get(run_id).epoch + 1
        self._set(run_id, {"epoch": epoch})
        self._unit.budgets.give_up(run_id)
        head.epoch = epoch
        return epoch

    def lease(self, run_id: str, epoch: int, seconds: float, driver: Values) -> None:
        """The driver of that epoch drives the run for so many seconds from now; raises Superseded."""
        self._unit.admit()
        self._unit.check_epoch(run_id, epoch)
        until = utc_text(self._unit.store.clock() + timedelta(seconds=seconds))
        self._set(run_id, {"lease_expires_at": until, "metadata": {"driver": dict(driver)}})

    def let_go(self, run_id: str, epoch: int) -> None:
        """The driver of that epoch drives the run no more; raises Superseded."""
        self._unit.admit()
        self._unit.check_epoch(run_id, epoch)
        self._set(run_id, {"lease_expires_at": None})

    def unended(self, repo_root: str | None = None) -> list[RunRow]:
        """The runs that have not ended, oldest first, of one repository or of all."""
        statement = select(RunRow).where(RunRow.state.not_in(terminal(RUN))).order_by(RunRow.created_at, RunRow.id)
        return self._all(statement if repo_root is None else statement.where(RunRow.repo_root == str(repo_root)))

    def latest(
        self, limit: int, repo_root: str | None = None, *, state: str | None = None, before: RunRow | None = None
    ) -> list[RunRow]:
        """The newest runs first: of one repository, in one state, older than that one, or all."""
        statement = select(RunRow).order_by(RunRow.created_at.desc(), RunRow.id.desc()).limit(limit)
        if repo_root is not None:
            statement = statement.where(RunRow.repo_root == str(repo_root))
        if state is not None:
            statement = statement.where(RunRow.state == str(RUN.state(state)))
        if before is not None:
            statement = statement.where(tuple_(RunRow.created_at, RunRow.id) < (before.created_at, before.id))
        return self._all(statement)

    def holding(self, key: str) -> list[RunRow]:
        """The runs that have something under that key of their metadata, the newest first."""
        held = RunRow.info[key].as_string().is_not(None)
        return self._all(select(RunRow).where(held).order_by(RunRow.created_at.desc(), RunRow.id.desc()))

    def by_flow_run(self, flow_run_id: str) -> RunRow | None:
        """The newest run that a Prefect flow run drives, or None."""
        statement = select(RunRow).where(RunRow.prefect_flow_run_id == str(flow_run_id))
        return next(iter(self._all(statement.order_by(RunRow.created_at.desc(), RunRow.id.desc()).limit(1))), None)

    def by_attempt(self, flow_run_id: str) -> RunRow | None:
        """The newest run that a Prefect flow run drives or has driven before another went on with it, or None."""
        current = self.by_flow_run(flow_run_id)
        if current is not None:
            return current
        # the id of a flow run is a UUID, which nothing else in the metadata can hold by chance
        named = cast(RunRow.info, String).contains(str(flow_run_id))
        found = self._all(select(RunRow).where(named).order_by(RunRow.created_at.desc(), RunRow.id.desc()))
        attempts = ((run, attempt["flow_run_id"]) for run in found for attempt in run.info.get("attempts", ()))
        return next((run for run, known in attempts if known == str(flow_run_id)), None)

    def _implied(self, _trigger: str, edge: Edge, facts: Values) -> Values:
        """A run that succeeds though something not critical failed says so in its metadata."""
        if edge.target is not RunState.SUCCEEDED:
            return {}
        allowed = bool(facts["allow_noncritical_failures"])
        verdict = run_verdict(facts["workstreams"], allow_noncritical_failures=allowed)
        return {"metadata": {"degraded": True}} if verdict is Verdict.DEGRADED else {}
