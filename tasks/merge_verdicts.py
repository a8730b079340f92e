"""Verdicts on merges: what a test says of a branch after a run came into it, and which patch is to blame."""

from __future__ import annotations

from prefect_acms.canonical.errors import RegressionUnfit
from prefect_acms.canonical.patch import PatchState
from prefect_acms.tasks.bisection import Answer
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.gate_tests import GateTest
from prefect_acms.tasks.merges import Merge
from prefect_acms.tasks.regressions import CommandTest, CommitTest, Regression, rollback_command, searched
from prefect_acms.tasks.suspects import Suspect
from prefect_acms.tasks.watch_records import Verdict, Watched


def judged_merge(drive: Drive, merge: Merge) -> Watched:
    """Try the branch as it is against what it was before the merge, and find what broke it, if something did."""
    settings = merge.settings
    test: CommitTest = (
        GateTest(drive, merge.before)
        if settings.test is None
        else CommandTest(drive, settings.test, settings.timeout_sec)
    )
    try:
        return _verdict(test, merge)
    except RegressionUnfit as problem:
        return _watched(merge, Verdict.UNCLEAR, str(problem))


def _verdict(test: CommitTest, merge: Merge) -> Watched:
    before, now = test(merge.before), test(merge.head)
    if Answer.SKIP in {before, now}:
        return _watched(merge, Verdict.UNCLEAR, f"{merge.branch} can't be tried with {test.name}")
    if now is Answer.GOOD:
        return _watched(merge, Verdict.GOOD, f"{merge.branch} passes {test.name}")
    if before is Answer.BAD:
        return _watched(merge, Verdict.RED_BEFORE, f"{merge.branch} failed {test.name} before the merge already")
    regression = searched(test, merge.before, merge.head)
    if regression.found is not None and regression.found.commit == merge.commit:
        regression = _inside(test, merge, regression)
    if regression.found is None:
        named = ", ".join(suspect.commit[:10] for suspect in regression.suspects)
        said = f"{merge.branch} fails {test.name}: by one of {named}, of which some can't be tried"
        return _watched(merge, Verdict.UNCLEAR, said, regression)
    return _blamed(test, merge, regression, regression.found)


def _inside(test: CommitTest, merge: Merge, regression: Regression) -> Regression:
    """What was squashed into one commit, or merged by it: which commit of the run it is, if one alone is it."""
    start, found = test.drive.base_commit, regression.found
    if merge.whole is None or found is None or found.patch_id is not None:
        return regression
    is_found_there = test(start) is Answer.GOOD and test(merge.whole) is Answer.BAD
    return searched(test, start, merge.whole) if is_found_there else regression


def _blamed(test: CommitTest, merge: Merge, regression: Regression, found: Suspect) -> Watched:
    target = found.target or (merge.run.id if found.commit == merge.commit else None)
    what = f"run {merge.run.id} as a whole" if target == merge.run.id else found.sentence
    said = f"{merge.branch} fails {test.name} since {found.commit[:10]}: {what}"
    if target is None:
        return _watched(merge, Verdict.BROKEN_BY_OTHERS, said, regression)
    with test.drive.reading() as dao:
        gone = [row for row in dao.ledger.of_patch(target) if row.state == PatchState.ROLLED_BACK]
    if gone:
        branch = str((gone[-1].rollback_compensation or {}).get("branch"))
        command = f"git switch {merge.branch} && git merge {branch}"
        told = f"{said}, rolled back on {branch}, which is not merged yet"
        return _watched(merge, Verdict.BROKEN, told, regression, command=command)
    command = rollback_command(target, "--onto", merge.branch)
    return _watched(merge, Verdict.BROKEN, said, regression, target=target, command=command)


def _watched(
    merge: Merge,
    verdict: Verdict,
    sentence: str,
    regression: Regression | None = None,
    *,
    target: str | None = None,
    command: str | None = None,
) -> Watched:
    return Watched(
        run_id=merge.run.id,
        branch=merge.branch,
        merge=merge.commit,
        head=merge.head,
        verdict=verdict,
        sentence=sentence,
        regression=regression,
        target=target,
        command=command,
    )
