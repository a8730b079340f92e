"""Budget entries: what each call of a tool or model has used up, or holds set aside while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Index, Integer, case, func, insert, select, true, update
from sqlalchemy.orm import Mapped, mapped_column

from prefect_acms.canonical.budget import Amount
from prefect_acms.canonical.clock import utc_text
from prefect_acms.dao.reading import Dao
from prefect_acms.dao.schema import Moment, Row, at_least, to

_MICRO = 1_000_000
_KINDS = ("input", "cached", "output")


class BudgetEntryRow(Row):
    """One call: what it may use up until it is settled, and what it has used up from then on."""

    __tablename__ = "budget_entries"
    __table_args__ = (
        at_least("version", 1),
        at_least("wall_sec", 0),
        at_least("tool_runs", 0),
        at_least("tokens", 0),
        at_least("micro_usd", 0),
        Index(None, "run_id"),
        Index(None, "task_id"),
    )

    run_id: Mapped[str] = mapped_column(to("runs.id"))
    task_id: Mapped[str | None] = mapped_column(to("tasks.id"))
    tool_id: Mapped[str]
    wall_sec: Mapped[float]
    tool_runs: Mapped[int]
    tokens: Mapped[int]
    micro_usd: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"))
    """Millionths of a US dollar: whole numbers add up to the same on every database."""
    expires_at: Mapped[Moment]
    """When what is set aside counts no more, though nobody has settled it: its process is dead then."""
    settled_at: Mapped[Moment | None]

    @property
    def amount(self) -> Amount:
        """What it uses up."""
        return _amount(self.wall_sec, self.tool_runs, self.tokens, self.micro_usd)


class Spending(NamedTuple):
    """What the calls of one tool have used up: tokens by kind, US dollars, and calls whose price nobody knows."""

    tool_id: str
    tokens: dict[str, int]
    usd: Decimal
    unpriced: int


class BudgetDao(Dao[BudgetEntryRow]):
    """Budget entries."""

    row = BudgetEntryRow
    entity = "budget entry"

    def reserve(
        self, *, run_id: str, task_id: str | None = None, tool_id: str, amount: Amount, hold_sec: float
    ) -> BudgetEntryRow:
        """Set aside what a call may use up, for so many seconds at most."""
        now, id_ = self._now(), self._unit.store.ids.new("spend")
        until = utc_text(self._unit.store.clock() + timedelta(seconds=hold_sec))
        own = {"id": id_, "version": 1, "created_at": now, "updated_at": now, "info": {}, "expires_at": until}
        whose = {"run_id": run_id, "task_id": task_id, "tool_id": tool_id}
        self._do(insert(BudgetEntryRow).values(**own, **whose, **_columns(amount)), id_)
        return self.get(id_)

    def settle(self, entry_id: str, amount: Amount, metadata: Mapping[str, Any] | None = None) -> None:
        """Replace what was set aside by what was used up."""
        info = self._unit.store.scrubber.value({**self.get(entry_id).info, **(metadata or {})})
        now = self._now()
        ended = {"settled_at": now, "updated_at": now, "version": BudgetEntryRow.version + 1, "info": info}
        self._do(update(BudgetEntryRow).where(BudgetEntryRow.id == entry_id).values(**ended, **_columns(amount)))

    def release(self, entry_id: str) -> None:
        """Give back what was set aside for a call that was not made; one that was given up with its driver stays so."""
        if self.get(entry_id).settled_at is None:
            self.settle(entry_id, Amount())

    def give_up(self, run_id: str) -> None:
        """Settle what a driver before has left open: its calls count as runs, and those of a model as what they held.

        What they have really used up nobody knows; were it nothing, a run that is killed again and again would cost
        nothing.
        """
        now, is_model = self._now(), (BudgetEntryRow.tokens > 0) | (BudgetEntryRow.micro_usd > 0)
        left = (BudgetEntryRow.run_id == run_id, BudgetEntryRow.settled_at.is_(None))
        ended = {"settled_at": now, "updated_at": now, "version": BudgetEntryRow.version + 1, "wall_sec": 0.0}
        # a statement for each, so that a driver that still lives and settles its call beside us has its word
        for which, info in ((is_model, {"abandoned": True, "is_priced": False}), (~is_model, {"abandoned": True})):
            self._do(update(BudgetEntryRow).where(*left, which).values(**ended, info=info), run_id)

    def hold_still(self, run_id: str) -> None:
        """Until the end of this unit nobody else reserves anything for the run."""
        self._unit.admit()
        self._unit.trail.head(run_id)

    def used(self, run_id: str, task_id: str | None = None) -> tuple[Amount, Amount]:
        """What the calls of a run, or of one of its tasks, have used up, and what is set aside for those going on.

        It is asked in one statement: a call that is settled between two would be in neither.
        """
        settled = BudgetEntryRow.settled_at.is_not(None)
        held = BudgetEntryRow.settled_at.is_(None) & (BudgetEntryRow.expires_at > self._now())
        columns = (BudgetEntryRow.wall_sec, BudgetEntryRow.tool_runs, BudgetEntryRow.tokens, BudgetEntryRow.micro_usd)
        sums = [func.sum(case((which, column), else_=0)) for which in (settled, held) for column in columns]
        statement = select(*(func.coalesce(one, 0) for one in sums)).where(BudgetEntryRow.run_id == run_id)
        if task_id is not None:
            statement = statement.where(BudgetEntryRow.task_id == task_id)
        found = self._unit.session.execute(statement).one()
        return _amount(*found[:4]), _amount(*found[4:])

    def of_run(self, run_id: str) -> list[BudgetEntryRow]:
        """Every entry of a run, in the order in which the calls began."""
        return self._all(select(BudgetEntryRow).where(BudgetEntryRow.run_id == run_id).order_by(BudgetEntryRow.id))

    def tally(self) -> list[Spending]:
        """What all runs have used up, by tool."""
        info, row = BudgetEntryRow.info, BudgetEntryRow
        priced = func.coalesce(info["is_priced"].as_boolean(), true())
        tokens = [func.sum(func.coalesce(info[f"{kind}_tokens"].as_integer(), 0)) for kind in _KINDS]
        money = [func.sum(case((priced, row.micro_usd), else_=0)), func.sum(case((priced, 0), else_=1))]
        statement = select(row.tool_id, *tokens, *money).where(row.settled_at.is_not(None))
        found = self._unit.session.execute(statement.group_by(row.tool_id).order_by(row.tool_id))
        return [
            Spending(
                tool, dict(zip(_KINDS, map(int, sums[:3]), strict=True)), Decimal(int(sums[3])) / _MICRO, int(sums[4])
            )
            for tool, *sums in found
        ]


def _amount(wall_sec: float, tool_runs: int, tokens: int, micro_usd: int) -> Amount:
    return Amount(float(wall_sec), int(tool_runs), int(tokens), Decimal(int(micro_usd)) / _MICRO)


def _columns(amount: Amount) -> dict[str, Any]:
    micro_usd = int((amount.usd * _MICRO).to_integral_value(ROUND_CEILING))
    return {
        "wall_sec": max(0.0, amount.wall_sec),
        "tool_runs": amount.tool_runs,
        "tokens": amount.tokens,
        "micro_usd": micro_usd,
    }
