"""From workstreams to the plan: which tasks, governed by which pattern, in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError

from prefect_acms.blocks.config import ExecutionSettings
from prefect_acms.blocks.guardrails import GuardrailSettings
from prefect_acms.blocks.tool_spec import TaskKind
from prefect_acms.canonical.errors import CyclicPlan, InvalidDocument
from prefect_acms.tasks.clustering import workstream_of
from prefect_acms.tasks.gaps import Gap, gap_order
from prefect_acms.tasks.linking import TESTING, gaps_in_order, linked, staged
from prefect_acms.tasks.ordering import cycle_of, drawn
from prefect_acms.tasks.patterns import Pattern, PatternIndex
from prefect_acms.tasks.phase_plans import export_phase_plan, import_phase_plan
from prefect_acms.tasks.plan_checks import read_plan, validate_plan, write_plan
from prefect_acms.tasks.plans import Effort, Plan, PlannedTask, Workstream

__all__ = [
    "Compiled",
    "compile_plan",
    "export_phase_plan",
    "import_phase_plan",
    "read_plan",
    "validate_plan",
    "write_plan",
]

INSPECTION = "inspection"
VERIFICATION = "verification"

VERIFIED_CATEGORIES = frozenset({TESTING, "quality", "validation"})
"""Categories whose workstreams end with a test, whatever else."""

CURES_NOTHING = "a test that fails now would fail again: nothing in this plan changes code"


@dataclass(frozen=True, slots=True)
class Compiled:
    """A plan, and the gaps for which there is nothing to plan, each with the reason."""

    plan: Plan
    not_fixable: tuple[tuple[Gap, str], ...]


def compile_plan(
    workstreams: Sequence[Workstream],
    gaps: Iterable[Gap],
    patterns: PatternIndex,
    *,
    repository: str,
    base_commit: str,
    has_tests: bool,
    execution: ExecutionSettings | None = None,
    guardrails: GuardrailSettings | None = None,
    max_retries: int = 3,
) -> Compiled:
    """Turn workstreams into a DAG of tasks; a gap that no tool can mend gets a reason instead of a task.

    Workstreams keep their keys and shrink to the gaps that something can be done about; one with none is left out.
    Raises CyclicPlan or InvalidDocument when the workstreams contradict themselves.
    """
    by_name = {gap.fingerprint: gap for gap in gaps}
    members = _members(workstreams, by_name)
    rails = guardrails or GuardrailSettings()
    refused = _refused([gap for group in members.values() for gap in group], patterns, rails)
    kept = {
        key: left
        for key, group in members.items()
        if (left := [gap for gap in group if gap.fingerprint not in refused])
    }
    shrunk = _shrunk(kept)
    timeout_sec = (execution or ExecutionSettings()).task_timeout_sec
    task_maker = _TaskMaker(patterns, rails, timeout_sec, max_retries, has_tests=has_tests)
    plan = Plan(
        repository=repository,
        base_commit=base_commit,
        gaps=tuple(sorted((gap for group in kept.values() for gap in group), key=gap_order)),
        workstreams=tuple(shrunk),
        tasks=tuple(_chained(shrunk, kept, task_maker)),
    )
    not_fixable = sorted(((by_name[name], reason) for name, reason in refused.items()), key=lambda e: gap_order(e[0]))
    return Compiled(validate_plan(plan, patterns), tuple(not_fixable))


def _members(workstreams: Iterable[Workstream], gaps: Mapping[str, Gap]) -> dict[str, list[Gap]]:
    members: dict[str, list[Gap]] = {}
    for workstream in workstreams:
        unknown = [name for name in workstream.gaps if name not in gaps]
        if unknown or workstream.key in members:
            problem = f"unknown gap {unknown[0]!r}" if unknown else "there is another workstream of that key"
            raise InvalidDocument(path="workstreams", where=workstream.key, problem=problem)
        members[workstream.key] = [gaps[name] for name in workstream.gaps]
    return members


def _refused(gaps: Sequence[Gap], patterns: PatternIndex, guardrails: GuardrailSettings) -> dict[str, str]:
    """The gaps about which nothing can be done, by fingerprint, each with the reason."""
    refused = {gap.fingerprint: reason for gap in gaps if (reason := _refusal(gap, patterns, guardrails))}
    sequence = gaps_in_order(gaps)
    _pass_on(sequence, refused)
    fixing = [gap for gap in gaps if gap.fingerprint not in refused and not _is_test(gap, patterns)]
    if not fixing:
        refused |= {gap.fingerprint: CURES_NOTHING for gap in gaps if gap.fingerprint not in refused}
    return refused


def _refusal(gap: Gap, patterns: PatternIndex, guardrails: GuardrailSettings) -> str | None:
    pattern = patterns.for_gap(gap)
    return pattern.refusal(gap, guardrails) if pattern else f"no pattern covers {gap.rule_id} of {gap.source}"


def _pass_on(sequence: Iterable[Gap], refused: dict[str, str]) -> None:
    """Refuse what depends on something refused; the gaps come after those they depend on."""
    for gap in sequence:
        lost = [need for need in gap.dependencies if need in refused]
        if lost and gap.fingerprint not in refused:
            refused[gap.fingerprint] = f"gap {lost[0]} has to be fixed first, and can't be"


def _is_test(gap: Gap, patterns: PatternIndex) -> bool:
    pattern = patterns.for_gap(gap)
    return pattern is not None and TaskKind.IMPLEMENTATION not in pattern.kinds


def _shrunk(kept: Mapping[str, Sequence[Gap]]) -> list[Workstream]:
    place = {key: position for position, key in enumerate(kept)}
    try:
        links = linked(kept, place.__getitem__)
    except CycleError as error:
        raise CyclicPlan(path="workstreams", cycle=drawn(cycle_of(error))) from error
    return [workstream_of(key, kept[key], link) for key, link in links.items()]


def _chained(
    workstreams: Iterable[Workstream], gaps: Mapping[str, Sequence[Gap]], task_maker: _TaskMaker
) -> Iterator[PlannedTask]:
    """The tasks of each workstream in a row; the first one waits for the last ones of the prerequisites."""
    last: dict[str, str] = {}
    for workstream in workstreams:
        depends_on = tuple(last[key] for key in workstream.depends_on)
        order_only = tuple(last[key] for key in workstream.order_only)
        for task in task_maker.tasks_of(workstream, gaps[workstream.key]):
            yield task.model_copy(update={"depends_on": depends_on, "order_only": order_only})
            depends_on, order_only = (task.key,), ()
            last[workstream.key] = task.key


class _TaskMaker:
    """Makes the tasks of one workstream after the other."""

    def __init__(
        self,
        patterns: PatternIndex,
        guardrails: GuardrailSettings,
        timeout_sec: float,
        max_retries: int,
        *,
        has_tests: bool,
    ) -> None:
        self._patterns = patterns
        self._guardrails = guardrails
        self._timeout_sec = timeout_sec
        self._max_retries = max_retries
        self._has_tests = has_tests

    def tasks_of(self, workstream: Workstream, gaps: Sequence[Gap]) -> Iterator[PlannedTask]:
        """First analysis, then implementation, a task a pattern, then test."""
        counted: Counter[TaskKind] = Counter()

        def task(kind: TaskKind, pattern: Pattern, group: Sequence[Gap]) -> PlannedTask:
            counted[kind] += 1
            number = f"-{counted[kind]}" if counted[kind] > 1 else ""
            return self._task(f"{workstream.key}/{kind}{number}", workstream, kind, pattern, group)

        yield task(TaskKind.ANALYSIS, self._patterns.get(INSPECTION), gaps)
        for group in self._stages(gaps):
            pattern = self._pattern(group[0])
            yield task(_kind(pattern), pattern, group)
        if counted[TaskKind.IMPLEMENTATION] and self._ends_with_test(workstream):
            yield task(TaskKind.TEST, self._patterns.get(VERIFICATION), gaps)

    def _stages(self, gaps: Sequence[Gap]) -> list[tuple[Gap, ...]]:
        """The gaps a pattern at a time, in the order of the index, as far as their dependencies allow."""
        place = {pattern.id: position for position, pattern in enumerate(self._patterns)}
        rank: Callable[[Gap], object] = lambda gap: (place[self._pattern(gap).id], gap_order(gap))  # noqa: E731
        return staged(gaps_in_order(gaps, rank), lambda gap: self._pattern(gap).id)

    def _pattern(self, gap: Gap) -> Pattern:
        found = self._patterns.for_gap(gap)
        if found is None:
            raise InvalidDocument(path="patterns", where=gap.fingerprint, problem="no pattern covers this gap")
        return found

    def _ends_with_test(self, workstream: Workstream) -> bool:
        return workstream.category in VERIFIED_CATEGORIES or workstream.effort is not Effort.LOW or self._has_tests

    def _task(
        self, key: str, workstream: Workstream, kind: TaskKind, pattern: Pattern, gaps: Sequence[Gap]
    ) -> PlannedTask:
        files = {path for gap in gaps for path in gap.file_paths}
        tools = pattern.tools_under(self._guardrails)
        return PlannedTask(
            key=key,
            workstream=workstream.key,
            kind=kind,
            description=f"{pattern.title}: {workstream.name}",
            pattern_id=pattern.id,
            tool_id=tools[0] if len(tools) == 1 else None,
            file_scope=tuple(sorted(files)),
            gaps=tuple(gap.fingerprint for gap in gaps),
            required_capabilities=tuple(sorted({kind, *pattern.domains})),
            timeout_sec=self._timeout_sec,
            max_retries=self._max_retries,
        )


def _kind(pattern: Pattern) -> TaskKind:
    return TaskKind.IMPLEMENTATION if TaskKind.IMPLEMENTATION in pattern.kinds else TaskKind.TEST
