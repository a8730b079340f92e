"""What the rows say at this moment: breakers, tools, workers, reviews, and what is stuck."""

from __future__ import annotations

from datetime import datetime

from prefect_acms.canonical.budget import RESOURCES
from prefect_acms.canonical.circuit_breaker import CircuitBreakerState
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.dao.stuck import open_workers
from prefect_acms.tasks import metrics
from prefect_acms.tasks.budgets import run_limits
from prefect_acms.tasks.health import age_sec
from prefect_acms.tasks.metrics import Labels, Reading
from prefect_acms.tasks.reviews import review_of
from prefect_acms.tasks.standing import LET_GO_SEC
from prefect_acms.tasks.stuck import find_stuck

STICKS = ("run", "workstream", "task", "worker", "uet_worker")
"""The kinds of entities that can be stuck."""


def tools_now(dao: UnitOfWork) -> Reading:
    """Breakers and records of the tools."""
    states: dict[Labels, float] = {}
    for breaker in dao.circuit_breakers.all():
        states |= {(breaker.tool_id, state.value): float(breaker.state == state) for state in CircuitBreakerState}
    calls: dict[Labels, float] = {}
    seconds: dict[Labels, float] = {}
    for tool in dao.tool_metrics.all():
        calls[tool.tool_id, "worked"] = tool.success_count
        calls[tool.tool_id, "failed"] = tool.call_count - tool.success_count
        seconds[tool.tool_id,] = tool.total_latency_ms / 1000
    return {metrics.BREAKERS: states, metrics.TOOL_CALLS: calls, metrics.TOOL_SECONDS: seconds}


def budgets_now(dao: UnitOfWork) -> Reading:
    """What models have used up, and how much of their budgets the runs that go on have left."""
    tokens: dict[Labels, float] = {}
    usd: dict[Labels, float] = {}
    unpriced: dict[Labels, float] = {}
    for spending in dao.budgets.tally():
        tokens |= {(spending.tool_id, kind): number for kind, number in spending.tokens.items()}
        usd[spending.tool_id,] = float(spending.usd)
        unpriced[spending.tool_id,] = spending.unpriced
    limits: dict[Labels, float] = {(name,): 0.0 for name in RESOURCES}
    used, reserved = limits.copy(), limits.copy()
    for run in dao.runs.unended():
        budget = run_limits(run)
        spent, held = dao.budgets.used(run.id)
        for name in RESOURCES:
            reserved[name,] += float(getattr(held, name))
            if (limit := getattr(budget, name)) is not None:
                limits[name,] += float(limit)
                used[name,] += float(getattr(spent, name))
    return {
        metrics.SPENT_TOKENS: tokens,
        metrics.SPENT_USD: usd,
        metrics.UNPRICED: unpriced,
        metrics.BUDGET_LIMIT: limits,
        metrics.BUDGET_USED: used,
        metrics.BUDGET_RESERVED: reserved,
    }


def workers_now(dao: UnitOfWork, now: datetime) -> Reading:
    """Who works, and who has been silent for how long."""
    numbers: dict[Labels, float] = {}
    ages: dict[Labels, float] = {}
    for row in open_workers(dao):
        labels = (row.worker_type, row.state)
        numbers[labels] = numbers.get(labels, 0) + 1
        ages[labels] = max(ages.get(labels, 0.0), age_sec(row.last_heartbeat, now))
    return {metrics.WORKERS: numbers, metrics.HEARTBEATS: ages}


def reviews_now(dao: UnitOfWork, now: datetime) -> Reading:
    """What waits for a person, and since when."""
    reviews = [review_of(entry) for entry in dao.ledger.waiting()]
    ages = [age_sec(review.requested_at, now) for review in reviews if review is not None]
    return {metrics.REVIEWS: {(): len(reviews)}, metrics.REVIEW_AGE: {(): max(ages, default=0.0)}}


def stuck_now(store: Store) -> Reading:
    """What goes on no more, and for how many times what it may take."""
    numbers: dict[Labels, float] = {(kind,): 0 for kind in STICKS}
    ratios = numbers.copy()
    for item in find_stuck(store):
        numbers[item.kind,] += 1
        ratios[item.kind,] = max(ratios[item.kind,], item.age_sec / (item.limit_sec or LET_GO_SEC))
    return {metrics.STUCK: numbers, metrics.STUCK_RATIO: ratios}
