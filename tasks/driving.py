"""A driven run: its store behind a fence, its repository and its places, for whoever works on it in this process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.blocks.guardrails import GuardrailSettings
from prefect_acms.blocks.saved import STORE
from prefect_acms.canonical.errors import (
    NotARepository,
    NotFound,
    RepositoryUnfit,
    RunDriven,
    RunEnding,
    RunSuspended,
    Superseded,
)
from prefect_acms.dao.error_redaction import clean_errors
from prefect_acms.dao.home import acms_home, database_url
from prefect_acms.dao.log_redaction import clean_logs
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store, UnitOfWork, open_store
from prefect_acms.dao.unit import Fence
from prefect_acms.tasks.baseline import Baseline
from prefect_acms.tasks.budgets import Budgets
from prefect_acms.tasks.event_sending import send_events
from prefect_acms.tasks.leases import Lease, driver_of, recorded_driver, this_driver
from prefect_acms.tasks.patterns import PatternIndex, index_of
from prefect_acms.tasks.policies import RepositoryPolicy, repository_policy
from prefect_acms.tasks.processes import signal_group, stop_process, watched
from prefect_acms.tasks.profiles import Toolbox, toolbox_of
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.survivors import stop_survivors, wait_for_git
from prefect_acms.tasks.tightening import tightened
from prefect_acms.tasks.waits import Waits

if TYPE_CHECKING:
    from prefect_acms.tasks.saved import SavedStore


@dataclass(eq=False)
class Drive:
    """One run in the hands of this process; every write it makes carries the epoch that was given to it."""

    store: Store
    run_id: str
    epoch: int
    config: PipelineConfig
    repository: Repository
    base_commit: str
    merging: threading.Lock = field(default_factory=threading.Lock)
    pids: set[int] = field(default_factory=set)
    baseline: Baseline | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set while the run is being ended: a thread that still works for it is refused from then on."""
    waits: Waits = field(default_factory=Waits)
    """The patches of the run for whose review a thread of this process waits."""
    answers: dict[str, bool] = field(default_factory=dict)
    """What models have said of gaps in files of a certain content, so that none is paid for the same answer twice."""
    suspends: bool = False
    """Whether this process may end while the run waits for a person alone."""
    suspended: bool = False
    """Set when it is about to."""
    lease: Lease | None = None
    fault: Exception | None = None
    """Why this driver can't go on, though nothing is wrong with the run."""

    def begin(self) -> AbstractContextManager[UnitOfWork]:
        """A unit of work that is refused once somebody else drives the run, or once it is being ended."""
        self.require_going()
        return self.ending()

    def ending(self) -> AbstractContextManager[UnitOfWork]:
        """A unit of work for whoever ends the run, refused once somebody else drives it."""
        return self.store.begin(fence=Fence(self.run_id, self.epoch))

    def require_going(self) -> None:
        """Raise RunEnding once the run is being ended, and RunSuspended once it is being suspended."""
        if self.stopping.is_set():
            raise (RunSuspended if self.suspended else RunEnding)(run_id=self.run_id)

    def reading(self) -> AbstractContextManager[UnitOfWork]:
        """A unit of work that only reads."""
        return self.store.begin(read_only=True)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """A block of this thread whose processes are stopped with the run, and forgotten when it is over."""
        self.require_going()
        started: list[int] = []

        def on_start(pid: int) -> None:
            started.append(pid)
            self.pids.add(pid)
            if self.stopping.is_set():
                # It was started between the last look and the stop, which did not know of it.
                stop_process(pid)

        try:
            with watched(on_start):
                yield
        finally:
            self.pids.difference_update(started)

    def stop(self) -> None:
        """End the process group of every tool and gate that this process runs for the run; no other is started."""
        self.stopping.set()
        pids = sorted(self.pids)
        for pid in pids:
            signal_group(pid, signal.SIGTERM)
        for pid in pids:
            stop_process(pid)
            self.pids.discard(pid)

    @contextmanager
    def leased(self) -> Iterator[None]:
        """A block in which this process is known to drive the run; inside another such block it is that one's."""
        if self.lease is not None:
            yield
            return
        try:
            with Lease(self, self.stop) as self.lease:
                yield
        finally:
            self.lease = None

    def move_ref(self, ref: str, new: str, old: str | None) -> None:
        """Move a ref of ours by compare-and-swap, while nobody can take the run over; raises Superseded or RefMoved.

        The epoch is checked in a transaction that stays open until the ref has moved: a take-over waits for its end.
        """
        # The turn in the repository first: whoever has it may be checking out for long, without the database.
        with self.repository.writing, self.begin() as dao:
            dao.check_epoch(self.run_id, self.epoch)
            self.repository.move_ref(ref, new, old)

    def pause(self, seconds: float) -> None:
        """Wait so long; raises RunEnding once the run is being ended."""
        self.stopping.wait(seconds)
        self.require_going()

    @cached_property
    def budgets(self) -> Budgets:
        """What the run and its tasks may use up: asked before each call of a tool or model."""
        return Budgets(self.store, self.config.budget, Fence(self.run_id, self.epoch), self.pause)

    @cached_property
    def toolbox(self) -> Toolbox:
        """The tools of the run, read once: a file that changes meanwhile does not change the run."""
        return toolbox_of(self.config.execution)

    @cached_property
    def patterns(self) -> PatternIndex:
        """The pattern index of the run, read once, as the tools are."""
        return index_of(self.config)

    @cached_property
    def guardrails(self) -> GuardrailSettings:
        """What no patch of the run may do, read once: as configured, tightened by the repository's own policy."""
        stated = self.repository_policy
        return tightened(self.config.guardrails, stated.policy) if stated else self.config.guardrails

    @cached_property
    def repository_policy(self) -> RepositoryPolicy | None:
        """What the repository says of itself in the base commit; a run that has none yet has no policy of it either."""
        return repository_policy(self.repository, self.base_commit) if self.base_commit else None

    @property
    def folder(self) -> Path:
        """Where the run's files lie, inside the repository it works on."""
        return self.repository.top / ".acms_runs" / self.run_id

    @property
    def worktrees(self) -> Path:
        """Where the worktrees of the run lie, outside the repository: a folder for each of its drivers."""
        return acms_home() / "worktrees" / self.run_id

    def worktree(self, key: str) -> Path:
        """Where the worktree of that key lies; a driver before this one may still write to its own."""
        return self.worktrees / str(self.epoch) / key

    @property
    def learnt(self) -> Path:
        """Where sources keep what makes their next scans faster; it goes with the worktrees."""
        return self.worktree("learnt")

    @property
    def result_ref(self) -> str:
        """The branch on which everything that passed ends up."""
        return f"refs/heads/acms/{self.run_id}"

    def workstream_ref(self, key: str) -> str:
        """The branch of one workstream; git can't hold `acms/X` and `acms/X/Y` side by side."""
        return f"refs/heads/acms/work/{self.run_id}/{key}"

    def result_head(self) -> str:
        """The commit on which the next workstream builds: the result so far, or the base."""
        return self.repository.ref(self.result_ref) or self.base_commit


_STORES: dict[str, Store] = {}
_DRIVES: dict[str, Drive] = {}
_LOCK = threading.Lock()


def shared_store(given: str | None = None) -> Store:
    """The one store of this process for a database, so that who subscribes to it hears of every commit made here.

    Given is a URL, `acms-canonical-store/NAME` for a saved block, or nothing for the default.
    """
    saved = _saved_store(given)
    url = database_url(saved.url if saved else given)
    with _LOCK:
        if url not in _STORES:
            clean_logs()
            _STORES[url] = open_store(url, synchronous=saved.synchronous) if saved else open_store(url)
            send_events(_STORES[url])
        return _STORES[url]


def _saved_store(given: str | None) -> SavedStore | None:
    """What a saved block says, where one is given: it is loaded, and Prefect with it, for that alone."""
    slug, _, name = (given or "").partition("/")
    if slug != STORE:
        return None
    from prefect_acms.tasks.saved import saved_store  # noqa: PLC0415 - most processes name no block

    return saved_store(name)


class Attempt(NamedTuple):
    """One attempt of Prefect's to carry a run out: a retry has the same flow run and a higher count."""

    flow_run_id: str
    run_count: int


def drive_run(
    run_id: str,
    *,
    epoch: int | None = None,
    database: str | None = None,
    force: bool = False,
    attempt: Attempt | None = None,
    to_end_it: bool = False,
) -> Drive:
    """The drive of a run in this process; without an epoch the run is taken over, which fences off its driver before.

    `attempt` is recorded as the one that carries the run out from now on. Raises NotFound for an unknown run,
    Superseded when the epoch is an old one, and RunDriven when a living process drives it, unless taken by `force`;
    and what Repository.open raises, unless the run is driven only `to_end_it`, which needs no repository.
    """
    with _LOCK:
        known = _DRIVES.get(run_id)
    if known is not None and epoch == known.epoch:
        return known
    store = shared_store(database)
    with store.begin(read_only=True) as dao:
        repository = _repository_of(dao.runs.get(run_id), may_be_gone=to_end_it)
    with store.begin() as dao:
        run = dao.runs.get(run_id)
        if epoch is not None and epoch != run.epoch:
            raise Superseded(run_id=run_id, held=epoch, current=run.epoch)
        held = epoch
        if held is None:
            driver = None if force else driver_of(run, store.clock())
            # a drive of this process that holds no lease was left, or is just being made: here it may be replaced
            if driver is not None and (driver.pid != os.getpid() or (known is not None and known.lease is not None)):
                raise RunDriven(run_id=run_id, pid=driver.pid, host=driver.host)
            held = dao.runs.take_over(run_id)
            config = PipelineConfig.model_validate(run.config)
            dao.runs.lease(run_id, held, config.resilience.lease_sec, asdict(this_driver(held)))
            if attempt is not None:
                attempts = [*run.info.get("attempts", ()), {**attempt._asdict(), "epoch": held}]
                dao.runs.change(
                    run_id,
                    prefect_flow_run_id=attempt.flow_run_id,
                    prefect_run_count=attempt.run_count,
                    metadata={"attempts": attempts},
                )
    config = PipelineConfig.model_validate(run.config)
    drive = Drive(store, run_id, held, config, repository, run.base_commit or "")
    if known is not None:
        # What the driver before has started in this process is still there to be stopped.
        drive.pids, drive.baseline = known.pids, known.baseline
    with _LOCK:
        _DRIVES[run_id] = drive
    if epoch is None:
        _stop_driver_before(run, held)
    return drive


def _repository_of(run: RunRow, *, may_be_gone: bool) -> Repository:
    """The repository of a run; one that is gone answers every question with GitFailed."""
    top = Path(run.repo_root)
    try:
        return Repository.open(top)
    except (NotARepository, RepositoryUnfit):
        if not may_be_gone:
            raise
        return Repository(top, top / ".git")


def _stop_driver_before(run: RunRow, epoch: int) -> None:
    """End what the driver before has left running on this machine; its git commands come to their end."""
    before = recorded_driver(run)
    if before is not None and before.is_here:
        if before.is_dead:
            wait_for_git(before.pid, before.started)
        stop_survivors(run.id, epoch)


def drives() -> list[Drive]:
    """The runs that this process drives."""
    with _LOCK:
        return list(_DRIVES.values())


def release_run(drive: Drive) -> None:
    """Forget a drive that is over; one that has taken its place in this process stays known."""
    with _LOCK:
        if _DRIVES.get(drive.run_id) is drive:
            del _DRIVES[drive.run_id]


class PhaseRecord(dict[str, Any]):
    """What a phase of a run leaves behind, by name."""

    def __init__(self, phase_id: str) -> None:
        super().__init__()
        self.phase_id = phase_id
        self.is_complete = False

    def complete(self, dao: UnitOfWork) -> None:
        """Record that the phase is done, in the unit of work that stores its result: then it is never done again."""
        dao.phases.finish(self.phase_id, COMPLETED, self)
        self.is_complete = True


COMPLETED = "completed"
"""Outcome of a phase that need not be done again."""

SUSPENDED = "suspended"
"""Outcome of a phase that stopped because it waits for a person alone."""


@contextmanager
def phase(drive: Drive, name: str) -> Iterator[PhaseRecord]:
    """Record a phase of the run around a block of work; what the block puts into the record is kept with it."""
    drive.stopping.clear()
    with clean_errors(), drive.leased():
        with drive.begin() as dao:
            record = PhaseRecord(dao.phases.create(run_id=drive.run_id, name=name).id)
        outcome = "failed"
        try:
            yield record
            outcome = COMPLETED
        except RunSuspended:
            outcome = SUSPENDED
            raise
        finally:
            # Once the run has been taken over, this process writes nothing more about it.
            with suppress(Superseded):
                if not record.is_complete:
                    with drive.ending() as dao:
                        dao.phases.finish(record.phase_id, outcome, record)


def phase_artifacts(drive: Drive, name: str) -> dict[str, Any]:
    """What a phase of the run left behind; raises NotFound while it has not completed."""
    with drive.reading() as dao:
        done = [row for row in dao.phases.of_run(drive.run_id) if row.name == name and row.outcome == COMPLETED]
    if not done:
        raise NotFound(entity="completed phase", id=name)
    return dict(done[-1].artifacts or {})
