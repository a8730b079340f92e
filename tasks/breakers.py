"""Circuit breakers: a tool that keeps hanging or crashing is held back for a while, in every process.

pybreaker says what a success or a failure leads to; the canonical service says whether the state may change, by the
store's clock. Each call has a `CircuitBreaker` of its own over the stored row: pybreaker holds a breaker's lock while
the function runs, so that a shared one would let a tool run only once at a time, and a breaker that lives longer
resets the stored count whenever it notices that another process has closed it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pybreaker import STATE_HALF_OPEN, CircuitBreaker, CircuitBreakerListener

from prefect_acms.blocks.config import ResilienceSettings
from prefect_acms.canonical.circuit_breaker import CircuitBreakerState, CircuitBreakerTrigger
from prefect_acms.canonical.errors import NotFound, RowRefused
from prefect_acms.canonical.outside_errors import ToolUnavailable
from prefect_acms.dao.circuit_breakers import BreakerRow
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.tasks.breaker_storage import StoredBreaker
from prefect_acms.tasks.processes import ProcessResult
from prefect_acms.tasks.tools import is_infrastructure_fault

PROBE_SEC = 3600.0
"""Seconds after which a probe that was never heard of again, since its process died, is given up."""

T = TypeVar("T")


class ToolBreakers:
    """The breakers of all tools, as the store has them."""

    def __init__(self, store: Store, settings: ResilienceSettings, *, probe_sec: float = PROBE_SEC) -> None:
        self._store = store
        self._settings = settings
        self._probe_sec = probe_sec

    def call(self, tool_id: str, function: Callable[[], T], *, faulty: Callable[[T], bool] | None = None) -> T:
        """Run the function and hand on what it gives or raises; raises BreakerOpen, without running it, if held back.

        Against the tool count a result that is `faulty` (by default: a process that hung or crashed), ToolUnavailable
        and OSError; any other error says nothing about it, and neither does an exit code.
        """
        storage = StoredBreaker(self._store, self._row(tool_id), self._probe_sec)
        row = storage.row
        breaker = CircuitBreaker(
            fail_max=row.failure_threshold,
            reset_timeout=row.cooldown_seconds,
            success_threshold=row.success_threshold,
            exclude=[_speaks_of_something_else],
            listeners=[_OneProbe(storage)],
            state_storage=storage,
            name=tool_id,
            throw_new_error_on_trip=False,
        )
        try:
            judged: T = breaker.call(_judged, storage, function, faulty or _hung_or_crashed)
        except _FaultyResult as fault:
            result: T = fault.result
            return result
        else:
            return judged
        finally:
            storage.end_probe()

    def reset(self, tool_id: str, operator: str, reason: str = "reset by hand") -> None:
        """Close an open breaker by hand, by way of HALF_OPEN; raises InvalidTransition if it is closed."""
        with self._store.begin() as dao:
            close_by_hand(dao, tool_id, operator, reason)

    def _row(self, tool_id: str) -> BreakerRow:
        """The stored breaker, with the thresholds of this run's settings; made when there is none yet."""
        wanted: dict[str, Any] = {
            "failure_threshold": self._settings.failure_threshold,
            "cooldown_seconds": self._settings.cooldown_sec,
            "success_threshold": self._settings.success_threshold,
        }
        with self._store.begin(read_only=True) as dao:
            row = dao.circuit_breakers.for_tool(tool_id)
        if row is not None and all(getattr(row, name) == value for name, value in wanted.items()):
            return row
        try:
            return self._written(tool_id, wanted)
        except RowRefused:
            # Another process made it between our look and our write; now it is there.
            return self._written(tool_id, wanted)

    def _written(self, tool_id: str, wanted: dict[str, Any]) -> BreakerRow:
        with self._store.begin() as dao:
            row = dao.circuit_breakers.for_tool(tool_id)
            if row is None:
                return dao.circuit_breakers.create(tool_id=tool_id, **wanted)
            dao.circuit_breakers.change(row.id, **wanted)
            return dao.circuit_breakers.get(row.id)


def close_by_hand(dao: UnitOfWork, tool_id: str, operator: str, reason: str) -> BreakerRow:
    """Close the open breaker of a tool, by way of HALF_OPEN; raises NotFound, or InvalidTransition if it is closed."""
    row = dao.circuit_breakers.for_tool(tool_id)
    if row is None:
        raise NotFound(entity="circuit breaker of tool", id=tool_id)
    if row.state != CircuitBreakerState.HALF_OPEN:
        dao.circuit_breakers.advance(row.id, CircuitBreakerTrigger.MANUAL_RESET, reason=reason, operator=operator)
    dao.circuit_breakers.advance(
        row.id,
        CircuitBreakerTrigger.SUCCESS_THRESHOLD_MET,
        reason=reason,
        operator=operator,
        success_count=0,
        metadata={"probe": None},
    )
    return row


class _FaultyResult(Exception):
    """Carries a result past pybreaker, which counts what is raised."""

    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result


def _judged(storage: StoredBreaker, function: Callable[[], T], faulty: Callable[[T], bool]) -> T:
    """Run the function; what speaks against the tool is raised, what speaks neither for nor against it is void."""
    try:
        result = function()
    except BaseException as error:
        if _speaks_of_something_else(error):
            storage.void()
        raise
    if faulty(result):
        raise _FaultyResult(result)
    return result


def _speaks_of_something_else(error: BaseException) -> bool:
    return not isinstance(error, (_FaultyResult, ToolUnavailable, OSError))


def _hung_or_crashed(result: Any) -> bool:
    return isinstance(result, ProcessResult) and is_infrastructure_fault(result)


class _OneProbe(CircuitBreakerListener):
    """Lets a call into a half-open breaker only as its one probe."""

    def __init__(self, storage: StoredBreaker) -> None:
        self._storage = storage

    def before_call(self, cb: CircuitBreaker, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:  # noqa: ARG002 - pybreaker's signature
        """Claim the probe; raises BreakerOpen when it is somebody else's."""
        if cb.current_state == STATE_HALF_OPEN:
            self._storage.claim_probe()
