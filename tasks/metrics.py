"""What is measured: every metric by name, with its labels, as Prometheus and the reference page tell it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

MICROS = 1_000_000
"""Times are summed in whole microseconds: sums of floats depend on their order, and a sum must never be a bit less."""

Labels = tuple[str, ...]
"""The values of a metric's labels, in their order."""

STATE_SECONDS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
"""Upper bounds for the time in a state: from a claim to a day of waiting for a person."""

GATE_SECONDS = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
"""Upper bounds for the time of a gate, whose default timeout is the last of them."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One metric: how it is called, what kind it is, and what it says."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()

    @property
    def samples(self) -> tuple[str, ...]:
        """The names that a query can use."""
        if self.kind == "histogram":
            return (f"{self.name}_bucket", f"{self.name}_sum", f"{self.name}_count")
        return (self.name,)

    def family(self, values: Mapping[Labels, float | Spread]) -> Metric:
        """The metric with its values, as the library writes it."""
        if self.kind == "histogram":
            spread = HistogramMetricFamily(self.name, self.help, labels=self.labels)
            for labels, value in values.items():
                if isinstance(value, Spread):
                    spread.add_metric(labels, buckets=list(value.buckets()), sum_value=value.total)
            return spread
        kind = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        plain = kind(self.name, self.help, labels=self.labels)
        for labels, value in values.items():
            plain.add_metric(labels, float(value) if not isinstance(value, Spread) else value.total)
        return plain


class Spread:
    """Observed times, counted by their upper bounds."""

    __slots__ = ("_bounds", "_counts", "_micros", "_names")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._names = [*map(floatToGoString, bounds), "+Inf"]
        self._bounds = [int(bound * MICROS) for bound in bounds]
        self._counts = [0] * len(self._names)
        self._micros = 0

    def observe(self, micros: int) -> None:
        """Count one time."""
        self._counts[bisect_left(self._bounds, micros)] += 1
        self._micros += micros

    @property
    def total(self) -> float:
        """All of them together, in seconds."""
        return self._micros / MICROS

    def buckets(self) -> Iterator[tuple[str, int]]:
        """Each bound with the number of times up to it."""
        return zip(self._names, accumulate(self._counts), strict=True)


TRANSITIONS = Measure(
    "state_transitions_total",
    "counter",
    "State changes in the audit trail. Every legal change is there from the start, at 0; `from` is empty where an "
    "entity is made.",
    ("entity", "from", "to", "trigger"),
)
STATES = Measure("entity_state", "gauge", "How many entities are in each state now.", ("entity", "state"))
DURATIONS = Measure(
    "state_transition_duration_seconds",
    "histogram",
    "How long an entity was in the state that it left.",
    ("entity", "from"),
    STATE_SECONDS,
)
OVERRIDES = Measure(
    "manual_state_overrides_total", "counter", "Changes by hand, ordered by `acms override`.", ("action",)
)
UP = Measure("acms_up", "gauge", "1 if the store has answered; without an answer there is nothing else but this 0.")
READ_SECONDS = Measure("acms_store_read_seconds", "gauge", "How long the store was read for this answer.")
TASKS = Measure(
    "acms_tasks_total",
    "counter",
    "Tasks that have ended; `tool` is the one that was chosen for the task, or `none`.",
    ("tool", "kind", "outcome"),
)
TOOL_CALLS = Measure("acms_tool_calls_total", "counter", "Calls of each tool, by how they went.", ("tool", "outcome"))
TOOL_SECONDS = Measure("acms_tool_call_seconds_total", "counter", "Seconds spent in calls of each tool.", ("tool",))
GATES = Measure(
    "acms_gate_duration_seconds",
    "histogram",
    "How long the commands of gates took; `verdict` is passed, failed or timed_out.",
    ("type", "verdict"),
    GATE_SECONDS,
)
PATCHES = Measure(
    "acms_patches_total",
    "counter",
    "Patches that met a fate: committed, rolled_back, quarantined or dropped. One may meet several, one after another.",
    ("fate",),
)
BREAKERS = Measure(
    "acms_breaker_state", "gauge", "1 for the state that the breaker of a tool is in, else 0.", ("tool", "state")
)
QUEUE = Measure(
    "acms_queue_depth",
    "gauge",
    "Tasks that have not started or wait for their next attempt, by state; `queued` are those that only lack a worker.",
    ("state",),
)
SPENT_SECONDS = Measure(
    "acms_spent_wall_seconds_total", "counter", "Seconds from start to end of runs that have ended.", ("mode",)
)
SPENT_TOOL_RUNS = Measure(
    "acms_spent_tool_runs_total", "counter", "Processes of tools that runs have started.", ("mode",)
)
SPENT_TOKENS = Measure(
    "acms_spent_tokens_total",
    "counter",
    "Tokens of models that each tool has used up, as far as it tells; `cached` are part of `input`.",
    ("tool", "kind"),
)
SPENT_USD = Measure(
    "acms_spent_usd_total", "counter", "US dollars for the calls of models whose price is known.", ("tool",)
)
UNPRICED = Measure("acms_unpriced_calls_total", "counter", "Calls of models whose price nobody knows.", ("tool",))
BUDGET_LIMIT = Measure(
    "acms_budget_limit",
    "gauge",
    "What the runs that have not ended may use up together: those of them that have a limit.",
    ("resource",),
)
BUDGET_USED = Measure(
    "acms_budget_used", "gauge", "What these runs have used up of it, without what is set aside.", ("resource",)
)
BUDGET_RESERVED = Measure(
    "acms_budget_reserved", "gauge", "What is set aside now for calls that are going on, of all runs.", ("resource",)
)
BUDGET_EXCEEDED = Measure(
    "acms_budget_exceeded_total",
    "counter",
    "Budgets that had no room for a call, each counted once; `scope` is run or task.",
    ("scope",),
)
WORKERS = Measure("acms_workers", "gauge", "Workers that are not shut down.", ("type", "state"))
HEARTBEATS = Measure(
    "acms_worker_heartbeat_age_seconds",
    "gauge",
    "Age of the oldest heartbeat among the workers that are not shut down.",
    ("type", "state"),
)
STUCK = Measure("acms_stuck", "gauge", "What goes on no more by itself, as `acms stuck` lists it.", ("entity",))
STUCK_RATIO = Measure(
    "acms_stuck_ratio",
    "gauge",
    "The longest time for which something is stuck, as a multiple of what it may take; 0 where nothing is. A run that "
    "nobody drives may take 30 s.",
    ("entity",),
)
REVIEWS = Measure("acms_reviews_waiting", "gauge", "Patches that wait for a person.")
REVIEW_AGE = Measure("acms_review_age_seconds", "gauge", "How long the oldest of them has been waiting; 0 without any.")

MEASURES = (
    TRANSITIONS,
    STATES,
    DURATIONS,
    OVERRIDES,
    UP,
    READ_SECONDS,
    TASKS,
    TOOL_CALLS,
    TOOL_SECONDS,
    GATES,
    PATCHES,
    BREAKERS,
    QUEUE,
    SPENT_SECONDS,
    SPENT_TOOL_RUNS,
    SPENT_TOKENS,
    SPENT_USD,
    UNPRICED,
    BUDGET_LIMIT,
    BUDGET_USED,
    BUDGET_RESERVED,
    BUDGET_EXCEEDED,
    WORKERS,
    HEARTBEATS,
    STUCK,
    STUCK_RATIO,
    REVIEWS,
    REVIEW_AGE,
)
"""Every metric, in the order of the page."""

Reading = Mapping[Measure, Mapping[Labels, "float | Spread"]]
"""What was found out at one moment."""
