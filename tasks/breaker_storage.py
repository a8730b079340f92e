"""The stored breaker of one tool, as pybreaker sees it during one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from pybreaker import STATE_CLOSED, STATE_HALF_OPEN, STATE_OPEN, CircuitBreakerStorage

from prefect_acms.canonical.circuit_breaker import CircuitBreakerState, CircuitBreakerTrigger
from prefect_acms.canonical.clock import utc_moment, utc_text
from prefect_acms.canonical.errors import TransitionError
from prefect_acms.canonical.outside_errors import BreakerOpen
from prefect_acms.dao.circuit_breakers import BreakerRow
from prefect_acms.dao.store import Store, UnitOfWork

_S, _T = CircuitBreakerState, CircuitBreakerTrigger
_TO_PYBREAKER = {_S.CLOSED: STATE_CLOSED, _S.OPEN: STATE_OPEN, _S.HALF_OPEN: STATE_HALF_OPEN}
_FROM_PYBREAKER = {name: state for state, name in _TO_PYBREAKER.items()}


class StoredBreaker(CircuitBreakerStorage):
    """pybreaker's view of a row: the state as it was when the call was let in, every change by the service.

    A call that was let in before the breaker moved on has no say any more: its verdict is dropped. `success_count`
    and `failure_count` go to zero by the transitions, so that a transition that is refused changes nothing.
    """

    def __init__(self, store: Store, row: BreakerRow, probe_sec: float) -> None:
        super().__init__(row.tool_id)
        self.row = row
        self._store = store
        self._probe_sec = probe_sec
        self._state = CircuitBreakerState(row.state)
        self._failures = row.failure_count
        self._successes = row.success_count
        self._probe: int | None = None
        self._void = False

    def void(self) -> None:
        """Let the outcome of this call count neither for nor against the tool."""
        self._void = True

    @property
    def state(self) -> str:
        """The state that this call goes by."""
        return _TO_PYBREAKER[self._state]

    @state.setter
    def state(self, state: str) -> None:
        target = _FROM_PYBREAKER[state]
        match self._state, target:
            case _S.CLOSED, _S.OPEN:
                self._open()
            case _S.OPEN, _S.HALF_OPEN:
                self._half_open()
            case _S.HALF_OPEN, _S.CLOSED:
                self._close()
            case _:
                self._reopen()
        self._state = target

    @property
    def counter(self) -> int:
        """Failures in a row."""
        return self._failures

    @property
    def success_counter(self) -> int:
        """Good probes in a row."""
        return self._successes

    @property
    def opened_at(self) -> datetime | None:
        """Nothing, so that pybreaker does not ask its own clock: whether the cooldown is over is the guard's to say."""
        return None

    @opened_at.setter
    def opened_at(self, datetime: datetime) -> None:
        """Nothing to do: the transition stamps it."""

    def increment_counter(self) -> None:
        """One more failure in a row; that of a probe is counted by the transition that it causes."""
        with self._locked() as (dao, row):
            if self._state is _S.CLOSED and row.state == _S.CLOSED:
                self._failures = row.failure_count + 1
                now = utc_text(self._store.clock())
                dao.circuit_breakers.change(row.id, failure_count=self._failures, last_failure_at=now)

    def reset_counter(self) -> None:
        """No failures in a row any more."""
        if self._void or self._state is not _S.CLOSED or not self._stored().failure_count:
            return
        with self._locked() as (dao, row):
            if row.state == _S.CLOSED:
                dao.circuit_breakers.change(row.id, failure_count=0)

    def increment_success_counter(self) -> None:
        """One more good probe."""
        self._successes = 0
        if self._void:
            return
        with self._locked() as (dao, row):
            if self._is_ours(row):
                self._successes = row.success_count + 1
                dao.circuit_breakers.change(row.id, success_count=self._successes)

    def claim_probe(self) -> None:
        """Become the one probe of a half-open breaker, unless this call is it already; raises BreakerOpen."""
        if self._probe is not None:
            return
        with self._locked() as (dao, row):
            probe = row.info.get("probe")
            if row.state != _S.HALF_OPEN or (probe and utc_moment(probe["until"]) > self._store.clock()):
                raise self._held_back(row)
            self._take_probe(dao, row)

    def end_probe(self) -> None:
        """Give the probe back, if this call was it and has not moved the breaker on."""
        if self._probe is None:
            return
        with self._locked() as (dao, row):
            if self._is_ours(row):
                dao.circuit_breakers.change(row.id, metadata={"probe": None})

    def _open(self) -> None:
        self._advance(_T.FAILURE_THRESHOLD_EXCEEDED, lambda row: row.state == _S.CLOSED, failure_count=self._failures)

    def _half_open(self) -> None:
        """Let this call be the probe; of many that come at once the service lets one pass."""
        try:
            with self._store.begin() as dao:
                dao.circuit_breakers.advance(self.row.id, _T.COOLDOWN_EXPIRED, success_count=0)
                self._take_probe(dao, dao.circuit_breakers.get(self.row.id))
        except TransitionError as refusal:
            raise self._held_back(self._stored()) from refusal

    def _close(self) -> None:
        self._advance(_T.SUCCESS_THRESHOLD_MET, self._is_ours, success_count=0, metadata={"probe": None})

    def _reopen(self) -> None:
        now = utc_text(self._store.clock())
        failures = self.row.failure_count + 1
        self._advance(
            _T.PROBE_FAILED, self._is_ours, failure_count=failures, last_failure_at=now, metadata={"probe": None}
        )

    def _advance(self, trigger: CircuitBreakerTrigger, concerned: Callable[[BreakerRow], bool], **columns: Any) -> None:
        with self._locked() as (dao, row):
            if concerned(row):
                dao.circuit_breakers.advance(row.id, trigger, **columns)

    def _take_probe(self, dao: UnitOfWork, row: BreakerRow) -> None:
        """Write down that this call is the probe; the version names the claim, since no two rows share one."""
        until = utc_text(self._store.clock() + timedelta(seconds=self._probe_sec))
        dao.circuit_breakers.change(row.id, metadata={"probe": {"claim": row.version, "until": until}})
        self._probe = row.version

    def _is_ours(self, row: BreakerRow) -> bool:
        probe = row.info.get("probe")
        return row.state == _S.HALF_OPEN and probe is not None and probe["claim"] == self._probe

    def _stored(self) -> BreakerRow:
        with self._store.begin(read_only=True) as dao:
            return dao.circuit_breakers.get(self.row.id)

    @contextmanager
    def _locked(self) -> Iterator[tuple[UnitOfWork, BreakerRow]]:
        """The row, read after a first write to it: nobody else can change it before the commit, on any database."""
        with self._store.begin() as dao:
            dao.circuit_breakers.change(self.row.id, failure_threshold=self.row.failure_threshold)
            yield dao, dao.circuit_breakers.get(self.row.id)

    def _held_back(self, row: BreakerRow) -> BreakerOpen:
        if row.state == _S.OPEN and row.opened_at:
            until = utc_moment(row.opened_at) + timedelta(seconds=row.cooldown_seconds)
            wait = max(0.0, (until - self._store.clock()).total_seconds())
            return BreakerOpen(tool=row.tool_id, until=utc_text(until), wait_sec=wait)
        return BreakerOpen(tool=row.tool_id, until="its probe has ended", wait_sec=row.cooldown_seconds)
