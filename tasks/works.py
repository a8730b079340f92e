"""What a task of each kind does while it runs, and how its result is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prefect_acms.blocks.tool_spec import TaskKind
from prefect_acms.canonical.outside_errors import ToolFailed
from prefect_acms.dao.patches import PatchRow
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.attempts import Executed, Finished
from prefect_acms.tasks.bench import Bench
from prefect_acms.tasks.captures import captured_patch, landed_already, start_over
from prefect_acms.tasks.choices import chosen_tool, next_tool
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.edits import edited
from prefect_acms.tasks.faults import stops_run
from prefect_acms.tasks.fix_loop import Attempt, FixLoop
from prefect_acms.tasks.integration import (
    Integration,
    failed_attempt,
    finished_of,
    kept_loop,
    request_of,
    store_attempt,
)
from prefect_acms.tasks.preparation import baseline_of
from prefect_acms.tasks.retries import is_retryable
from prefect_acms.tasks.tool_runs import ToolRun
from prefect_acms.tasks.tools import ToolValues


def analyse(drive: Drive, task: TaskRow) -> Executed:
    """Look whether the gaps are still there, on top of what has been merged since they were found."""
    bench = Bench.of(drive, task)
    result = bench.rescanner.compared(bench.gaps, bench.files)
    present = sorted(gap.fingerprint for gap in result.kept)
    return Executed(0, lambda: Finished(metadata={"present": present}))


def implement(drive: Drive, task: TaskRow) -> Executed:
    """Let a tool work on the gaps that are still there, and capture what it did as a diff.

    One that fails, and has no retry left, hands the task on to the next tool of the cascade, where there is one.
    """
    bench = Bench.of(drive, task)
    before = bench.rescanner.found(bench.files)
    present = bench.rescanner.between(bench.gaps, before).kept
    if not present:
        return Executed(0, lambda: Finished(metadata={"present": []}))
    profile, loop = chosen_tool(bench, present), FixLoop()
    while True:
        try:
            result = edited(bench, profile, present, before, request_of(bench, present, loop))
            break
        except ToolFailed as error:
            if stops_run(error) or (is_retryable(error) and task.retry_count < task.max_retries):
                raise
            loop = loop.with_attempt(failed_attempt(profile, error))
            following = next_tool(bench, present, loop.tried)
            if following is None:
                raise
            profile = following
            bench.worktree.reset()
    diff = bench.worktree.capture()

    def store(dao: UnitOfWork) -> None:
        store_attempt(dao, bench, loop, profile, result, diff)

    return Executed(
        result.exit_code,
        lambda: Integration.of(bench, before, diff).finished(),
        tuple(profile.expected_exit_codes),
        store=store,
    )


def integrate_again(drive: Drive, task: TaskRow) -> Finished:
    """Go on with what tools made for a driver before this one; what that one has committed is recorded only."""
    captured = captured_patch(drive, task)
    if captured is None:
        return Finished(metadata={"present": []})
    if landed_already(drive, task):
        return finished_of(task.info.get("rejected", ()))
    bench = Bench.of(drive, task, captured.base_commit)
    loop = FixLoop.of(task)
    if not loop.attempts:
        loop = _adopted(bench, captured)
    if loop.last.said is None:
        start_over(drive, task, but=loop.entries)
    return Integration.of(bench, bench.rescanner.found(bench.files)).finished()


def _adopted(bench: Bench, captured: PatchRow) -> FixLoop:
    """The loop of a task of which a version without fix loop has stored nothing but the patch."""
    task = bench.task
    made = Attempt(
        tool_id=task.tool_id or "",
        patch_id=captured.id,
        sha256=captured.sha256 if captured.content else None,
        exit_code=task.exit_code or 0,
    )
    with bench.drive.begin() as dao:
        return kept_loop(dao, bench, FixLoop().with_attempt(made))


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
