"""The router: which of the capable tools gets a task."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from prefect_acms.blocks.routing_rule import RoutingRule, Strategy
from prefect_acms.blocks.tool_spec import Tier, ToolSpec
from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.canonical.outside_errors import ToolUnavailable
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.tasks.clustering import effort_of
from prefect_acms.tasks.codemods.files import PREFIX
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.profiles import Toolbox

UNTRIED = 0.5
"""Score of a tool that has never run."""

ROUTINGS = "routings"
"""Under this name a task keeps every decision of the router, in their order."""

_SUCCESS, _SPEED = 0.7, 0.3

_RISKS = {
    GapSeverity.CRITICAL: Tier.HIGH,
    GapSeverity.HIGH: Tier.HIGH,
    GapSeverity.MEDIUM: Tier.MEDIUM,
    GapSeverity.LOW: Tier.LOW,
    GapSeverity.INFO: Tier.LOW,
}


class Decision(BaseModel):
    """Which tool was chosen, by what, and among which; kept with the task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool_id: str = Field(description="the tool that was chosen")
    rule: str | None = Field(description="the rule that matched; none: no rule did, so that tools come as in a cascade")
    strategy: str = Field(description="how it was picked: fixed, round_robin, metrics, cascade or first")
    risk: str = Field(default=Tier.LOW, description="the risk of the task: that of its most severe gap")
    complexity: str = Field(default=Tier.LOW, description="the complexity of the task, by its files and gaps")
    offered: tuple[str, ...] = Field(default=(), description="the tools that were offered, in the order of a cascade")
    candidates: tuple[str, ...] = Field(description="those of them that could do it, by name: it was picked from these")
    scores: dict[str, float] = Field(default_factory=dict, description="their scores, where the strategy has any")
    tried: tuple[str, ...] = Field(default=(), description="the tools that have been tried in this task before")
    left_out: dict[str, str] = Field(default_factory=dict, description="why other tools could not be candidates")


def score(calls: int, successes: int, total_latency_ms: float) -> float:
    """How good a tool has been so far, from 0 to 1: mostly how often it worked, a little how fast."""
    if calls == 0:
        return UNTRIED
    mean_latency_sec = total_latency_ms / calls / 1000
    return _SUCCESS * successes / calls + _SPEED / (1 + mean_latency_sec)


def risk_of(gaps: Iterable[Gap]) -> Tier:
    """How much is at stake: the tier of the most severe gap."""
    return max((_RISKS[gap.severity] for gap in gaps), key=lambda tier: tier.rank, default=Tier.LOW)


def complexity_of(gaps: Collection[Gap]) -> Tier:
    """How much work it is, by the number of files and gaps, as the effort of a workstream is."""
    files = {path for gap in gaps for path in gap.file_paths}
    return Tier(effort_of(len(files), len(gaps)).value)


class Router:
    """Chooses a tool by the first rule that matches a task and has a candidate for it."""

    def __init__(self, rules: Sequence[RoutingRule], toolbox: Toolbox, store: Store) -> None:
        self._rules = tuple(rules)
        self._toolbox = toolbox
        self._store = store

    def choose(
        self,
        task_kind: str,
        risk: str = Tier.LOW,
        complexity: str = Tier.LOW,
        candidates: Iterable[str] | None = None,
        *,
        required: Iterable[str] = (),
        ceiling: Tier = Tier.MEDIUM,
        tried: Collection[str] = (),
    ) -> Decision:
        """Choose among the candidates (none given: all tools without a model), less those that have been tried.

        The order of the candidates is that of a cascade, among tools of the same kind. Raises ToolUnavailable if none
        can do it.
        """
        needed = {task_kind, *required}
        offered = self._offered(candidates)
        left_out = self._left_out(offered, needed, ceiling, tried)
        fit = tuple(sorted(name for name in offered if name not in left_out))
        if not fit:
            wanted = ", ".join(sorted(needed))
            untried = " that has not been tried" if tried else ""
            raise ToolUnavailable(tool=f"for {task_kind}", problem=f"no allowed tool{untried} is capable of {wanted}")
        facts = {
            "risk": risk,
            "complexity": complexity,
            "offered": offered,
            "candidates": fit,
            "tried": tuple(tried),
            "left_out": left_out,
        }
        in_order = self._in_order([name for name in offered if name in fit])
        for rule in self._rules:
            among = tuple(name for name in (rule.tools or in_order) if name in fit)
            if among and rule.matches(task_kind, risk, complexity):
                tool_id, scores = self._pick(rule, among)
                return Decision(tool_id=tool_id, rule=rule.rule_id, strategy=rule.strategy, scores=scores, **facts)
        return Decision(tool_id=in_order[0], rule=None, strategy="first", **facts)

    def _offered(self, candidates: Iterable[str] | None) -> tuple[str, ...]:
        if candidates is None:
            return tuple(one.tool_id for one in self._toolbox if not one.ai)
        return tuple(dict.fromkeys(candidates))

    def _left_out(
        self, offered: Iterable[str], needed: Iterable[str], ceiling: Tier, tried: Collection[str]
    ) -> dict[str, str]:
        """Those of the offered tools that can't be candidates, each with the reason."""
        reasons: dict[str, str] = {}
        for name in offered:
            if name in tried:
                reasons[name] = "it has been tried in this task"
            elif name not in self._toolbox:
                reasons[name] = "there is no tool of that name"
            elif found := self._toolbox.shortcomings(self._toolbox.get(name), needed, ceiling):
                reasons[name] = "; ".join(found)
        return reasons

    def _in_order(self, names: Sequence[str]) -> tuple[str, ...]:
        """As a cascade takes them: codemods, tools without a model by name, then models as they were offered."""
        place = {name: number for number, name in enumerate(names)}

        def rank(name: str) -> tuple[int, int, str]:
            profile: ToolSpec = self._toolbox.get(name)
            return (3, place[name], name) if profile.ai else (0 if name.startswith(PREFIX) else 1, 0, name)

        return tuple(sorted(names, key=rank))

    def _pick(self, rule: RoutingRule, among: tuple[str, ...]) -> _Pick:
        with self._store.begin(read_only=rule.strategy is not Strategy.ROUND_ROBIN) as dao:
            return _PICKS[rule.strategy](dao, rule, among)


_Pick = tuple[str, dict[str, float]]


def _first(_dao: UnitOfWork, _rule: RoutingRule, among: tuple[str, ...]) -> _Pick:
    return among[0], {}


def _in_turn(dao: UnitOfWork, rule: RoutingRule, among: tuple[str, ...]) -> _Pick:
    return among[dao.tool_metrics.next_index(rule.rule_id) % len(among)], {}


def _best(dao: UnitOfWork, _rule: RoutingRule, among: tuple[str, ...]) -> _Pick:
    scores = {tool_id: _score_of(dao, tool_id) for tool_id in sorted(among)}
    return max(scores, key=scores.__getitem__), scores  # of equals the first, and they are in order of name


def _score_of(dao: UnitOfWork, tool_id: str) -> float:
    row = dao.tool_metrics.find(tool_id)
    return UNTRIED if row is None else score(row.call_count, row.success_count, row.total_latency_ms)


_PICKS: Mapping[Strategy, Callable[[UnitOfWork, RoutingRule, tuple[str, ...]], _Pick]] = {
    Strategy.FIXED: _first,
    Strategy.CASCADE: _first,
    Strategy.ROUND_ROBIN: _in_turn,
    Strategy.METRICS: _best,
}
