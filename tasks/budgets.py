"""Budgets: a call of a tool or model is made only if what it may use up fits in, beside all that goes on at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from prefect_acms.blocks.budget import BudgetLimits, BudgetSettings
from prefect_acms.canonical.budget import Account, Amount, Limits, fits_beside, fitted, spent_for_good
from prefect_acms.canonical.errors import BudgetExceeded
from prefect_acms.canonical.events import Notice
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Fence, Store, UnitOfWork
from prefect_acms.tasks.prices import cost_of
from prefect_acms.tasks.reports.text import count

if TYPE_CHECKING:
    from prefect_acms.tasks.usage import Usage

Estimate = Amount
"""What a call may use up at most, as it is asked for."""

WAIT_SEC = 0.2
"""How often a call that has to wait for others looks whether they are over."""

MARGIN_SEC = 60.0
"""How much longer than its time a call may hold what was set aside for it."""

UNTIMED_SEC = 3600.0
"""How long a call without a time of its own may hold it."""

EXCEEDED = "budget_exceeded"
"""Where a task and a run keep which of their budgets had no room left, so that it is told once."""

_TOLD = {"model", "provider", "requests", "input_tokens", "cached_tokens", "output_tokens"}
"""What an entry keeps of a use of a model."""

_SHOWN: Mapping[str, Callable[[Any], str]] = {
    "wall_sec": lambda value: f"{value:.6g} s of work",
    "tool_runs": lambda value: count(value, "tool run"),
    "tokens": lambda value: count(value, "token"),
    "usd": lambda value: f"${value:f}",
}


@dataclass(frozen=True, slots=True)
class _Scope:
    """A budget: of a run, or of one of its tasks."""

    name: str
    limits: Limits
    run_id: str
    task_id: str | None

    def account(self, dao: UnitOfWork) -> Account:
        return Account(self.limits, *dao.budgets.used(self.run_id, self.task_id))


@dataclass(slots=True)
class Reservation:
    """What is set aside for one call; a call that has a time limit may take `granted.wall_sec` at most."""

    entry_id: str
    granted: Amount
    _budgets: Budgets
    is_settled: bool = field(default=False, init=False)
    is_begun: bool = field(default=False, init=False)

    def begin(self) -> None:
        """Say that the call is being made: from now on it has used something up, whatever becomes of it."""
        self.is_begun = True

    def settle(self, usage: Usage | None, wall_sec: float) -> None:
        """Count what the call has used up instead; whoever drives the run meanwhile, it was spent."""
        self._budgets.settle(self, usage, wall_sec)


@dataclass(frozen=True, slots=True)
class Budgets:
    """The budgets of runs and of their tasks, over all threads and processes that work for them."""

    store: Store
    settings: BudgetSettings
    fence: Fence | None = None
    sleep: Callable[[float], None] = time.sleep
    """Waits for others; may raise, where there is nothing more to wait for."""

    @contextmanager
    def reserved(
        self, *, run_id: str, task_id: str | None = None, tool_id: str, estimate: Estimate
    ) -> Iterator[Reservation]:
        """A block in which one call may be made; one that has not begun in it is as if it had not been asked for.

        While others hold what it would need, it waits for them. Raises BudgetExceeded, before anything is spent, once
        it is sure that there is not enough left.
        """
        reservation = self._reserve(self._scopes(run_id, task_id), tool_id, estimate)
        try:
            yield reservation
        finally:
            if not reservation.is_settled:
                self._end(reservation)

    def _end(self, reservation: Reservation) -> None:
        """Settle a call that was broken off; what was set aside for one that has not begun goes back."""
        if reservation.is_begun:
            self.settle(reservation, None, 0.0)
            return
        with self.store.begin() as dao:
            dao.budgets.release(reservation.entry_id)

    def settle(self, reservation: Reservation, usage: Usage | None, wall_sec: float) -> None:
        """Count what a call has used up; what has no known price counts as what was set aside for it."""
        amount = Amount(wall_sec, reservation.granted.tool_runs)
        known: dict[str, Any] = {}
        if usage is not None:
            cost = cost_of(usage, self.settings.prices)
            tokens = usage.input_tokens + usage.output_tokens
            amount = replace(amount, tokens=tokens, usd=reservation.granted.usd if cost is None else cost)
            known = usage.model_dump(include=_TOLD) | {"is_priced": cost is not None}
        elif reservation.granted.tokens or reservation.granted.usd:
            # A model that says nothing of its use has used something all the same.
            amount = replace(amount, tokens=reservation.granted.tokens, usd=reservation.granted.usd)
            known = {"is_priced": False}
        with self.store.begin() as dao:
            dao.budgets.settle(reservation.entry_id, amount, known)
        reservation.is_settled = True

    def _scopes(self, run_id: str, task_id: str | None) -> tuple[_Scope, ...]:
        whole = _Scope("run", self.settings.run.limits, run_id, None)
        return (whole,) if task_id is None else (_Scope("task", self.settings.task.limits, run_id, task_id), whole)

    def _reserve(self, scopes: tuple[_Scope, ...], tool_id: str, estimate: Amount) -> Reservation:
        while True:
            with self.store.begin(fence=self.fence) as dao:
                dao.budgets.hold_still(scopes[0].run_id)
                accounts = [scope.account(dao) for scope in scopes]
                refusal = _refusal(scopes, accounts, tool_id, estimate)
                asked = fitted(accounts, estimate)
                if refusal is not None:
                    _tell(dao, *refusal)
                elif fits_beside(accounts, asked):
                    hold_sec = (asked.wall_sec or UNTIMED_SEC) + MARGIN_SEC
                    entry = dao.budgets.reserve(
                        run_id=scopes[0].run_id,
                        task_id=scopes[0].task_id,
                        tool_id=tool_id,
                        amount=asked,
                        hold_sec=hold_sec,
                    )
                    return Reservation(entry.id, asked, self)
            if refusal is not None:
                raise refusal[1]
            self._wait(scopes, estimate)

    def _wait(self, scopes: tuple[_Scope, ...], estimate: Amount) -> None:
        """Wait until it looks as if there were an answer."""
        while True:
            self.sleep(WAIT_SEC)
            with self.store.begin(read_only=True) as dao:
                accounts = [scope.account(dao) for scope in scopes]
            gone = any(spent_for_good(account, estimate) for account in accounts)
            if gone or fits_beside(accounts, fitted(accounts, estimate)):
                return


def run_limits(run: RunRow) -> Limits:
    """The limits of a run, as its stored configuration says; none for one that a newer or an older acms has stored."""
    try:
        return BudgetLimits.model_validate(run.config.get("budget", {}).get("run", {})).limits
    except ValidationError:
        return Limits()


def _refusal(
    scopes: tuple[_Scope, ...], accounts: list[Account], tool_id: str, asked: Amount
) -> tuple[_Scope, BudgetExceeded] | None:
    for scope, account in zip(scopes, accounts, strict=True):
        if name := spent_for_good(account, asked):
            amounts = {"limit": account.limits, "spent": account.spent, "reserved": account.reserved, "asked": asked}
            said = {word: _SHOWN[name](getattr(amount, name)) for word, amount in amounts.items()}
            error = BudgetExceeded(scope=scope.name, resource=name, tool=tool_id, **said)
            return scope, error
    return None


def _tell(dao: UnitOfWork, scope: _Scope, error: BudgetExceeded) -> None:
    """Put it into the trail, once for each resource of a run or task."""
    rows, id_ = (dao.runs, scope.run_id) if scope.task_id is None else (dao.tasks, scope.task_id)
    known = rows.get(id_).info.get(EXCEEDED, {})
    resource = error.facts["resource"]
    if resource not in known:
        rows.change(id_, metadata={EXCEEDED: {**known, resource: str(error)}})
        rows.note(id_, Notice.BUDGET_EXCEEDED, reason=str(error), event_metadata=error.facts)
