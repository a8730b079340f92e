"""What makes a plan a plan: checked when it is compiled, and again when somebody has edited it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError
from itertools import chain, pairwise
from pathlib import Path

from prefect_acms.canonical.errors import CyclicPlan, InvalidDocument
from prefect_acms.tasks.documents import parse_document, read_bytes, refuse_duplicates, write_document
from prefect_acms.tasks.ordering import cycle_of, drawn, in_order
from prefect_acms.tasks.patterns import PatternIndex
from prefect_acms.tasks.plans import Plan, PlannedTask, Workstream

_Problem = tuple[str, str]
"""Where, and what is wrong there."""


def read_plan(path: Path, patterns: PatternIndex | None = None) -> Plan:
    """Read a plan and validate it; raises InvalidDocument or CyclicPlan that name the place."""
    plan = parse_document(Plan, read_bytes(path), str(path))
    return validate_plan(plan, patterns or PatternIndex.load(), str(path))


def write_plan(plan: Plan, path: Path) -> None:
    """Write a plan as JSON, whole or not at all; the same plan gives the same bytes."""
    write_document(plan, path)


def validate_plan(plan: Plan, patterns: PatternIndex, path: str = "plan") -> Plan:
    """Give back the plan if it can be executed, or raise InvalidDocument or CyclicPlan with the first thing wrong.

    Names are unique and known; every gap is in one workstream and has a task, every task has gaps and files of its
    workstream, an enabled pattern for its kind and a tool that the pattern allows; nothing waits for itself; and
    workstreams that touch the same file wait for each other.
    """
    refuse_duplicates([gap.fingerprint for gap in plan.gaps], path=path, items="gaps", field="fingerprint")
    refuse_duplicates([entry.key for entry in plan.workstreams], path=path, items="workstreams", field="key")
    refuse_duplicates([entry.key for entry in plan.tasks], path=path, items="tasks", field="key")
    # each finds things one by one and relies on what was fine before: nothing is looked at behind the first problem
    for where, problem in chain(_in_workstreams(plan), _in_tasks(plan, patterns), _uncovered(plan)):
        raise InvalidDocument(path=path, where=where, problem=problem)
    _refuse_cycles(plan, path)
    for where, problem in _overlaps(plan):
        raise InvalidDocument(path=path, where=where, problem=problem)
    return plan


def _in_workstreams(plan: Plan) -> Iterator[_Problem]:
    known = {entry.key for entry in plan.workstreams}
    gaps = {gap.fingerprint: gap for gap in plan.gaps}
    owner: dict[str, str] = {}
    for position, entry in enumerate(plan.workstreams):
        where = f"workstreams[{position}] ({entry.key})"
        scope = set(entry.file_scope)
        yield from _missing(entry.depends_on, known, f"{where}.depends_on", "there is no workstream {}")
        yield from _missing(entry.gaps, gaps, f"{where}.gaps", "there is no gap {}")
        for name in entry.gaps:
            if owner.setdefault(name, entry.key) != entry.key:
                yield f"{where}.gaps", f"gap {name!r} is in workstream {owner[name]!r} already"
            yield from _missing(gaps[name].file_paths, scope, f"{where}.file_scope", "{} is missing, a gap is there")


def _in_tasks(plan: Plan, patterns: PatternIndex) -> Iterator[_Problem]:
    known = {task.key for task in plan.tasks}
    gaps_of = {entry.key: frozenset(entry.gaps) for entry in plan.workstreams}
    files_of = {entry.key: frozenset(entry.file_scope) for entry in plan.workstreams}
    for position, task in enumerate(plan.tasks):
        where = f"tasks[{position}] ({task.key})"
        yield from _missing(task.depends_on, known, f"{where}.depends_on", "there is no task {}")
        yield from _missing([task.workstream], gaps_of, f"{where}.workstream", "there is no workstream {}")
        gaps, files = gaps_of[task.workstream], files_of[task.workstream]
        yield from _missing(task.gaps, gaps, f"{where}.gaps", f"workstream {task.workstream} has no gap {{}}")
        yield from _missing(task.file_scope, files, f"{where}.file_scope", "{} is outside of its workstream")
        yield from _ungoverned(task, where, patterns)


def _missing(names: Iterable[str], known: Container[str], where: str, sentence: str) -> Iterator[_Problem]:
    yield from ((where, sentence.format(repr(name))) for name in names if name not in known)


def _ungoverned(task: PlannedTask, where: str, patterns: PatternIndex) -> Iterator[_Problem]:
    pattern = patterns.find(task.pattern_id)
    if pattern is None:
        known = ", ".join(pattern.id for pattern in patterns)
        yield f"{where}.pattern_id", f"unknown pattern {task.pattern_id!r}: expected one of {known}"
    elif not pattern.enabled:
        yield f"{where}.pattern_id", f"pattern {pattern.id!r} is disabled"
    elif task.kind not in pattern.kinds:
        yield f"{where}.kind", f"pattern {pattern.id!r} is for {', '.join(pattern.kinds) or 'no task'}, not {task.kind}"
    elif task.tool_id is not None and task.tool_id not in pattern.allowed_tools:
        allowed = ", ".join(pattern.allowed_tools) or "no tool"
        yield f"{where}.tool_id", f"pattern {pattern.id!r} allows {allowed}, not {task.tool_id!r}"


def _uncovered(plan: Plan) -> Iterator[_Problem]:
    owned = {name for entry in plan.workstreams for name in entry.gaps}
    worked_on = {name for task in plan.tasks for name in task.gaps}
    for position, gap in enumerate(plan.gaps):
        for names, missing in ((owned, "workstream"), (worked_on, "task")):
            if gap.fingerprint not in names:
                yield f"gaps[{position}] ({gap.fingerprint})", f"it has no {missing}"


def _refuse_cycles(plan: Plan, path: str) -> None:
    """Workstreams alone, then tasks with them, since a workstream waits for all tasks of its prerequisites."""
    _refuse_cycle({entry.key: entry.depends_on for entry in plan.workstreams}, path)
    needs: dict[str, list[str]] = defaultdict(list)
    for entry in plan.workstreams:
        needs[f"{entry.key}:start"] = [f"{need}:end" for need in entry.depends_on]
        needs[f"{entry.key}:end"] = [f"{entry.key}:start"]
    for task in plan.tasks:
        needs[task.key] = [*task.depends_on, f"{task.workstream}:start"]
        needs[f"{task.workstream}:end"].append(task.key)
    _refuse_cycle(needs, path)


def _refuse_cycle(needs: Mapping[str, Sequence[str]], path: str) -> None:
    try:
        in_order(needs, str)
    except CycleError as error:
        # the starts and ends of workstreams are ours; the cycle is told in tasks
        members = [name for name in cycle_of(error) if ":" not in name]
        raise CyclicPlan(path=path, where="depends_on", problem="cycle", cycle=drawn(members)) from error


def _overlaps(plan: Plan) -> Iterator[_Problem]:
    """Pairs of workstreams that touch the same file though neither waits for the other; there must be no cycle."""
    waits = {entry.key: entry.depends_on for entry in plan.workstreams}
    place = {key: number for number, key in enumerate(in_order(waits, str))}
    touching: dict[str, list[Workstream]] = defaultdict(list)
    for entry in sorted(plan.workstreams, key=lambda entry: place[entry.key]):
        for path in entry.file_scope:
            touching[path].append(entry)
    for path, entries in touching.items():
        for earlier, later in pairwise(entries):
            if not _waits_for(later.key, earlier.key, waits, place):
                yield later.key, f"it touches {path!r}, and so does {earlier.key}: one has to wait for the other"


def _waits_for(later: str, earlier: str, waits: Mapping[str, Sequence[str]], place: Mapping[str, int]) -> bool:
    if earlier in waits[later]:
        return True
    seen, ahead = {later}, [later]
    while ahead:
        for need in waits[ahead.pop()]:
            if need == earlier:
                return True
            if place[need] > place[earlier] and need not in seen:
                seen.add(need)
                ahead.append(need)
    return False
