"""What a task of each kind does while it runs, and how its result is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from prefect_acms.blocks.tool_spec import TaskKind, ToolSpec
from prefect_acms.canonical.errors import BudgetExceeded
from prefect_acms.canonical.events import Notice
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.admission import Gatekeeper
from prefect_acms.tasks.attempts import Executed, Finished
from prefect_acms.tasks.bench import Bench
from prefect_acms.tasks.captures import REDACTED, captured_patch, landed_already, start_over, store_capture
from prefect_acms.tasks.choices import chosen_tool
from prefect_acms.tasks.commits import commit_kept
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.preparation import baseline_of
from prefect_acms.tasks.processes import ProcessResult
from prefect_acms.tasks.reports.text import count
from prefect_acms.tasks.sources.ruff import ruff_options
from prefect_acms.tasks.tool_requests import ToolRequest
from prefect_acms.tasks.tool_runs import ToolRun
from prefect_acms.tasks.tools import ToolValues
from prefect_acms.tasks.trials import Trials

MOST_ROUNDS = 3
"""How often a tool is run again in one task for what its own fixes have brought."""


def analyse(drive: Drive, task: TaskRow) -> Executed:
    """Look whether the gaps are still there, on top of what has been merged since they were found."""
    bench = Bench.of(drive, task)
    result = bench.rescanner.compared(bench.gaps, bench.files)
    present = sorted(gap.fingerprint for gap in result.kept)
    return Executed(0, lambda: Finished(metadata={"present": present}))


def implement(drive: Drive, task: TaskRow) -> Executed:
    """Let a tool work on the gaps that are still there, and capture what it did as a diff."""
    bench = Bench.of(drive, task)
    before = bench.rescanner.found(bench.files)
    present = bench.rescanner.between(bench.gaps, before).kept
    if not present:
        return Executed(0, lambda: Finished(metadata={"present": []}))
    profile = chosen_tool(bench, present)
    result = _edit(bench, profile, present, before)
    diff = bench.worktree.capture()
    return Executed(
        result.exit_code,
        lambda: _integrate(bench, profile, before, diff),
        tuple(profile.expected_exit_codes),
        store=lambda dao: store_capture(dao, bench, diff),
    )


def integrate_again(drive: Drive, task: TaskRow) -> Finished:
    """Judge the diff that a tool made for a driver before this one; what that one has committed is recorded only."""
    captured = captured_patch(drive, task)
    if captured is None:
        return Finished(metadata={"present": []})
    if REDACTED in captured.info:
        return Finished(problem="its patch holds a secret, and is stored without it: it can't be judged again")
    if landed_already(drive, task):
        return finished_of(task.info.get("rejected", ()))
    start_over(drive, task)
    bench = Bench.of(drive, task, captured.base_commit)
    before = bench.rescanner.found(bench.files)
    return _integrate(bench, drive.toolbox.get(task.tool_id or ""), before, captured.content)


def _edit(bench: Bench, profile: ToolSpec, present: Sequence[Gap], before: Sequence[Gap]) -> ProcessResult:
    """Run the tool; what its fixes bring (an import that is no longer used, say) it is asked to fix too."""
    run = ToolRun(bench.drive, bench.task, profile, bench.worktree, bench.environment)
    files = sorted({path for gap in present for path in gap.file_paths})
    rules = {gap.rule_id for gap in present}
    request = ToolRequest(
        task_id=bench.task.id,
        title=bench.task.description,
        gaps=tuple(present),
        files=tuple(files),
        scope=tuple(bench.task.file_scope),
    )
    options = ruff_options(bench.worktree.path, bench.drive.config.discovery.trusted_fixes)
    values = ToolValues(files=tuple(files), task=bench.task.id, ruff_options=options, request=request)
    results: list[ProcessResult] = []
    while len(results) < MOST_ROUNDS:
        try:
            results.append(run(replace(values, rules=tuple(sorted(rules)))))
        except BudgetExceeded:
            if not results:
                raise
            break  # what the rounds before have made is paid for, and is judged as it is
        if not (profile.deterministic and "rules" in profile.placeholders):
            break
        brought = {gap.rule_id for gap in bench.rescanner.compared(before, files).new if gap.fixable} - rules
        if not brought:
            break
        rules |= brought
    return results[-1]


def _integrate(bench: Bench, profile: ToolSpec, before: Sequence[Gap], diff: bytes) -> Finished:
    if not diff:
        reason = f"AP_HALLUCINATED_SUCCESS: {profile.tool_id} ended well and changed nothing"
        with bench.drive.begin() as dao:
            dao.tasks.note(bench.task.id, Notice.ANTI_PATTERN_DETECTED, reason=reason)
        return Finished(problem=reason)
    gatekeeper = Gatekeeper(bench, baseline_of(bench.drive), profile, waits=bench.drive.guardrails.review.wait)
    trials = Trials(bench, gatekeeper, before)
    trials.bring_in(diff)
    rejected = [trial.record for trial in trials.rejected]
    if not trials.kept:
        first = trials.rejected[0].refusal
        problem = f"its patch {first.fate}: {first.reason}"
        return Finished(problem=problem, metadata={"rejected": rejected})
    # Before the commit: whoever finds the commit knows then what is not in it.
    with bench.drive.begin() as dao:
        dao.tasks.change(bench.task.id, metadata={"rejected": rejected})
    commit_kept(bench, trials.kept, before)
    return finished_of(rejected)


def finished_of(rejected: Sequence[Mapping[str, Any]]) -> Finished:
    """The end of a task whose patch is on its branch, without these parts."""
    partial = f"{count(len(rejected), 'part')} had to be left out" if rejected else None
    return Finished(partial=partial, metadata={"rejected": list(rejected)})


def verify(drive: Drive, task: TaskRow) -> Executed:
    """Run the failing tests that the task is about, then let the gates judge the workstream as a whole."""
    bench = Bench.of(drive, task)
    tests = tuple(sorted({path for gap in bench.gaps if gap.source == "pytest" for path in gap.file_paths}))
    if not tests:
        return Executed(0, lambda: _judge_whole(bench))
    profile = drive.toolbox.get(task.tool_id or "pytest")
    result = ToolRun(drive, task, profile, bench.worktree, bench.environment)(ToolValues(tests=tests, task=task.id))
    bench.worktree.reset()
    return Executed(result.exit_code, lambda: _judge_whole(bench), tuple(profile.expected_exit_codes))


def _judge_whole(bench: Bench) -> Finished:
    """The gates' word on the tree of the workstream; one that they have judged already is not judged again."""
    baseline = baseline_of(bench.drive)
    known = baseline.passed(bench.worktree.tree())
    if known is None:
        touched = bench.drive.repository.changed_files(bench.drive.base_commit, bench.worktree.tree())
        judged = bench.judged(baseline, touched)
        return Finished(problem=judged.objection)
    with bench.drive.begin() as dao:
        for gate_id in known:
            dao.tasks.gate(bench.task.id, gate_id, role="exit")
    return Finished()


WORKS: Mapping[TaskKind, Callable[[Drive, TaskRow], Executed]] = {
    TaskKind.ANALYSIS: analyse,
    TaskKind.IMPLEMENTATION: implement,
    TaskKind.TEST: verify,
}
"""What is done for each kind of task."""

JUDGES: Mapping[TaskKind, Callable[[Drive, TaskRow], Finished]] = {
    TaskKind.ANALYSIS: lambda drive, task: analyse(drive, task).judge(),
    TaskKind.IMPLEMENTATION: integrate_again,
    TaskKind.TEST: lambda drive, task: verify(drive, task).judge(),
}
"""How each kind of task is judged that a driver before this one has left validating."""
