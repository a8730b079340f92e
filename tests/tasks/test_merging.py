"""The end of a workstream: what is merged, what is kept out, and what becomes of its gaps, patches and branch."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run
from operated import verified_patch
from repositories import git

from prefect_acms.blocks.config import EnvironmentSettings, GateSettings, IsolationMode
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.outside_errors import ToolFailed
from prefect_acms.canonical.patch import PatchTrigger
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.canonical.workstream import WorkstreamTrigger
from prefect_acms.dao.audit import verify
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.attempts import Executed, Finished, perform
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.ending import end_run, remove_worktrees
from prefect_acms.tasks.execution import lose_tasks
from prefect_acms.tasks.merging import drop_merged_branches, settle
from prefect_acms.tasks.preparation import prepared_worktree

FILES = {"a.py": "A = 1\n", "b.py": "B = 1\n"}
TOGETHER = "import pathlib; assert sum(p.read_text().count('2') for p in pathlib.Path().glob('*.py')) < 2"
GREEN = GateSettings(lint_enabled=False, security_enabled=False, unit=("true",))
GATES = GateSettings(lint_enabled=False, security_enabled=False, unit=(sys.executable, "-c", TOGETHER))


def _two_workstreams(tmp_path: Path, url: str, gates: GateSettings) -> Planned:
    drive = started_run(repository_of(tmp_path / "repository", FILES), url, gates=gates)
    a, b = a_gap("a", "a.py"), a_gap("b", "b.py")
    plan = a_plan(drive, [a_task("ws-01/one", [a]), a_task("ws-02/one", [b])], [a, b])
    return Planned(drive, plan)


def _fixed(drive: Drive, files: dict[str, str], task: TaskRow) -> Executed:
    """Work that puts these files on the branch of the task's workstream, as a patch that its own gates let pass."""
    with drive.reading() as dao:
        workstream = dao.workstreams.get(task.workstream_id)
    worktree, _ = prepared_worktree(drive, workstream.info["key"], drive.base_commit)
    for name, text in files.items():
        (worktree.path / name).write_text(text)
    diff = worktree.capture()

    def judge() -> Finished:
        tree = worktree.apply(diff)
        commit = drive.repository.commit_tree(tree, [drive.base_commit], "fix", drive.store.clock())
        with drive.begin() as dao:
            patch = dao.patches.create(
                task_id=task.id, content=diff, files=list(files), lines_added=1, lines_removed=1,
                base_commit=drive.base_commit,
            )  # fmt: skip
            entry = dao.ledger.create(patch_id=patch.id, metadata={"commit": commit})
            dao.ledger.advance(
                entry.id,
                PatchTrigger.VALIDATION_PASSED,
                validation_format=True,
                validation_scope=True,
                validation_constraints=True,
            )
            dao.ledger.advance(entry.id, PatchTrigger.ACCEPTED, facts={"review_required": False})
            dao.ledger.advance(entry.id, PatchTrigger.APPLY_SUCCEEDED)
            dao.ledger.advance(entry.id, PatchTrigger.GATES_PASSED, validation_tests_passed=True)
        drive.repository.move_ref(f"refs/heads/{workstream.branch}", commit, None)
        return Finished()

    return Executed(0, judge)


def _carry_out(planned: Planned, key: str, files: dict[str, str]) -> None:
    task = planned.queued(key)
    assert perform(planned.drive, task.id, lambda claimed: _fixed(planned.drive, files, claimed)).state == "completed"


def _entry(planned: Planned, key: str) -> LedgerRow:
    workstream = planned.workstream(key)
    with planned.drive.reading() as dao:
        (entry,) = dao.ledger.of_workstream(workstream.id)
    return entry


@pytest.mark.parametrize(
    ("second", "gates", "reason"),
    [
        (
            {"a.py": "A = 3\n"},
            GateSettings(lint_enabled=False, security_enabled=False, unit=("true",)),
            "conflicts in a.py",
        ),
        ({"b.py": "B = 2\n"}, GATES, "merged with what the run has so far: UNIT"),
    ],
)
def test_the_later_of_two_that_do_not_go_together_is_kept_out(
    tmp_path: Path, canonical_url: str, second: dict[str, str], gates: GateSettings, reason: str
) -> None:
    """By a conflict, or by a gate that only the merged tree fails: the first stays, the later is quarantined."""
    planned = _two_workstreams(tmp_path, canonical_url, gates)
    drive, repository = planned.drive, planned.drive.repository
    _carry_out(planned, "ws-01/one", {"a.py": "A = 2\n"})
    _carry_out(planned, "ws-02/one", second)
    settle(drive, planned.workstream("ws-01").id)
    first = repository.ref(drive.result_ref)
    settle(drive, planned.workstream("ws-02").id)
    assert planned.workstream("ws-01").state == "completed"
    assert _entry(planned, "ws-01").state == "committed"
    assert repository.ref(drive.result_ref) == first
    later, entry = planned.workstream("ws-02"), _entry(planned, "ws-02")
    assert later.state == "failed"
    assert reason in str(later.error)
    assert entry.state == "quarantined"
    assert reason in str(entry.quarantine_reason)
    with drive.reading() as dao:
        gaps = dao.gaps.of_run(drive.run_id)
    assert {gap.state for gap in gaps} == {"deferred"}  # of the first one too: nobody can look for it again
    assert reason in str(next(gap for gap in gaps if gap.fingerprint == "b").deferred_reason)
    remove_worktrees(drive)
    drop_merged_branches(drive)
    kept = git(repository.top, "for-each-ref", "--format=%(refname:short)", "refs/heads/acms/work").split()
    assert kept == [later.branch]
    assert git(repository.top, "worktree", "list", "--porcelain").count("worktree ") == 1
    assert verify(drive.store).ok


def test_what_was_merged_before_the_run_was_interrupted_is_committed(tmp_path: Path, canonical_url: str) -> None:
    """Between the move of the ref and the rows lies a re-scan: an end in there does not deny what is on the branch."""
    planned = _two_workstreams(tmp_path, canonical_url, GATES)
    drive = planned.drive
    _carry_out(planned, "ws-01/one", {"a.py": "A = 2\n"})
    _carry_out(planned, "ws-02/one", {"b.py": "B = 3\n"})
    commit = str(_entry(planned, "ws-01").info["commit"])
    drive.repository.move_ref(drive.result_ref, commit, None)
    end_run(drive, RunTrigger.USER_CANCELLED, "interrupted")
    assert (_entry(planned, "ws-01").state, _entry(planned, "ws-01").commit_sha) == ("committed", commit)
    assert _entry(planned, "ws-02").state == "quarantined"


def test_a_workstream_whose_prerequisite_failed_is_failed_without_work(tmp_path: Path, canonical_url: str) -> None:
    """Its tasks are lost with the reason, it is blocked and then failed, and its gaps are deferred.

    What failed is told once: a task that was lost for that has nothing to add.
    """
    drive = started_run(repository_of(tmp_path / "repository", FILES), canonical_url, gates=GATES)
    a, b = a_gap("a", "a.py"), a_gap("b", "b.py")
    tasks = [
        a_task("ws-01/one", [a]),
        a_task("ws-01/two", [a], "ws-01/one"),
        a_task("ws-02/one", [b], "ws-01/one"),
        a_task("ws-02/two", [b], "ws-02/one"),
    ]
    planned = Planned(drive, a_plan(drive, tasks, [a, b], ws_02=["ws-01"]))
    task = planned.queued("ws-01/one")
    perform(drive, task.id, lambda _claimed: Executed(0, lambda: Finished(problem="no good")))
    lose_tasks(drive, [planned.task("ws-01/two").id], because="ws-01/one")
    settle(drive, planned.workstream("ws-01").id)
    lose_tasks(drive, [planned.task("ws-02/one").id, planned.task("ws-02/two").id], because="ws-01")
    settle(drive, planned.workstream("ws-02").id)
    assert [planned.workstream(key).state for key in ("ws-01", "ws-02")] == ["failed", "failed"]
    assert planned.task("ws-02/two").last_error == "what it needs did not end well: ws-02/one"
    assert planned.workstream("ws-01").error == "no good"
    with drive.reading() as dao:
        assert [gap.deferred_reason for gap in dao.gaps.of_run(drive.run_id) if gap.fingerprint == a.fingerprint] == [
            "no good"
        ]
        rows = [*dao.gaps.of_run(drive.run_id), *dao.tasks.of_run(drive.run_id)]
    assert [row.id for row in rows if row.state not in MACHINES[row.machine.entity].terminal] == []


def test_a_task_can_need_one_of_another_workstream_that_waits_for_nothing(tmp_path: Path, canonical_url: str) -> None:
    """A plan that a person edited: the workstream has no prerequisite that failed, so it is cancelled, not stuck."""
    drive = started_run(repository_of(tmp_path / "repository", FILES), canonical_url, gates=GATES)
    a, b = a_gap("a", "a.py"), a_gap("b", "b.py")
    tasks = [a_task("ws-01/one", [a]), a_task("ws-02/one", [b], "ws-01/one")]
    planned = Planned(drive, a_plan(drive, tasks, [a, b]))
    task = planned.queued("ws-01/one")
    perform(drive, task.id, lambda _claimed: Executed(0, lambda: Finished(problem="no good")))
    settle(drive, planned.workstream("ws-01").id)
    lose_tasks(drive, [planned.task("ws-02/one").id], because="ws-01")
    settle(drive, planned.workstream("ws-02").id)
    assert planned.workstream("ws-02").state == "cancelled"


def test_a_setup_that_fails_leaves_no_worktree_behind(tmp_path: Path, canonical_url: str) -> None:
    """The next try runs it again, instead of working in a tree that was never set up."""
    mark = tmp_path / "mark"
    script = f"import pathlib, sys; p = pathlib.Path({str(mark)!r}); n = p.exists(); p.touch(); sys.exit(not n)"
    drive = started_run(
        repository_of(tmp_path / "repository", FILES),
        canonical_url,
        environment=EnvironmentSettings(setup=((sys.executable, "-c", script),), isolation=IsolationMode.OFF),
    )
    with pytest.raises(ToolFailed, match="setup ended with 1"):
        prepared_worktree(drive, "ws-01", drive.base_commit)
    assert not drive.worktree("ws-01").exists()
    worktree, _ = prepared_worktree(drive, "ws-01", drive.base_commit)
    assert (worktree.path / "a.py").exists()


def _whole(planned: Planned) -> LedgerRow:
    """The first workstream's patch; all of its tasks are done, and it waits to be merged."""
    _carry_out(planned, "ws-01/one", {"a.py": "A = 2\n"})
    stream = planned.workstream("ws-01")
    with planned.drive.begin() as dao:
        dao.workstreams.advance(stream.id, WorkstreamTrigger.ALL_TASKS_COMPLETED)
    return _entry(planned, "ws-01")


def test_a_branch_that_was_lost_is_put_back_from_its_commits(tmp_path: Path, canonical_url: str) -> None:
    """What is verified and nowhere is not merged: as long as its commits are there, nothing is lost with the ref."""
    planned = _two_workstreams(tmp_path, canonical_url, GATES)
    commit = str(_whole(planned).info["commit"])
    planned.drive.repository.delete_ref(planned.drive.workstream_ref("ws-01"), commit)
    settle(planned.drive, planned.workstream("ws-01").id)
    assert planned.workstream("ws-01").state == "completed"
    assert planned.drive.repository.ref(planned.drive.result_ref) == commit
    assert (_entry(planned, "ws-01").state, _entry(planned, "ws-01").commit_sha) == ("committed", commit)


def test_a_branch_whose_commits_are_lost_too_fails_its_workstream(tmp_path: Path, canonical_url: str) -> None:
    """With a reason that names the branch; the patch is kept out, and nothing is on the run's branch."""
    planned = _two_workstreams(tmp_path, canonical_url, GATES)
    entry = _whole(planned)
    planned.drive.repository.delete_ref(planned.drive.workstream_ref("ws-01"), str(entry.info["commit"]))
    with planned.drive.begin() as dao:
        dao.ledger.change(entry.id, metadata={"commit": "b" * 40})
    settle(planned.drive, planned.workstream("ws-01").id)
    failed = planned.workstream("ws-01")
    assert (failed.state, _entry(planned, "ws-01").state) == ("failed", "quarantined")
    assert f"branch {failed.branch} is lost" in str(failed.error)
    assert planned.drive.repository.ref(planned.drive.result_ref) is None


def test_a_verified_patch_that_names_no_commit_is_never_committed(tmp_path: Path, canonical_url: str) -> None:
    """A patch that is in no commit of its branch keeps its workstream out, instead of breaking the run."""
    planned = _two_workstreams(tmp_path, canonical_url, GATES)
    task = planned.queued("ws-01/one")

    def work(_task: TaskRow) -> Executed:
        with planned.drive.begin() as dao:
            entry = verified_patch(dao, task.id, b"x", ["a.py"], "")
            dao.ledger.change(entry.id, metadata={"commit": None})
        return Executed(0, Finished)

    perform(planned.drive, task.id, work)
    settle(planned.drive, planned.workstream("ws-01").id)
    assert (planned.workstream("ws-01").state, _entry(planned, "ws-01").state) == ("failed", "quarantined")


def test_a_workstream_with_a_task_that_is_not_completed_is_not_merged(tmp_path: Path, canonical_url: str) -> None:
    """A task that was put in another's place counts, even while the workstream is validating."""
    planned = _two_workstreams(tmp_path, canonical_url, GATES)
    _whole(planned)
    old = planned.task("ws-01/one")
    with planned.drive.begin() as dao:
        new = dao.tasks.create(workstream_id=old.workstream_id, kind=old.kind, retry_of=old.id)
    settle(planned.drive, old.workstream_id)
    failed = planned.workstream("ws-01")
    assert (failed.state, failed.error) == ("failed", f"not all of its tasks are completed: {new.id}")
    assert planned.drive.repository.ref(planned.drive.result_ref) is None
