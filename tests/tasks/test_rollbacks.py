"""Rollback of a committed patch: git first, judged by the gates, and the rows only after that."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest
from breakers import START
from driven import repository_of
from operated import leave
from repositories import fingerprint_of, git
from shops import ADA, FILES, GOOD, Shop

from prefect_acms.blocks.config import GateSettings
from prefect_acms.canonical.errors import AcmsError, InvalidTransition, RollbackRefused, RunDriven
from prefect_acms.canonical.outside_errors import MergeConflict, RefMoved
from prefect_acms.dao.audit import verify
from prefect_acms.tasks.landing import REVERTS, landed_commits
from prefect_acms.tasks.overrides import override
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.reverts import first_in_the_way, is_checked_out, reverted_tree, reverted_trees, rollback_message
from prefect_acms.tasks.rollback_sites import TRAILER
from prefect_acms.tasks.summary import build_summary


def test_a_patch_is_taken_back_after_the_run_has_succeeded(tmp_path: Path, canonical_url: str) -> None:
    """The branch gets a revert with trailers, the row its plan, the trail a critical notice; the rest stays."""
    shop = Shop(tmp_path, canonical_url)
    patch = shop.fix("ws-01", ("A0 = 1", "A0 = 2"))
    shop.fix("ws-02", ("A11 = 1", "A11 = 3"))
    before = shop.ends().drive.result_head()
    user = fingerprint_of(shop.repository.top)
    done = override(shop.store, "rollback-patch", patch, **ADA)
    assert [(change.from_state, change.to_state) for change in done.changes] == [("committed", "rolled_back")]
    assert shop.shown() == FILES["a.py"].replace("A11 = 1", "A11 = 3")
    assert fingerprint_of(shop.repository.top) == user
    head = shop.drive.result_head()
    message = shop.repository.message(head)
    assert message.splitlines()[:3] == ['Revert "Fix ws-01/one"', "", "it broke the shop"]
    assert f"ACMS-Rollback: {patch}" in message
    with shop.drive.reading() as dao:
        entry = dao.ledger.get(done.entity_id)
        told = dao.transitions.of_run(shop.drive.run_id)
    assert entry.rollback_reason == "it broke the shop"
    plan = entry.rollback_compensation or {}
    assert (plan["commit"], plan["revert"], plan["before"]) == (entry.commit_sha, head, before)
    assert len(plan["gates"]) == 1
    notices = [(row.trigger, row.severity, row.operator) for row in told[-2:]]
    assert notices == [("manual_override", "warning", "ada"), ("post_success_rollback", "critical", "ada")]
    assert git(shop.repository.top, "worktree", "list").count("\n") == 1
    assert not shop.drive.worktrees.exists()
    assert "it can't take rollback_approved" in shop.refused(InvalidTransition, patch)
    assert verify(shop.store).ok


def test_what_is_rolled_back_no_longer_counts_as_fixed(tmp_path: Path, canonical_url: str) -> None:
    """The gap keeps its state, from which no edge leads, but no commit stands for it any more."""
    shop = Shop(tmp_path, canonical_url)
    patch = shop.fix("ws-01", ("A0 = 1", "A0 = 2"))
    shop.ends()
    with shop.drive.reading() as dao:
        run = dao.runs.get(shop.drive.run_id)
    assert set(landed_commits(shop.repository, run).gaps) == {"x"}
    before = build_summary(shop.store, run.id, shop.repository)
    assert [gap.fingerprint for gap in before.gaps if gap.commit] == ["x"]
    override(shop.store, "rollback-patch", patch, **ADA)
    landed = landed_commits(shop.repository, run)
    assert not landed.gaps
    assert set(landed.back) == {"x"}
    summary = build_summary(shop.store, run.id, shop.repository)
    assert [gap.fingerprint for gap in summary.gaps if gap.commit] == []
    assert summary.kept() == ()


def test_later_patches_on_the_same_lines_are_named_and_rolled_back_first(tmp_path: Path, canonical_url: str) -> None:
    """Only those that can't be had without it; once they are gone, it goes too."""
    shop = Shop(tmp_path, canonical_url)
    first = shop.fix("ws-01", ("A0 = 1", "A0 = 2"))
    second = shop.fix("ws-02", ("A0 = 2", "A0 = 3"))
    third = shop.fix("ws-03", ("A11 = 1", "A11 = 3"))
    shop.ends()
    sentence = shop.refused(RollbackRefused, first)
    assert second in sentence
    assert third not in sentence
    override(shop.store, "rollback-patch", second, **ADA)
    override(shop.store, "rollback-patch", first, **ADA)
    assert shop.shown() == FILES["a.py"].replace("A11 = 1", "A11 = 3")
    assert verify(shop.store).ok


def test_what_later_tasks_have_committed_is_named_and_rolled_back_first(tmp_path: Path, canonical_url: str) -> None:
    """Though it is in another file: the plan says that it builds on it."""
    shop = Shop(tmp_path, canonical_url, GOOD, "ws-01/one")
    first = shop.fix("ws-01", ("A0 = 1", "A0 = 2"))
    second = shop.fix("ws-02", ("B = 1", "B = 2"), file="b.py")
    shop.ends()
    sentence = shop.refused(RollbackRefused, first)
    assert f"roll them back first or with it: {second} (its task comes after that of {first})" in sentence
    override(shop.store, "rollback-patch", second, **ADA)
    override(shop.store, "rollback-patch", first, **ADA)
    assert shop.shown() == FILES["a.py"]


def test_the_gates_have_a_say(tmp_path: Path, canonical_url: str) -> None:
    """A tree that they object to is not put on the branch; the gate's row says so."""
    looked = "t = pathlib.Path('a.py').read_text()"
    condition = f"import pathlib, sys; {looked}; sys.exit('A11 = 3' in t and 'A0 = 2' not in t)"
    gates = GateSettings(lint_enabled=False, security_enabled=False, unit=(sys.executable, "-c", condition))
    shop = Shop(tmp_path, canonical_url, gates)
    patch = shop.fix("ws-01", ("A0 = 1", "A0 = 2"))
    shop.fix("ws-02", ("A11 = 1", "A11 = 3"))
    head = shop.ends().drive.result_head()
    with pytest.raises(RollbackRefused, match="without it the gates object: UNIT"):
        override(shop.store, "rollback-patch", patch, **ADA)
    assert shop.drive.result_head() == head
    with shop.drive.reading() as dao:
        assert dao.ledger.get(shop.entries["ws-01"].id).state == "committed"
        assert dao.test_gates.of_run(shop.drive.run_id)[-1].state == "FAILED"
    assert not shop.drive.worktrees.exists()
    assert verify(shop.store).ok


def test_a_run_that_is_driven_is_not_touched(tmp_path: Path, canonical_url: str) -> None:
    """Nor one whose branch is gone, or is what somebody looks at."""
    shop = Shop(tmp_path, canonical_url)
    patch = shop.fix("ws-01", ("A0 = 1", "A0 = 2"))
    with shop.drive.leased():
        shop.refused(RunDriven, patch)
    shop.ends()
    git(shop.repository.top, "checkout", "-q", f"acms/{shop.drive.run_id}")
    assert is_checked_out(shop.repository, shop.drive.result_ref)
    assert "is checked out" in shop.refused(RollbackRefused, patch)
    git(shop.repository.top, "checkout", "-q", "main")
    git(shop.repository.top, "branch", "-q", "-D", f"acms/{shop.drive.run_id}")
    assert "is gone: say by --onto BRANCH where it was merged" in shop.refused(RollbackRefused, patch)


def test_a_patch_of_a_run_that_was_left_is_taken_back_too(tmp_path: Path, canonical_url: str) -> None:
    """Without the notice of a run that had succeeded."""
    shop = Shop(tmp_path, canonical_url)
    patch = shop.fix("ws-01", ("A0 = 1", "A0 = 2"))
    leave(shop.drive)
    override(shop.store, "rollback-patch", patch, **ADA)
    with shop.drive.reading() as dao:
        triggers = {row.trigger for row in dao.transitions.of_run(shop.drive.run_id)}
    assert shop.shown() == FILES["a.py"]
    assert "post_success_rollback" not in triggers


MOVER = """
import pathlib, subprocess
def git(*words):
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout.strip()
text = pathlib.Path("a.py").read_text()
if "A11 = 3" in text and "A0 = 2" not in text:
    ref = git("for-each-ref", "--format=%(refname)", "refs/heads/acms/run_*")
    other = git("-c", "user.name=a", "-c", "user.email=a@b", "commit-tree", ref + "^{tree}", "-p", ref, "-m", "by hand")
    git("update-ref", ref, other)
"""


def test_a_branch_that_somebody_moves_meanwhile_stays_where_it_is(tmp_path: Path, canonical_url: str) -> None:
    """Here it is the gate that does so; the compare-and-swap fails, and nothing is recorded."""
    shop = Shop(
        tmp_path,
        canonical_url,
        GateSettings(lint_enabled=False, security_enabled=False, unit=(sys.executable, "-c", MOVER)),
    )
    patch = shop.fix("ws-01", ("A0 = 1", "A0 = 2"))
    shop.fix("ws-02", ("A11 = 1", "A11 = 3"))
    head = shop.ends().drive.result_head()
    with pytest.raises(RefMoved):
        override(shop.store, "rollback-patch", patch, **ADA)
    now = shop.drive.result_head()
    assert shop.repository.message(now) == "by hand"
    assert shop.repository.is_ancestor(head, now)
    with shop.drive.reading() as dao:
        assert dao.ledger.get(shop.entries["ws-01"].id).state == "committed"


def test_a_branch_whose_rows_did_not_follow_goes_back(tmp_path: Path, canonical_url: str) -> None:
    """The database refuses after the ref has moved: both are as they were, and the next try succeeds."""
    shop = Shop(tmp_path, canonical_url)
    patch = shop.fix("ws-01", ("A0 = 1", "A0 = 2"))
    head = shop.ends().drive.result_head()
    refusing = (
        "CREATE TRIGGER full BEFORE UPDATE ON patch_ledger_entries WHEN NEW.state = 'rolled_back' "
        "BEGIN SELECT RAISE(ABORT, 'no space is left'); END"
    )
    with sqlite3.connect(canonical_url.removeprefix("sqlite:///")) as database:
        database.execute(refusing)
    with pytest.raises(AcmsError, match="no space is left"):
        override(shop.store, "rollback-patch", patch, **ADA)
    assert shop.drive.result_head() == head
    with sqlite3.connect(canonical_url.removeprefix("sqlite:///")) as database:
        database.execute("DROP TRIGGER full")
    override(shop.store, "rollback-patch", patch, **ADA)
    assert shop.shown() == FILES["a.py"]
    assert verify(shop.store).ok


def test_a_revert_that_was_cut_off_before_it_was_recorded_is_not_made_twice(tmp_path: Path, canonical_url: str) -> None:
    """The branch has moved, the process died, the row says committed: the next try finds the revert by its trailer."""
    shop = Shop(tmp_path, canonical_url)
    patch = shop.fix("ws-01", ("A0 = 1", "A0 = 2"))
    head = shop.ends().drive.result_head()
    repository, commit = shop.repository, str(shop.entries["ws-01"].commit_sha)
    tree = reverted_tree(repository, commit, head, START)
    message = rollback_message("Fix", "reason", [("ACMS-Run", shop.drive.run_id), (TRAILER, patch), (REVERTS, commit)])
    revert = repository.commit_tree(tree, [head], message, START)
    repository.move_ref(shop.drive.result_ref, revert, head)
    override(shop.store, "rollback-patch", patch, **ADA)
    assert shop.drive.result_head() == revert
    with shop.drive.reading() as dao:
        plan = dao.ledger.get(shop.entries["ws-01"].id).rollback_compensation or {}
    assert plan["revert"] == revert


def test_a_commit_is_reverted_out_of_the_middle(tmp_path: Path) -> None:
    """With its own parent as the other side and itself as the base, whatever git thinks the base is."""
    top = repository_of(tmp_path / "other", {"a.py": FILES["a.py"]})
    repository = Repository.open(top)
    commits = []
    for old, new in (("A0 = 1", "A0 = 2"), ("A11 = 1", "A11 = 3"), ("A0 = 2", "A0 = 4")):
        (top / "a.py").write_text((top / "a.py").read_text().replace(old, new))
        git(top, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qam", new)
        commits.append(repository.head())
    first, second, third = commits

    tree = reverted_tree(repository, second, third, START)
    assert (repository.content(tree, "a.py") or b"").decode() == FILES["a.py"].replace("A0 = 1", "A0 = 4")
    with pytest.raises(MergeConflict):
        reverted_tree(repository, first, third, START)
    assert first_in_the_way(repository, [first], first, third, START, passing=()) == third
    assert first_in_the_way(repository, [second], second, third, START, passing=()) is None
    trees = reverted_trees(repository, [third, first], third, START)
    assert (repository.content(trees[-1], "a.py") or b"").decode() == FILES["a.py"].replace("A11 = 1", "A11 = 3")
