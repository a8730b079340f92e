"""The unit of work: the only way in, and the only commit."""

from __future__ import annotations

from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from prefect_acms.canonical.errors import NotFound, StoreUnavailable, Superseded
from prefect_acms.dao.budgets import BudgetDao
from prefect_acms.dao.circuit_breakers import BreakerDao
from prefect_acms.dao.connections import Desk
from prefect_acms.dao.gaps import GapDao
from prefect_acms.dao.ledger import LedgerDao
from prefect_acms.dao.patches import PatchDao
from prefect_acms.dao.phases import PhaseDao
from prefect_acms.dao.runs import RunDao
from prefect_acms.dao.task_links import TaskLinkDao
from prefect_acms.dao.tasks import TaskDao
from prefect_acms.dao.test_gates import TestGateDao
from prefect_acms.dao.tool_metrics import ToolMetricDao
from prefect_acms.dao.trail import Trail
from prefect_acms.dao.transitions import TransitionDao
from prefect_acms.dao.uet_workers import UetWorkerDao
from prefect_acms.dao.workers import WorkerDao
from prefect_acms.dao.workstreams import WorkstreamDao

if TYPE_CHECKING:
    from prefect_acms.dao.store import Store


class Fence(NamedTuple):
    """Who drives a run: a writer whose epoch is older than the run's is refused."""

    run_id: str
    epoch: int


class UnitOfWork:
    """One transaction: what is done in its block is stored together at its end, or not at all."""

    desk: Desk
    trail: Trail

    def __init__(self, store: Store, *, read_only: bool, fence: Fence | None) -> None:
        self.store = store
        self._read_only = read_only
        self._fence = fence
        self._is_open = False

    def __enter__(self) -> Self:
        self.desk = self.store.open_desk(read_only=self._read_only)
        self.trail = Trail(self.desk, self.store.trail_statements, self.store.ids)
        self._is_open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._is_open = False
        try:
            if error is None:
                self._commit()
        finally:
            self.store.leave_desk(self.desk, read_only=self._read_only)
        if isinstance(error, DBAPIError):
            raise self.desk.told(error) from error
        self.store.publish()

    def _commit(self) -> None:
        if self.desk.failure is not None:
            # a statement failed halfway and its error was caught: what it left behind must not be stored
            raise self.desk.failure
        if self._read_only:
            return
        self.trail.seal()
        self.store.commit(self.desk, self.trail.events)

    def admit(self) -> None:
        """Called before each write; raises StoreUnavailable or, where a newer driver has the run, Superseded."""
        self.check_open()
        if self._read_only:
            raise StoreUnavailable(url=self.store.shown_url, problem="this unit of work only reads")
        if self._fence is not None:
            self.check_epoch(*self._fence)
            self._fence = None

    def check_open(self) -> None:
        """Raises StoreUnavailable when the block of this unit has been left."""
        if not self._is_open:
            raise StoreUnavailable(url=self.store.shown_url, problem="this unit of work has ended")

    def check_epoch(self, run_id: str, epoch: int) -> None:
        """Raises Superseded when the run is no longer at that epoch, NotFound when there is no such run."""
        current = self.trail.head(run_id).epoch
        if current is None:
            raise NotFound(entity="run", id=run_id)
        if current != epoch:
            raise Superseded(run_id=run_id, held=epoch, current=current)

    @property
    def session(self) -> Session:
        """SQLAlchemy's session inside this transaction, for reading; it sees all that was written so far."""
        self.check_open()
        self.trail.flush()
        return self.desk.session

    @property
    def connection(self) -> Connection:
        """SQLAlchemy's connection inside this transaction, for reading; it sees all that was written so far."""
        return self.session.connection()

    @cached_property
    def runs(self) -> RunDao:
        """Runs."""
        return RunDao(self)

    @cached_property
    def phases(self) -> PhaseDao:
        """Phases of runs."""
        return PhaseDao(self)

    @cached_property
    def workstreams(self) -> WorkstreamDao:
        """Workstreams of runs."""
        return WorkstreamDao(self)

    @cached_property
    def tasks(self) -> TaskDao:
        """Tasks of workstreams."""
        return TaskDao(self)

    @cached_property
    def task_links(self) -> TaskLinkDao:
        """What waits for which task, and which task took whose place."""
        return TaskLinkDao(self)

    @cached_property
    def gaps(self) -> GapDao:
        """Gaps that runs have found."""
        return GapDao(self)

    @cached_property
    def workers(self) -> WorkerDao:
        """Slots of the pool."""
        return WorkerDao(self)

    @cached_property
    def uet_workers(self) -> UetWorkerDao:
        """Processes of tools."""
        return UetWorkerDao(self)

    @cached_property
    def patches(self) -> PatchDao:
        """Diffs."""
        return PatchDao(self)

    @cached_property
    def ledger(self) -> LedgerDao:
        """What became of patches."""
        return LedgerDao(self)

    @cached_property
    def test_gates(self) -> TestGateDao:
        """Gates and what they said."""
        return TestGateDao(self)

    @cached_property
    def circuit_breakers(self) -> BreakerDao:
        """Breakers of tools."""
        return BreakerDao(self)

    @cached_property
    def budgets(self) -> BudgetDao:
        """What calls of tools and models use up."""
        return BudgetDao(self)

    @cached_property
    def tool_metrics(self) -> ToolMetricDao:
        """Records of tools."""
        return ToolMetricDao(self)

    @cached_property
    def transitions(self) -> TransitionDao:
        """The audit trail."""
        return TransitionDao(self)
