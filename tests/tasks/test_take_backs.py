"""What was taken out by hand is not merged: its commits leave their workstream's branch with it, or nothing does."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run
from operated import everything, leave, merged, patched, verified_patch
from repositories import git

from prefect_acms.blocks.config import GateSettings
from prefect_acms.canonical.errors import AcmsError, InvalidValue
from prefect_acms.canonical.task import TaskTrigger
from prefect_acms.dao.audit import verify
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.tasks.attempts import Executed, Finished, perform
from prefect_acms.tasks.driving import drive_run
from prefect_acms.tasks.overrides import override

ADA = {"operator": "ada", "reason": "it is wrong"}
GATES = GateSettings(lint_enabled=False, security_enabled=False, unit=("true",))


@pytest.fixture
def planned(tmp_path: Path, canonical_url: str) -> Planned:
    """A workstream of two tasks about a file each, driven by this process."""
    drive = started_run(repository_of(tmp_path / "shop", {"a.py": "1\n", "b.py": "1\n"}), canonical_url, gates=GATES)
    a, b = a_gap("a", "a.py"), a_gap("b", "b.py")
    return Planned(drive, a_plan(drive, [a_task("ws-01/one", [a]), a_task("ws-01/two", [b])], [a, b]))


def left_validating(planned: Planned, key: str, *, landed: bool = True) -> LedgerRow:
    """Leave a task validating with a verified patch, whose commit is on its branch if it has landed."""
    drive, repository = planned.drive, planned.drive.repository
    task, ref = planned.running(key), drive.workstream_ref("ws-01")
    head = repository.ref(ref)
    parent = head or drive.base_commit
    tree = git(repository.top, "rev-parse", f"{parent}^{{tree}}").strip()
    commit = repository.commit_tree(tree, [parent], f"Fix {key}\n", drive.store.clock())
    with drive.begin() as dao:
        if dao.workstreams.get(task.workstream_id).state == "ready":
            dao.workstreams.advance(task.workstream_id, "first_task_started")
        dao.tasks.advance(task.id, TaskTrigger.EXECUTION_COMPLETED, exit_code=0, facts={"expected_exit_codes": (0,)})
        dao.workers.advance(str(task.worker_id), "task_finished")
        entry = verified_patch(dao, task.id, key.encode(), ["a.py"], commit)
    if landed:
        drive.move_ref(ref, commit, head)
    return entry


def refused(planned: Planned, action: str, key: str) -> str:
    """The sentence with which an order is refused; asserts that neither rows nor branches have changed."""
    store, top = planned.drive.store, planned.drive.repository.top
    before = everything(store), git(top, "for-each-ref")
    with pytest.raises(InvalidValue) as raised:
        override(store, action, planned.task(key).id, **ADA)
    assert (everything(store), git(top, "for-each-ref")) == before
    return str(raised.value)


def state_of(planned: Planned, entry: LedgerRow) -> str:
    with planned.drive.reading() as dao:
        return dao.ledger.get(entry.id).state


def test_a_failed_task_takes_its_only_commit_off_the_branch(planned: Planned) -> None:
    """The branch is as if it had never begun, so that a task in its place is not built upon what was rejected."""
    entry = left_validating(planned, "ws-01/one")
    leave(planned.drive)
    override(planned.drive.store, "fail-task", planned.task("ws-01/one").id, **ADA)
    assert planned.drive.repository.ref(planned.drive.workstream_ref("ws-01")) is None
    assert state_of(planned, entry) == "quarantined"
    override(planned.drive.store, "reset-task", planned.task("ws-01/one").id, **ADA)
    assert state_of(planned, entry) == "dropped"
    assert verify(planned.drive.store).ok


def test_what_is_below_the_rejected_commit_stays(planned: Planned) -> None:
    """Only the commits of the failed task go."""
    kept = patched(planned, "ws-01/one", {"a.py": "2\n"})
    left_validating(planned, "ws-01/two")
    leave(planned.drive)
    override(planned.drive.store, "fail-task", planned.task("ws-01/two").id, **ADA)
    assert planned.drive.repository.ref(planned.drive.workstream_ref("ws-01")) == kept.info["commit"]
    assert state_of(planned, kept) == "verified"


def test_a_commit_that_others_are_on_top_of_is_not_taken_away(planned: Planned) -> None:
    """The order is refused with what to do instead."""
    left_validating(planned, "ws-01/one")
    left_validating(planned, "ws-01/two")
    leave(planned.drive)
    sentence = refused(planned, "fail-task", "ws-01/one")
    assert "below other commits on branch acms/work/" in sentence
    assert "else fail its workstream" in sentence
    git(planned.drive.repository.top, "checkout", "-q", str(planned.workstream("ws-01").branch))
    assert "is checked out" in refused(planned, "fail-task", "ws-01/two")


def test_a_commit_that_was_left_on_the_branch_goes_with_the_reset(planned: Planned) -> None:
    """A patch that was quarantined while its commit stayed is not merged by the task in the old one's place."""
    entry = left_validating(planned, "ws-01/one")
    with planned.drive.begin() as dao:
        dao.ledger.advance(entry.id, "commit_failed", quarantine_reason="bad")
        dao.tasks.advance(entry.task_id, "validation_failed", last_error="bad")
    leave(planned.drive)
    override(planned.drive.store, "reset-task", planned.task("ws-01/one").id, **ADA)
    assert planned.drive.repository.ref(planned.drive.workstream_ref("ws-01")) is None


def test_without_its_rows_the_branch_stays(planned: Planned) -> None:
    """The database refuses the commit, when the ref has been moved already: both are as they were."""
    entry = left_validating(planned, "ws-01/one")
    leave(planned.drive)
    store, ref = planned.drive.store, planned.drive.workstream_ref("ws-01")
    with sqlite3.connect(store.url.removeprefix("sqlite:///")) as database:
        database.execute("CREATE TABLE late (id TEXT REFERENCES runs(id) DEFERRABLE INITIALLY DEFERRED)")
        database.execute("CREATE TRIGGER late AFTER UPDATE ON tasks BEGIN INSERT INTO late VALUES ('nobody'); END")
    before = everything(store)
    with pytest.raises(AcmsError, match=r"(?i)foreign key"):
        override(store, "fail-task", planned.task("ws-01/one").id, **ADA)
    assert everything(store) == before
    assert planned.drive.repository.ref(ref) == entry.info["commit"]


def test_a_task_whose_patch_is_not_on_its_branch_yet_is_not_completed(planned: Planned) -> None:
    """It would be a patch in no commit at all; resuming the run judges it again. One that is there is fine."""
    left_validating(planned, "ws-01/one", landed=False)
    leave(planned.drive)
    sentence = refused(planned, "complete-task", "ws-01/one")
    assert f"`acms resume {planned.drive.run_id}` judges it again" in sentence


def test_a_task_whose_patch_is_on_its_branch_is_completed(planned: Planned) -> None:
    """All that its driver had left to do was to say so."""
    left_validating(planned, "ws-01/one")
    leave(planned.drive)
    override(planned.drive.store, "complete-task", planned.task("ws-01/one").id, **ADA)
    assert planned.task("ws-01/one").state == "completed"


def test_in_a_workstream_that_is_being_merged_no_task_is_reset(planned: Planned) -> None:
    """Its tasks are done: a new one would be run by nobody, and the workstream merged without it."""
    patched(planned, "ws-01/one", {"a.py": "2\n"})
    perform(planned.drive, planned.queued("ws-01/two").id, lambda _task: Executed(0, Finished))
    stream = planned.workstream("ws-01")
    with planned.drive.begin() as dao:
        dao.workstreams.advance(stream.id, "all_tasks_completed")
    leave(planned.drive)
    assert "the workstream of task" in refused(planned, "reset-task", "ws-01/one")


def test_everything_that_an_order_does_carries_its_name_and_reason(planned: Planned) -> None:
    """Gates, patches, workers and gaps as well as what the order names; of a run that is quarantined too."""
    left_validating(planned, "ws-01/one")
    planned.running("ws-01/two")
    leave(planned.drive)
    store, run_id = planned.drive.store, planned.drive.run_id
    with store.begin(read_only=True) as dao:
        before = len(dao.transitions.of_run(run_id))
    override(store, "fail-workstream", planned.workstream("ws-01").id, **ADA)
    override(store, "quarantine-run", run_id, **ADA)
    with store.begin(read_only=True) as dao:
        rows = dao.transitions.of_run(run_id)[before:]
    assert {(row.operator, row.reason) for row in rows} == {("ada", "it is wrong")}
    assert {row.entity_type for row in rows} >= {"patch_ledger", "worker", "gap", "task", "workstream", "run"}
    assert rows[-1].info == {"action": "quarantine-run"}


def test_what_is_merged_is_not_taken_back(planned: Planned) -> None:
    """A branch whose commits are on the run's branch stays as it is, and a driver goes on with it."""
    patched(planned, "ws-01/one", {"a.py": "2\n"})
    entry = patched(planned, "ws-01/two", {"b.py": "2\n"})
    merged(planned, "ws-01")
    leave(planned.drive)
    refused(planned, "reset-task", "ws-01/two")
    assert state_of(planned, entry) == "committed"
    assert drive_run(planned.drive.run_id, database=planned.drive.store.url).result_head() == entry.info["commit"]
