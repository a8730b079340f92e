"""What runs leave on a machine and in a repository: found, put right, told once, and found no second time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from driven import repository_of, started_run
from operated import leave
from repositories import git

from prefect_acms.blocks.config import HealthSettings
from prefect_acms.dao.audit import verify
from prefect_acms.dao.home import acms_home
from prefect_acms.dao.store import Store
from prefect_acms.tasks.cancelling import cancel_run
from prefect_acms.tasks.driving import Drive, drive_run, release_run
from prefect_acms.tasks.health import health_of
from prefect_acms.tasks.leases import this_driver
from prefect_acms.tasks.leavings import Leavings
from prefect_acms.tasks.locks import repository_lock
from prefect_acms.tasks.preparation import prepared_worktree
from prefect_acms.tasks.repairs import ABANDONED_SEC
from prefect_acms.tasks.run_files import refresh_files
from prefect_acms.tasks.survivors import RUN_MARK, run_mark
from prefect_acms.tasks.telling import Found
from prefect_acms.tasks.worktrees import open_worktree


@pytest.fixture
def drive(tmp_path: Path, canonical_url: str) -> Iterator[Drive]:
    """A run that this process drives."""
    started = started_run(repository_of(tmp_path / "repository", {"a.py": "A = 1\n"}), canonical_url)
    yield started
    release_run(started)


@pytest.fixture
def ended(drive: Drive) -> Drive:
    """A run that was canceled and put away."""
    cancel_run(drive.store, drive.run_id, "no more")
    return drive


def _look(store: Store, run_id: str) -> Found:
    """One look at a run, as a pass without Prefect."""
    found = Found(store)
    with store.begin(read_only=True) as dao:
        run = dao.runs.get(run_id)
    looking = Leavings(store, found)
    looking.look([run])
    looking.look_for_unknown()
    refresh_files(store, run_id)
    return found


def _kinds(found: Found) -> list[str]:
    return sorted(drift.kind.value for drift in found.drifts)


def _assert_in_step(drive: Drive) -> None:
    again = _look(drive.store, drive.run_id)
    assert (again.drifts, again.left_alone) == ([], [])
    assert verify(drive.store).ok


def _aged(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_run_that_was_closed_is_in_step(ended: Drive) -> None:
    """Nothing is found, nothing is written."""
    _assert_in_step(ended)


def test_what_an_ended_run_has_left_is_put_away(ended: Drive) -> None:
    """Worktree, merged branch, lock, report and trail, each a drift of its own; what was unsaved is kept."""
    repository = ended.repository
    path = acms_home() / "worktrees" / ended.run_id / "1" / "ws-01"
    open_worktree(repository, path, ended.base_commit).path.joinpath("a.py").write_text("A = 2\n")
    for ref in (ended.result_ref, ended.workstream_ref("ws-01")):
        repository.move_ref(ref, ended.base_commit, None)
    lock = repository.common_dir / f"{ended.result_ref}.lock"
    lock.write_text("")
    _aged(lock, 60)
    (ended.folder / "report.html").unlink()
    trail = ended.folder / "transitions.jsonl"
    trail.write_text(trail.read_text().replace("no more", "no less"))
    found = _look(ended.store, ended.run_id)
    assert _kinds(found) == ["branches", "locks", "reports", "trail", "worktrees"]
    assert all(drift.repaired for drift in found.drifts)
    assert not path.parent.parent.exists()
    assert not lock.exists()
    assert (ended.folder / "report.html").exists()
    assert "no less" not in trail.read_text()
    kept = repository.refs(f"refs/acms/kept/{ended.run_id}/")
    assert [repository.content(commit, "a.py") for commit in kept.values()] == [b"A = 2\n"]
    assert list(repository.refs("refs/heads/acms/")) == [ended.result_ref]
    with ended.reading() as dao:
        told = [row.info["kind"] for row in dao.transitions.of_run(ended.run_id) if row.trigger == "drift_detected"]
    assert sorted(told) == _kinds(found)
    _assert_in_step(ended)


def test_a_folder_of_reports_that_its_owner_has_deleted_stays_deleted(ended: Drive) -> None:
    """It is no drift, and putting a worktree away does not bring it back."""
    shutil.rmtree(ended.folder)
    _assert_in_step(ended)
    open_worktree(ended.repository, acms_home() / "worktrees" / ended.run_id / "1" / "ws-01", ended.base_commit)
    assert _kinds(_look(ended.store, ended.run_id)) == ["worktrees"]
    assert not ended.folder.exists()
    _assert_in_step(ended)


def test_the_entry_of_a_worktree_whose_folder_is_gone_is_removed(ended: Drive, tmp_path: Path) -> None:
    """Ours only: what the user has lost is the user's."""
    top = ended.repository.top
    path = acms_home() / "worktrees" / ended.run_id / "1" / "ws-01"
    open_worktree(ended.repository, path, ended.base_commit)
    git(top, "worktree", "add", "--detach", str(tmp_path / "theirs"))
    for folder in (path.parent.parent, tmp_path / "theirs"):
        shutil.rmtree(folder)
    assert _kinds(_look(ended.store, ended.run_id)) == ["worktree_entries"]
    assert git(top, "worktree", "list", "--porcelain").count("worktree ") == 2
    _assert_in_step(ended)


def test_the_lock_of_a_git_that_was_killed_is_removed_before_the_run_is_resumed(drive: Drive) -> None:
    """One that is young may be that of a git that runs; worktrees of a run that can be resumed are none of this."""
    prepared_worktree(drive, "ws-01", drive.base_commit)
    leave(drive)
    lock = drive.repository.common_dir / f"{drive.workstream_ref('ws-01')}.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("")
    _assert_in_step(drive)
    _aged(lock, 60)
    assert _kinds(_look(drive.store, drive.run_id)) == ["locks"]
    assert drive.worktree("ws-01").exists()
    _assert_in_step(drive)


def test_nothing_of_a_driven_run_is_touched(drive: Drive) -> None:
    """Not its worktrees, not its processes, not a lock."""
    worktree, _ = prepared_worktree(drive, "ws-01", drive.base_commit)
    lock = drive.repository.common_dir / f"{drive.result_ref}.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("")
    _aged(lock, 60)
    with _process(run_mark(drive.run_id, drive.epoch)) as tool:
        _assert_in_step(drive)
        assert tool.poll() is None
        tool.kill()
    assert worktree.path.exists()
    assert lock.exists()


def test_worktrees_of_a_driver_that_was_superseded_are_put_away_when_nothing_moves_there(drive: Drive) -> None:
    """A minute after the last change; those of the driver that lives stay."""
    old, _ = prepared_worktree(drive, "ws-01", drive.base_commit)
    newer = drive_run(drive.run_id, database=drive.store.url, force=True)
    own, _ = prepared_worktree(newer, "ws-01", drive.base_commit)
    _assert_in_step(newer)
    for path in (old.path, old.path.parent):
        _aged(path, ABANDONED_SEC + 1)
    found = _look(drive.store, drive.run_id)
    assert (_kinds(found), found.left_alone) == (["worktrees"], [])
    assert not old.path.parent.exists()
    assert own.path.exists()
    _assert_in_step(newer)


def test_processes_of_a_run_that_has_ended_are_stopped(ended: Drive) -> None:
    """Whatever driver has left them; those of other runs go on."""
    with _process(run_mark(ended.run_id, 1)) as tool, _process(run_mark("run_other", 1)) as other:
        assert _kinds(_look(ended.store, ended.run_id)) == ["processes"]
        assert tool.wait(10) < 0
        assert other.poll() is None
        other.kill()
    _assert_in_step(ended)


def test_a_repository_that_is_gone_is_told_once(ended: Drive) -> None:
    """A person has to know; after that it is known."""
    ended.repository.top.rename(ended.repository.top.with_name("elsewhere"))
    found = _look(ended.store, ended.run_id)
    assert (_kinds(found), found.drifts[0].needs_person) == (["repository_gone"], True)
    again = _look(ended.store, ended.run_id)
    assert again.drifts == []
    assert [(drift.kind.value, drift.needs_person) for drift in again.left_alone] == [("repository_gone", False)]


def test_worktrees_of_a_run_that_the_store_does_not_know_are_left_alone(ended: Drive) -> None:
    """They may be another store's: said in every pass, never a drift."""
    strange = acms_home() / "worktrees" / "run_of_another_store" / "1"
    strange.mkdir(parents=True)
    for _ in range(2):
        found = _look(ended.store, ended.run_id)
        assert (found.drifts, [drift.kind.value for drift in found.left_alone]) == ([], ["unknown_run"])
    assert strange.exists()


def test_a_repository_in_which_somebody_works_is_looked_at_next_time(ended: Drive) -> None:
    """What was left is put away by the pass after that."""
    open_worktree(ended.repository, acms_home() / "worktrees" / ended.run_id / "1" / "ws-01", ended.base_commit)
    with repository_lock(acms_home(), ended.repository.top, "process 1"):
        found = _look(ended.store, ended.run_id)
    assert (found.drifts, len(found.left_alone)) == ([], 1)
    assert "process 1" in found.left_alone[0].sentence
    assert _kinds(_look(ended.store, ended.run_id)) == ["worktrees"]
    _assert_in_step(ended)


def _process(mark: str) -> subprocess.Popen[bytes]:
    """A process that says whose it is, as tools do."""
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={**os.environ, RUN_MARK: mark})


def test_what_lies_on_another_machine_is_not_looked_at(drive: Drive) -> None:
    """Its repository is not here, which says nothing; and no event is written into the trail of a run that goes on."""
    there = asdict(replace(this_driver(drive.epoch), host="elsewhere"))
    with drive.begin() as dao:
        dao.runs.lease(drive.run_id, drive.epoch, 60, there)
    shutil.rmtree(drive.repository.top)
    found = _look(drive.store, drive.run_id)
    assert (_kinds(found), [drift.needs_person for drift in found.left_alone]) == ([], [False])
    assert "machine elsewhere" in found.left_alone[0].sentence


def test_a_run_of_another_version_keeps_nobody_from_the_others(drive: Drive) -> None:
    """A setting that this version does not know is named, and what it knows of the rest still holds."""
    config = {**drive.config.model_dump(mode="json"), "health": {"lost_after_sec": 700, "gone": 1}, "older": True}
    with drive.begin() as dao:
        dao.runs.change(drive.run_id, config=config)
    leave(drive)
    found = _look(drive.store, drive.run_id)
    assert "not of this version: health.gone, older" in found.left_alone[0].sentence
    with drive.store.begin(read_only=True) as dao:
        assert health_of(dao.runs.get(drive.run_id), HealthSettings()).lost_after_sec == 700


@pytest.mark.skipif(shutil.which("chattr") is None, reason="nothing here makes a file that can't be removed")
def test_what_can_not_be_removed_is_said_and_not_called_put_away(ended: Drive) -> None:
    """Pass after pass the same, without an event each time."""
    stuck = acms_home() / "worktrees" / ended.run_id / "1" / "ws-01" / "owned by somebody else"
    stuck.parent.mkdir(parents=True)
    stuck.touch()
    if subprocess.run(["chattr", "+i", str(stuck)], check=False, capture_output=True).returncode != 0:
        pytest.skip("the file system knows no immutable files")
    try:
        for _ in range(2):
            found = _look(ended.store, ended.run_id)
            assert (_kinds(found), len(found.left_alone)) == ([], 1)
            assert "could not be put right" in found.left_alone[0].sentence
    finally:
        subprocess.run(["chattr", "-i", str(stuck)], check=True)
    assert _kinds(_look(ended.store, ended.run_id)) == ["worktrees"]
