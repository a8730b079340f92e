"""Recovery: after a take-over every row and worktree is as a driver can go on from, whatever was left half done."""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run
from repositories import git

from prefect_acms.blocks.config import HealthSettings, Mode, ResilienceSettings
from prefect_acms.canonical.errors import AcmsError, NotARepository, RunEnded, Superseded
from prefect_acms.canonical.outside_errors import GitFailed
from prefect_acms.canonical.patch import PatchTrigger
from prefect_acms.canonical.task import TaskTrigger
from prefect_acms.canonical.test_gate import GateType
from prefect_acms.dao.audit import verify
from prefect_acms.dao.patches import PatchRow
from prefect_acms.dao.store import Store
from prefect_acms.tasks.cancelling import cancel_run
from prefect_acms.tasks.captures import drop_entry, landed_already
from prefect_acms.tasks.driving import Drive, drive_run, phase, release_run
from prefect_acms.tasks.ending import clear_leavings
from prefect_acms.tasks.gate_rows import Subject, start_gate
from prefect_acms.tasks.gates import GateCommand
from prefect_acms.tasks.loading import load_plan
from prefect_acms.tasks.pool import open_pool
from prefect_acms.tasks.preparation import prepared_worktree
from prefect_acms.tasks.recovery import completed_phases, recover

COMPLETED_WITHOUT_WORK = (
    "UPDATE workstreams SET state = 'completed', completed_at = updated_at, started_at = updated_at WHERE id = ?"
)
DIFF = b"diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-A = 1\n+A = 2\n"


@pytest.fixture
def left(tmp_path: Path, canonical_url: str) -> Planned:
    """A run whose driver is about to be lost, with a running task, a queued one and a pending one."""
    repository = repository_of(tmp_path / "repository", {"a.py": "A = 1\n", "b.py": "B = 1\n"})
    drive = started_run(repository, canonical_url)
    a, b = a_gap("a", "a.py"), a_gap("b", "b.py")
    tasks = [a_task("ws-01/one", [a]), a_task("ws-01/two", [a], "ws-01/one"), a_task("ws-02/one", [b])]
    planned = Planned(drive, a_plan(drive, tasks, [a, b]))
    planned.running("ws-01/one")
    planned.queued("ws-02/one")
    return planned


def _taken_over(drive: Drive) -> Drive:
    release_run(drive)
    taken = drive_run(drive.run_id, database=drive.store.url, force=True)
    recover(taken)
    return taken


def _patch(left: Planned, key: str, state: str) -> str:
    """A ledger entry of a task, brought to a state; its id."""
    task = left.task(key)
    way = {
        "created": [],
        "validated": [PatchTrigger.VALIDATION_PASSED],
        "queued": [PatchTrigger.VALIDATION_PASSED, PatchTrigger.ACCEPTED],
    }
    way["apply_failed"] = [*way["queued"], PatchTrigger.APPLY_FAILED]
    way["applied"] = [*way["queued"], PatchTrigger.APPLY_SUCCEEDED]
    way["verified"] = [*way["applied"], PatchTrigger.GATES_PASSED]
    columns: dict[PatchTrigger, dict[str, Any]] = {
        PatchTrigger.VALIDATION_PASSED: dict.fromkeys(
            ("validation_format", "validation_scope", "validation_constraints"), True
        ),
        PatchTrigger.APPLY_FAILED: {"last_error": "no"},
        PatchTrigger.GATES_PASSED: {"validation_tests_passed": True},
    }
    with left.drive.begin() as dao:
        patch: PatchRow = dao.patches.create(task_id=task.id, content=DIFF, files=["a.py"])
        entry = dao.ledger.create(patch_id=patch.id)
        for trigger in way[state]:
            dao.ledger.advance(entry.id, trigger, facts={"review_required": False}, **columns.get(trigger, {}))
    return entry.id


def test_a_task_that_was_running_is_tried_again_and_its_slot_is_gone(left: Planned) -> None:
    """It leaves by worker_lost; the slots of the lost driver are shut down; the audit chain holds."""
    drive = _taken_over(left.drive)
    task = left.task("ws-01/one")
    assert (task.state, task.retry_count, task.worker_id) == ("retrying", 1, None)
    assert (left.task("ws-02/one").state, left.task("ws-01/two").state) == ("queued", "pending")
    with drive.reading() as dao:
        assert {worker.state for worker in dao.workers.of_run(drive.run_id)} == {"shutdown"}
        trail = [(row.trigger, row.to_state) for row in dao.transitions.of_run(drive.run_id)]
    assert ("worker_lost", "retrying") in trail
    assert trail[-1][0] == "run_resumed"
    assert verify(drive.store).ok


def test_a_task_whose_retries_are_used_up_fails(left: Planned) -> None:
    """Within its limits it is tried again, and not once more."""
    task = left.task("ws-01/one")
    with left.drive.begin() as dao:
        dao.tasks.change(task.id, max_retries=0)
    _taken_over(left.drive)
    assert left.task("ws-01/one").state == "failed"
    assert "0 retries are used up" in str(left.task("ws-01/one").last_error)


def test_recovering_twice_changes_nothing_the_second_time(left: Planned) -> None:
    """A driver that dies in the middle of recovering leaves a run that can be recovered."""
    drive = _taken_over(left.drive)
    before = left.task("ws-01/one").version
    recover(drive)
    assert left.task("ws-01/one").version == before


def test_a_gate_and_a_phase_that_were_going_on_are_over(left: Planned) -> None:
    """They say nothing more: the gate is failed, the phase interrupted and not among those that need no repeating."""
    gate = GateCommand(GateType.LINT, ("true",), None, 10)
    gate_id = start_gate(left.drive, gate, Subject(), {})
    with left.drive.begin() as dao:
        dao.phases.create(run_id=left.drive.run_id, name="execution")
    drive = _taken_over(left.drive)
    with drive.reading() as dao:
        assert dao.test_gates.get(gate_id).state == "FAILED"
        assert [row.outcome for row in dao.phases.of_run(drive.run_id)] == ["interrupted"]
    assert completed_phases(drive) == frozenset()


def test_a_phase_is_completed_with_its_result_or_not_at_all(left: Planned) -> None:
    """What comes after the unit of work that stored the result can't make it be done twice."""

    def cut_off() -> None:
        with phase(left.drive, "discovery") as record:
            with left.drive.begin() as dao:
                record["sources"] = []
                record.complete(dao)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_off()
    assert completed_phases(left.drive) == {"discovery"}
    drive = _taken_over(left.drive)
    assert (drive.folder / "gaps.json").exists(), "the export that the lost driver had no time for"


def test_worktrees_of_the_lost_driver_go_and_its_work_is_kept(left: Planned) -> None:
    """Nothing is ever the only copy; the worktree of a newer driver would lie elsewhere."""
    worktree, _ = prepared_worktree(left.drive, "ws-01", left.drive.base_commit)
    (worktree.path / "a.py").write_text("A = 'half done'\n")
    drive = _taken_over(left.drive)
    assert not worktree.path.exists()
    assert drive.worktree("ws-01") != worktree.path
    assert git(drive.repository.top, "worktree", "list", "--porcelain").count("worktree ") == 1
    assert git(drive.repository.top, "show", f"refs/acms/kept/{drive.run_id}/ws-01:a.py") == "A = 'half done'\n"


def test_files_that_were_half_written_go(left: Planned) -> None:
    """A file is written beside its place and moved there: what a killed process left beside it is nobody's."""
    left.drive.folder.mkdir(exist_ok=True)
    parts = [left.drive.folder / ".plan.json.123.part", left.drive.folder.parent / ".x.123.part"]
    for part in parts:
        part.touch()
    _taken_over(left.drive)
    assert [part.exists() for part in parts] == [False, False]


def test_locks_of_a_git_that_was_killed_go_only_where_refs_are_ours(left: Planned) -> None:
    """Of the user's own locks none is touched, stale or not."""
    common = left.drive.repository.common_dir
    ours = [common / f"{left.drive.result_ref}.lock", common / f"{left.drive.workstream_ref('ws-01')}.lock"]
    theirs = [common / "index.lock", common / "refs/heads/main.lock", common / "refs/heads/acms/run_other.lock"]
    for lock in [*ours, *theirs]:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    _taken_over(left.drive)
    assert [lock.exists() for lock in ours] == [False, False]
    assert [lock.exists() for lock in theirs] == [True, True, True]


@pytest.mark.parametrize("state", ["created", "validated", "queued", "apply_failed", "applied", "verified"])
def test_a_patch_that_is_judged_again_is_dropped_first(left: Planned, state: str) -> None:
    """Each state has its legal way out, and the reason is in the trail."""
    entry_id = _patch(left, "ws-01/one", state)
    with left.drive.begin() as dao:
        drop_entry(dao, dao.ledger.get(entry_id), "judged again", "policy:resume")
    with left.drive.reading() as dao:
        assert dao.ledger.get(entry_id).state == "dropped"


def test_a_commit_that_was_made_and_not_recorded_is_found_by_its_trailer(left: Planned) -> None:
    """The task's work is on its branch: it is recorded, and never made a second time."""
    entry_id = _patch(left, "ws-01/one", "verified")
    drive, repository, task = left.drive, left.drive.repository, left.task("ws-01/one")
    assert not landed_already(drive, task)
    with drive.reading() as dao:
        patch_id = dao.ledger.get(entry_id).patch_id
    message = f"Change a.py\n\nACMS-Run: {drive.run_id}\nACMS-Patch: {patch_id}\n"
    tree = repository.tree_of(drive.base_commit)
    commit = repository.commit_tree(tree, [drive.base_commit], message, datetime.now(UTC))
    drive.move_ref(drive.workstream_ref("ws-01"), commit, None)
    assert landed_already(drive, task)
    with drive.reading() as dao:
        assert dao.ledger.get(entry_id).info["commit"] == commit


def _states(store: Store, run_id: str) -> set[str]:
    with store.begin(read_only=True) as dao:
        return {row.state for row in (*dao.tasks.of_run(run_id), *dao.workstreams.of_run(run_id))}


def test_a_cancelled_run_is_ended_children_first_and_its_driver_is_fenced_off(left: Planned) -> None:
    """Applied patches are reverted and quarantined; a second cancellation says that it has ended."""
    entry_id = _patch(left, "ws-01/one", "applied")
    task = left.task("ws-01/one")
    with left.drive.begin() as dao:
        facts = {"expected_exit_codes": (0,)}
        dao.tasks.advance(task.id, TaskTrigger.EXECUTION_COMPLETED, exit_code=0, facts=facts)
        dao.phases.create(run_id=left.drive.run_id, name="execution")
    prepared_worktree(left.drive, "ws-01", left.drive.base_commit)
    store, run_id = left.drive.store, left.drive.run_id
    run = cancel_run(store, run_id, "no more", operator="ada")
    assert (run.state, run.epoch) == ("canceled", left.drive.epoch + 1)
    assert _states(store, run_id) == {"cancelled"}
    with store.begin(read_only=True) as dao:
        assert dao.ledger.get(entry_id).state == "quarantined"
        assert [row.outcome for row in dao.phases.of_run(run_id)] == ["interrupted"]
        assert dao.transitions.of_run(run_id)[-1].operator == "ada"
    assert not left.drive.worktrees.exists()
    assert (left.drive.folder / "summary.json").exists()
    with pytest.raises(RunEnded, match="it is canceled"):
        cancel_run(store, run_id, "again")


def test_a_run_whose_repository_is_gone_can_be_cancelled_and_not_resumed(left: Planned) -> None:
    """A take-over that is refused changes nothing; the end of a run needs no repository."""
    store, run_id = left.drive.store, left.drive.run_id
    _patch(left, "ws-01/one", "verified")
    shutil.rmtree(left.drive.repository.top)
    release_run(left.drive)
    with pytest.raises(NotARepository):
        drive_run(run_id, database=store.url, force=True)
    with store.begin(read_only=True) as dao:
        assert dao.runs.get(run_id).epoch == left.drive.epoch
    assert cancel_run(store, run_id, "its repository is gone").state == "canceled"
    assert _states(store, run_id) == {"cancelled"}
    assert not left.drive.repository.top.exists()
    assert verify(store).ok


def test_a_driver_beats_as_often_as_its_settings_say(tmp_path: Path, canonical_url: str) -> None:
    """Slots of a run with a long lease are not silent meanwhile."""
    repository = repository_of(tmp_path / "repository", {"a.py": "A = 1\n"})
    resilience, health = ResilienceSettings(lease_sec=600), HealthSettings(heartbeat_sec=0.3)
    drive = started_run(repository, canonical_url, resilience=resilience, health=health)
    open_pool(drive)

    def beats() -> set[str]:
        with drive.reading() as dao:
            return {worker.last_heartbeat for worker in dao.workers.of_run(drive.run_id)}

    with drive.leased():
        first, end = beats(), time.monotonic() + 10
        while beats() & first:
            assert time.monotonic() < end
            time.sleep(0.1)


def test_a_result_branch_that_was_deleted_meanwhile_is_put_back(left: Planned) -> None:
    """What is merged later builds on what was merged before."""
    drive, repository = left.drive, left.drive.repository
    tree, row = repository.tree_of(drive.base_commit), left.workstream("ws-01")
    merge = repository.commit_tree(tree, [drive.base_commit], "Merge ws-01", datetime.now(UTC))
    with closing(sqlite3.connect(drive.store.url.removeprefix("sqlite:///"))) as database:
        # as a completed workstream is, without the work that leads there
        database.execute(COMPLETED_WITHOUT_WORK, (row.id,))
        database.commit()
    with drive.begin() as dao:
        dao.workstreams.change(row.id, metadata={"merge": merge})
    taken = _taken_over(drive)
    assert repository.ref(taken.result_ref) == merge


def test_leavings_are_the_new_drivers_once_the_run_was_taken_over(left: Planned) -> None:
    """Who wakes up late removes no lock and no half written file of the driver that works now."""
    lock = left.drive.repository.common_dir / f"{left.drive.result_ref}.lock"
    with left.drive.store.begin() as dao:
        dao.runs.take_over(left.drive.run_id)
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    with pytest.raises(Superseded):
        clear_leavings(left.drive)
    assert lock.exists()


def test_a_drive_that_is_over_does_not_take_its_successor_along(left: Planned) -> None:
    """Both are of this process: the tools, the merge lock and the fault of the newer one are found by its tasks."""
    newer = drive_run(left.drive.run_id, database=left.drive.store.url, force=True)
    release_run(left.drive)
    assert drive_run(newer.run_id, epoch=newer.epoch) is newer
    release_run(newer)


def test_rows_of_a_plan_count_whatever_became_of_its_file(tmp_path: Path, canonical_url: str) -> None:
    """A resumed execute_only run needs neither the plan file nor HEAD where it was."""
    repository = repository_of(tmp_path / "repository", {"a.py": "A = 1\n"})
    drive = started_run(repository, canonical_url, mode=Mode.EXECUTE_ONLY, plan=str(tmp_path / "gone.json"))
    with pytest.raises(AcmsError):
        load_plan(drive)
    a = a_gap("a", "a.py")
    Planned(drive, a_plan(drive, [a_task("ws-01/one", [a])], [a]))
    load_plan(drive)


def test_a_commit_that_git_has_pruned_is_reachable_from_nowhere(left: Planned) -> None:
    """A run whose patch named it can be ended all the same."""
    assert not left.drive.repository.is_ancestor("1" * 40, left.drive.base_commit)
    with pytest.raises(GitFailed):
        left.drive.repository.is_ancestor(left.drive.base_commit, "1" * 40)
