"""Overrides of a run with a repository: what is on its branches stays true, and git says what is merged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run
from operated import everything, leave, merged, patched
from repositories import git

from prefect_acms.blocks.config import GateSettings
from prefect_acms.canonical.errors import GuardRefused, InvalidTransition, InvalidValue, RunEnding, Superseded
from prefect_acms.dao.audit import verify
from prefect_acms.dao.store import Store
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.overrides import override

ADA = {"operator": "ada", "reason": "it hangs"}
GATES = GateSettings(lint_enabled=False, security_enabled=False, unit=("true",))


def two(tmp_path: Path, url: str, **facts: Any) -> Planned:
    """Two workstreams of one file each, driven by this process."""
    drive = started_run(repository_of(tmp_path / "shop", {"a.py": "A = 1\n", "b.py": "B = 1\n"}), url, gates=GATES)
    a, b = a_gap("a", "a.py"), a_gap("b", "b.py")
    tasks = [a_task("ws-01/one", [a], **facts), a_task("ws-02/one", [b])]
    return Planned(drive, a_plan(drive, tasks, [a, b]))


def write_late(drive: Drive) -> None:
    """What a driver does that has not yet heard that it drives no more."""
    with drive.begin() as dao:
        dao.runs.change(drive.run_id, metadata={"late": True})


def test_a_failed_workstream_keeps_its_patches_out_and_defers_its_gaps(tmp_path: Path, canonical_url: str) -> None:
    """The patch is quarantined with the reason, the gap is deferred with it, the other workstream is as it was."""
    planned = two(tmp_path, canonical_url)
    entry = patched(planned, "ws-01/one", {"a.py": "A = 2\n"})
    leave(planned.drive)
    override(planned.drive.store, "fail-workstream", planned.workstream("ws-01").id, **ADA)
    assert (planned.workstream("ws-01").state, planned.workstream("ws-01").error) == ("failed", "it hangs")
    assert planned.workstream("ws-02").state == "planned"
    with planned.drive.reading() as dao:
        assert dao.ledger.get(entry.id).state == "quarantined"
        gaps = {gap.fingerprint: (gap.state, gap.deferred_reason) for gap in dao.gaps.of_run(planned.drive.run_id)}
    assert gaps == {"a": ("deferred", "it hangs"), "b": ("planned", None)}
    override(planned.drive.store, "skip-workstream", planned.workstream("ws-02").id, **ADA)
    assert (planned.workstream("ws-02").state, planned.task("ws-02/one").state) == ("skipped", "cancelled")
    with planned.drive.reading() as dao:
        assert {gap.deferred_reason for gap in dao.gaps.of_run(planned.drive.run_id)} == {"it hangs"}
    trail = (planned.drive.folder / "transitions.jsonl").read_text().splitlines()
    assert [json.loads(line)["trigger"] for line in trail].count("manual_override") == 2
    assert verify(planned.drive.store).ok


def test_a_merge_that_nobody_recorded_is_validated_and_one_that_was_not_made_is_not(
    tmp_path: Path, canonical_url: str
) -> None:
    """It is git that says whether it is merged; a merged workstream can't be failed any more."""
    planned = two(tmp_path, canonical_url)
    drive, stream = planned.drive, planned.workstream("ws-01")
    entry = patched(planned, "ws-01/one", {"a.py": "A = 2\n"})
    leave(drive)
    before = everything(drive.store)
    with pytest.raises(GuardRefused, match="the branch has been merged"):
        override(drive.store, "validate-workstream", stream.id, **ADA)
    assert everything(drive.store) == before
    drive.repository.move_ref(drive.result_ref, str(entry.info["commit"]), None)
    with drive.store.begin() as dao:
        dao.workstreams.advance(stream.id, "all_tasks_completed")
    with pytest.raises(InvalidValue, match="can only be validated"):
        override(drive.store, "fail-workstream", stream.id, **ADA)
    done = override(drive.store, "validate-workstream", stream.id, **ADA)
    assert planned.workstream("ws-01").state == "completed"
    with drive.reading() as dao:
        assert dao.ledger.get(entry.id).commit_sha == entry.info["commit"]
        assert {gap.state for gap in dao.gaps.of_workstream(stream.id)} == {"deferred"}  # its source can't be asked
    assert done.entity_id == stream.id
    assert verify(drive.store).ok


def test_a_run_is_quarantined_whoever_drives_it(tmp_path: Path, canonical_url: str) -> None:
    """Children first, in one unit with the notice; what was merged stays, the rest is kept out, its driver too."""
    planned = two(tmp_path, canonical_url)
    drive = planned.drive
    kept, open_entry = patched(planned, "ws-01/one", {"a.py": "2"}), patched(planned, "ws-02/one", {"b.py": "2"})
    merged(planned, "ws-01")
    with drive.leased():
        override(drive.store, "quarantine-run", drive.run_id, **ADA)
        with pytest.raises((Superseded, RunEnding)):
            write_late(drive)
    with drive.reading() as dao:
        run = dao.runs.get(drive.run_id)
        assert (run.state, run.quarantine_reason) == ("quarantined", "it hangs")
        assert dao.ledger.get(kept.id).state == "committed"
        assert dao.ledger.get(open_entry.id).state == "quarantined"
        last = dao.transitions.of_run(drive.run_id)[-2:]
    assert [(row.trigger, row.operator) for row in last] == [("safety_violation", "ada"), ("manual_override", "ada")]
    assert git(drive.repository.top, "worktree", "list").count("\n") == 1
    assert (drive.folder / "summary.json").exists()
    before = everything(drive.store)
    with pytest.raises(InvalidTransition, match="is quarantined: it can't take safety_violation"):
        override(drive.store, "quarantine-run", drive.run_id, **ADA)
    assert everything(drive.store) == before
    assert verify(drive.store).ok


def test_a_run_that_has_not_started_is_not_quarantined(store: Store) -> None:
    """It can only be cancelled; nothing is changed by the try."""
    with store.begin() as dao:
        run = dao.runs.create(repo_root="/nowhere", config={"repository": "/nowhere"}).id
    before = everything(store)
    with pytest.raises(InvalidTransition, match="legal from here"):
        override(store, "quarantine-run", run, **ADA)
    assert everything(store) == before
