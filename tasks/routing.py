"""The router: which of the capable tools gets a task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from prefect_acms.blocks.routing_rule import RoutingRule, Strategy
from prefect_acms.blocks.tool_spec import Tier
from prefect_acms.canonical.outside_errors import ToolUnavailable
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.tasks.profiles import Toolbox

UNTRIED = 0.5
"""Score of a tool that has never run."""

_SUCCESS, _SPEED = 0.7, 0.3


class Decision(BaseModel):
    """Which tool was chosen, by what, and among which; kept with the task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool_id: str = Field(description="the tool that was chosen")
    rule: str | None = Field(description="the rule that matched; none: the first capable tool by name")
    strategy: str = Field(description="how it was picked: fixed, round_robin, metrics or first")
    candidates: tuple[str, ...] = Field(description="the tools that it was picked from, by name")
    scores: dict[str, float] = Field(default_factory=dict, description="their scores, where the strategy has any")


def score(calls: int, successes: int, total_latency_ms: float) -> float:
    """How good a tool has been so far, from 0 to 1: mostly how often it worked, a little how fast."""
    if calls == 0:
        return UNTRIED
    mean_latency_sec = total_latency_ms / calls / 1000
    return _SUCCESS * successes / calls + _SPEED / (1 + mean_latency_sec)


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
    ) -> Decision:
        """Choose among the candidates (none given: all tools) that can do it; raises ToolUnavailable if none can."""
        capable = [one.tool_id for one in self._toolbox.capable({task_kind, *required}, ceiling=ceiling)]
        fit = tuple(sorted(capable if candidates is None else set(capable) & set(candidates)))
        if not fit:
            wanted = ", ".join(sorted({task_kind, *required}))
            raise ToolUnavailable(tool=f"for {task_kind}", problem=f"no allowed tool is capable of {wanted}")
        for rule in self._rules:
            among = tuple(name for name in (rule.tools or fit) if name in fit)
            if among and rule.matches(task_kind, risk, complexity):
                return self._pick(rule, among, fit)
        return Decision(tool_id=fit[0], rule=None, strategy="first", candidates=fit)

    def _pick(self, rule: RoutingRule, among: tuple[str, ...], fit: tuple[str, ...]) -> Decision:
        with self._store.begin(read_only=rule.strategy is not Strategy.ROUND_ROBIN) as dao:
            tool_id, scores = _PICKS[rule.strategy](dao, rule, among)
        return Decision(tool_id=tool_id, rule=rule.rule_id, strategy=rule.strategy, candidates=fit, scores=scores)


_Pick = tuple[str, dict[str, float]]


def _fixed(_dao: UnitOfWork, _rule: RoutingRule, among: tuple[str, ...]) -> _Pick:
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
    Strategy.FIXED: _fixed,
    Strategy.ROUND_ROBIN: _in_turn,
    Strategy.METRICS: _best,
}
