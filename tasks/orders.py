"""An operator's order: checked, carried out in one unit of work, and told in the trail under the operator's name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.canonical.errors import InvalidValue, RunDriven, UnknownName
from prefect_acms.canonical.events import Event, Notice
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.overrides import Override
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.service import StateDao
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.tasks.branch_moves import BranchMove, back_without_rows
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.leases import driver_of
from prefect_acms.tasks.repository import Repository


class By(TypedDict):
    """Who orders something, and why."""

    operator: str
    reason: str


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator wants done to one entity, and why."""

    action: Override
    entity_id: str
    operator: str
    reason: str

    @classmethod
    def of(cls, action: str, entity_id: str, operator: str, reason: str) -> Order:
        """Check an order; raises UnknownName or InvalidValue."""
        if action not in set(Override):
            raise UnknownName(kind="override", name=action, known=[override.value for override in Override])
        return cls(Override(action), entity_id, **signed(operator, reason))

    @property
    def by(self) -> By:
        """Who and why, as a transition takes them."""
        return {"operator": self.operator, "reason": self.reason}

    def note(self, noun: StateDao[Any], entity_id: str, **metadata: Any) -> None:
        """Tell in the trail that this was done by hand."""
        noun.note(
            entity_id, Notice.MANUAL_OVERRIDE, **self.by, event_metadata={"action": self.action.value, **metadata}
        )


def signed(operator: str, reason: str) -> By:
    """Who and why, without blanks around it; raises InvalidValue when one of them is missing."""
    _require("operator", operator, "the name of who orders it")
    _require("reason", reason, "why it is ordered")
    return By(operator=operator.strip(), reason=reason.strip())


def _require(field: str, text: str, expected: str) -> None:
    if not text.strip():
        raise InvalidValue(field=field, value=text, expected=expected)


CarryOut = Callable[[Store, Order], Sequence[Event]]


def in_one_unit(act: Callable[[UnitOfWork, Order], None]) -> CarryOut:
    """The way to carry out an order that one unit of work is enough for: all of it, or nothing."""

    def carry_out(store: Store, order: Order) -> Sequence[Event]:
        with store.begin() as dao:
            act(dao, order)
            return tuple(dao.trail.events)

    return carry_out


def with_branch(act: Callable[[UnitOfWork, Order], BranchMove | None]) -> CarryOut:
    """The way to carry out an order that may take a branch back as well, which is done last, or not at all."""

    def carry_out(store: Store, order: Order) -> Sequence[Event]:
        moves: list[BranchMove] = []
        with back_without_rows(moves), store.begin() as dao:
            move = act(dao, order)
            if move is not None:
                moves.append(move)
                move.make(dao)
            return tuple(dao.trail.events)

    return carry_out


def require_undriven(dao: UnitOfWork, run_id: str) -> RunRow:
    """The run, which nobody drives; raises RunDriven: what a driver has in its memory is not changed under it."""
    run = dao.runs.get(run_id)
    driver = driver_of(run, dao.store.clock())
    if driver is not None:
        raise RunDriven(run_id=run_id, pid=driver.pid, host=driver.host)
    return run


def take_in_hand(dao: UnitOfWork, run_id: str) -> RunRow:
    """The run, which nobody drives from here on: a driver that only slept is fenced off. Raises RunDriven."""
    run = require_undriven(dao, run_id)
    if run.state in MACHINES["run"].terminal:
        return run
    dao.runs.take_over(run_id)
    return dao.runs.get(run_id)


def drive_in_hand(dao: UnitOfWork, run: RunRow) -> Drive:
    """A drive of a run in hand, for what needs its repository; raises NotARepository once that is gone."""
    config = PipelineConfig.model_validate(run.config)
    repository = Repository.open(Path(run.repo_root))
    return Drive(dao.store, run.id, run.epoch, config, repository, run.base_commit or "")
