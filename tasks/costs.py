"""What a run has cost: tool by tool and as a whole, and what each patch has cost that came of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from decimal import Decimal

from prefect_acms.dao.budgets import BudgetEntryRow
from prefect_acms.tasks.budgets import EXCEEDED
from prefect_acms.tasks.landing import Landed
from prefect_acms.tasks.review_policy import FACTS
from prefect_acms.tasks.summary_model import CostRecord
from prefect_acms.tasks.summary_records import is_on_branch
from prefect_acms.tasks.summary_rows import Rows


def cost_of_run(rows: Rows, landed: Landed) -> CostRecord:
    """What all calls of a run have used up, and the patches of those tools among them that ask a model."""
    paid = {entry.tool_id for entry in rows.spent if _asks_model(entry)}
    return _cost(rows.spent, [maker for maker in _makers(rows, landed) if maker in paid])


def cost_of_tool(tool: str, rows: Rows, landed: Landed) -> CostRecord:
    """What the calls of one tool have used up."""
    entries = [entry for entry in rows.spent if entry.tool_id == tool]
    asks = any(map(_asks_model, entries))
    return _cost(entries, [maker for maker in _makers(rows, landed) if asks and maker == tool])


def over_budget(rows: Rows) -> tuple[str, ...]:
    """What was said of each budget of the run and of its tasks that had no room for a call, each sentence once."""
    told = (sentence for row in (rows.run, *rows.tasks) for sentence in row.info.get(EXCEEDED, {}).values())
    return tuple(dict.fromkeys(told))


def _makers(rows: Rows, landed: Landed) -> Iterator[str | None]:
    """The tool of each patch that is on the result branch."""
    tools = {task.id: task.tool_id for task in rows.tasks}
    for entry in rows.entries:
        if is_on_branch(entry, landed):
            yield entry.info.get(FACTS, {}).get("tool_id") or tools.get(entry.task_id)


def _asks_model(entry: BudgetEntryRow) -> bool:
    return bool(entry.tokens or entry.micro_usd or "is_priced" in entry.info)


def _cost(entries: Iterable[BudgetEntryRow], accepted: Collection[str | None]) -> CostRecord:
    settled = [entry for entry in entries if entry.settled_at is not None]

    def total(name: str) -> int:
        return sum(int(entry.info.get(name, 0)) for entry in settled)

    usd = sum((entry.amount.usd for entry in settled if entry.info.get("is_priced", True)), Decimal(0))
    return CostRecord(
        calls=sum(entry.tool_runs for entry in settled),
        wall_sec=round(sum(entry.wall_sec for entry in settled), 3),
        requests=total("requests"),
        input_tokens=total("input_tokens"),
        cached_tokens=total("cached_tokens"),
        output_tokens=total("output_tokens"),
        usd=float(usd),
        unpriced=sum(not entry.info.get("is_priced", True) for entry in settled),
        accepted=len(accepted),
        usd_per_accepted=round(float(usd / len(accepted)), 6) if accepted else None,
    )
