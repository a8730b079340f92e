"""A driven run: fenced, told when it is being ended, and every phase of it recorded as it came out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from driven import repository_of, started_run

from prefect_acms.canonical.errors import RunEnding, Superseded
from prefect_acms.canonical.outside_errors import GitFailed
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.canonical.test_gate import GateType
from prefect_acms.tasks.baseline import Baseline
from prefect_acms.tasks.driving import Drive, drive_run, phase
from prefect_acms.tasks.ending import end_run
from prefect_acms.tasks.gate_rows import Subject, judged_tree
from prefect_acms.tasks.gates import GateCommand, GateResult
from prefect_acms.tasks.preparation import prepared_worktree


@pytest.fixture
def drive(tmp_path: Path, canonical_url: str) -> Drive:
    """A run that is running."""
    return started_run(repository_of(tmp_path / "repository", {"a.py": ""}), canonical_url)


def _outcomes(drive: Drive) -> list[tuple[str, str | None]]:
    with drive.reading() as dao:
        return [(row.name, row.outcome) for row in dao.phases.of_run(drive.run_id)]


def test_a_phase_is_recorded_as_it_came_out(drive: Drive) -> None:
    """Completed with what it made, or failed when it was left by an exception, which is not swallowed."""
    with phase(drive, "discovery") as artifacts:
        artifacts["found"] = 1
    with pytest.raises(ZeroDivisionError), phase(drive, "clustering"):
        raise ZeroDivisionError
    assert _outcomes(drive) == [("discovery", "completed"), ("clustering", "failed")]


def test_a_phase_of_a_run_that_was_taken_over_writes_nothing_more(drive: Drive) -> None:
    """A process thought dead that wakes up changes nothing; what it was told is raised, not hidden by the phase."""

    def taken_over_in_the_middle() -> None:
        with phase(drive, "discovery"):
            drive_run(drive.run_id, database=drive.store.url, force=True)
            with drive.begin() as dao:
                dao.runs.change(drive.run_id, metadata={"late": True})

    with pytest.raises(Superseded):
        taken_over_in_the_middle()
    assert _outcomes(drive) == [("discovery", None)]
    with pytest.raises(Superseded), phase(drive, "clustering"):
        pytest.fail("it was let in")


@pytest.mark.parametrize(
    "late",
    [
        lambda drive: drive.begin(),
        lambda drive: drive.watching().__enter__(),
        lambda drive: prepared_worktree(drive, "ws-01", drive.base_commit),
    ],
)
def test_whoever_still_works_for_a_run_that_is_being_ended_is_refused(
    drive: Drive, late: Callable[[Drive], object]
) -> None:
    """No row, no process and no worktree comes into being after the end has begun."""
    drive.stop()
    with pytest.raises(RunEnding):
        late(drive)
    end_run(drive, RunTrigger.USER_CANCELLED, "interrupted")
    with drive.reading() as dao:
        assert dao.runs.get(drive.run_id).state == "canceled"
    assert not drive.worktree("ws-01").parent.exists()


def test_a_gate_that_an_error_keeps_from_answering_is_failed(drive: Drive) -> None:
    """Its row does not stay RUNNING; the error is raised."""
    worktree, isolated = prepared_worktree(drive, "ws-01", drive.base_commit)
    environment = replace(isolated, isolation=None)
    gate = GateCommand(GateType.UNIT, ("touch", str(worktree.admin / "index.lock")), None, 10)
    baseline = Baseline((gate,), {GateType.UNIT: GateResult(gate, 0, "", "", timed_out=False, duration_sec=0)})
    with pytest.raises(GitFailed, match=r"index\.lock"):
        judged_tree(drive, baseline, worktree, environment, touched=["a.py"], subject=Subject())
    with drive.reading() as dao:
        (row,) = dao.test_gates.of_run(drive.run_id)
    assert row.state == "FAILED"
    assert "could not be judged" in str(row.stderr)
