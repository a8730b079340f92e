"""Rollback after the run's branch was merged: on a new branch beside the user's, by whichever way it came there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from operated import merged, patched
from repositories import git
from shops import ADA, FILES, STACKED, Shop, ended_shop

from prefect_acms.blocks.config import GateSettings
from prefect_acms.canonical.errors import RollbackRefused
from prefect_acms.dao.audit import verify
from prefect_acms.tasks.rollback_plans import plan_rollback
from prefect_acms.tasks.rollback_records import plan_record, rollback
from prefect_acms.tasks.summary import build_summary

USER = ("-c", "user.name=a", "-c", "user.email=a@b")
TWO = (STACKED[0], ("ws-02", *STACKED[2][1:]))
REST = FILES["a.py"].replace("A11 = 1", "A11 = 3")


def merge_commit(top: Path, branch: str) -> None:
    git(top, *USER, "merge", "-q", "--no-ff", "-m", "merge it", branch)


def fast_forward(top: Path, branch: str) -> None:
    git(top, "merge", "-q", "--ff-only", branch)


def squash(top: Path, branch: str) -> None:
    """With the message that git makes of it, which names the patches in lines that begin with blanks."""
    git(top, "merge", "-q", "--squash", branch)
    git(top, *USER, "commit", "-q", "-F", str(top / ".git/SQUASH_MSG"))


def squash_with_own_words(top: Path, branch: str) -> None:
    """Only the diff says what it is."""
    git(top, "merge", "-q", "--squash", branch)
    git(top, *USER, "commit", "-q", "-m", "what acms did")


def rebase(top: Path, branch: str) -> None:
    git(top, "checkout", "-q", "-b", "rebased", branch)
    git(top, *USER, "rebase", "-q", "main")
    git(top, "checkout", "-q", "main")
    git(top, "merge", "-q", "--ff-only", "rebased")


def rewritten(top: Path, branch: str) -> None:
    """Picked commit by commit, with messages of the user's own."""
    for commit in git(top, "rev-list", "--reverse", f"main..{branch}").split():
        git(top, "cherry-pick", "-n", commit)
        git(top, *USER, "commit", "-q", "-m", "picked")


WAYS = (merge_commit, fast_forward, squash, squash_with_own_words, rebase, rewritten)


def landed(shop: Shop, way: Callable[[Path, str], None], *, ahead: bool) -> Path:
    """The run's branch, brought into main by that way; main may have gone on before."""
    top = shop.repository.top
    if ahead:
        (top / "c.py").write_text("C = 1\n")
        git(top, "add", "c.py")
        git(top, *USER, "commit", "-qm", "the user's own")
    way(top, f"acms/{shop.drive.run_id}")
    return top


@pytest.mark.parametrize("way", WAYS)
def test_a_merged_patch_is_taken_back_on_a_new_branch(way: Callable[[Path, str], None], tmp_path: Path) -> None:
    """It starts where main is, which stays there; the merge that is proposed takes the patch out."""
    shop = ended_shop(tmp_path, TWO)
    patch = shop.entries["ws-01"].patch_id
    top = landed(shop, way, ahead=way is not fast_forward)
    heads = {name: git(top, "rev-parse", name) for name in ("main", f"acms/{shop.drive.run_id}")}
    done = rollback(shop.store, patch, **ADA)
    assert (done.plan.branch, done.plan.onto) == (f"acms/rollback/{patch}", "main")
    assert {name: git(top, "rev-parse", name) for name in heads} == heads
    assert git(top, "status", "--porcelain", "--untracked-files=no") == ""
    assert git(top, "show", f"{done.plan.branch}:a.py") == REST
    assert len(done.gate_ids) == 1
    assert shop.state("ws-01") == "rolled_back"
    summary = build_summary(shop.store, shop.drive.run_id, shop.repository)
    assert [gap.fingerprint for gap in summary.gaps if gap.commit] == ["y"]
    git(top, *USER, "merge", "-q", done.plan.branch)
    assert (top / "a.py").read_text() == REST
    assert verify(shop.store).ok


def test_a_run_that_was_squashed_goes_whole_after_its_branch_was_deleted(tmp_path: Path) -> None:
    """Its commits are no longer on any branch, and still in the repository."""
    shop = ended_shop(tmp_path, TWO)
    top = landed(shop, squash_with_own_words, ahead=True)
    git(top, "branch", "-q", "-D", f"acms/{shop.drive.run_id}")
    done = rollback(shop.store, shop.drive.run_id, **ADA)
    assert len(done.plan.steps) == 2
    assert git(top, "show", f"{done.plan.branch}:a.py") == FILES["a.py"]
    assert build_summary(shop.store, shop.drive.run_id, shop.repository).kept() == ()


def test_what_builds_on_it_is_found_on_the_users_branch_too(tmp_path: Path, canonical_url: str) -> None:
    """The run's branch is deleted, and none of its commits has all the others behind it."""
    shop = Shop(tmp_path, canonical_url)
    first = shop.fix("ws-01", ("A0 = 1", "A0 = 2"))
    second = patched(shop.planned, "ws-02/one", {"a.py": shop.shown().replace("A0 = 2", "A0 = 3")}).patch_id
    beside = patched(shop.planned, "ws-03/one", {"b.py": "B = 2\n"}).patch_id
    for key in ("ws-02", "ws-03"):
        merged(shop.planned, key)
    top = landed(shop.ends(), merge_commit, ahead=True)
    git(top, "branch", "-q", "-D", f"acms/{shop.drive.run_id}")
    plan = plan_record(plan_rollback(shop.store, first, onto="main"))
    assert [step.patch_id for step in plan.steps] == [second, first]
    assert plan.left_alone == (beside,)


def test_what_is_not_on_the_branch_is_refused(tmp_path: Path) -> None:
    """Neither the commit, nor one that names it, nor its diff; without a merge the run's own branch is meant."""
    shop = ended_shop(tmp_path, TWO)
    patch = shop.entries["ws-01"].patch_id
    top = landed(shop, lambda _top, _branch: None, ahead=True)
    with shop.unchanged(), pytest.raises(RollbackRefused, match="on main there is neither its commit"):
        rollback(shop.store, patch, **ADA, onto="main")
    assert plan_record(plan_rollback(shop.store, patch)).onto is None
    git(top, "branch", "-q", "-D", f"acms/{shop.drive.run_id}")
    with shop.unchanged(), pytest.raises(RollbackRefused, match="is gone: say by --onto BRANCH where it was merged"):
        rollback(shop.store, patch, **ADA)


def test_what_the_user_has_built_on_it_is_not_overwritten(tmp_path: Path) -> None:
    """The user's later commit is named, and nothing changes."""
    shop = ended_shop(tmp_path, TWO)
    patch = shop.entries["ws-01"].patch_id
    top = landed(shop, merge_commit, ahead=True)
    (top / "a.py").write_text((top / "a.py").read_text().replace("A0 = 2", "A0 = 9"))
    git(top, *USER, "commit", "-qam", "mine")
    mine = git(top, "rev-parse", "main")
    with shop.unchanged(), pytest.raises(RollbackRefused) as refused:
        rollback(shop.store, patch, **ADA)
    assert f"commit {mine[:10]} on main changes the same lines of a.py" in str(refused.value)


def test_what_is_red_on_the_users_branch_is_not_blamed_on_the_rollback(tmp_path: Path) -> None:
    """Nor is what was red before the run; what is new to both is refused."""
    told = "sys.exit('B = 5' in text or ('A11 = 3' in text and 'A0 = 2' not in text))"
    script = f"import sys; text = open('a.py').read() + open('b.py').read(); {told}"
    gates = GateSettings(lint_enabled=False, security_enabled=False, unit=(sys.executable, "-c", script))
    shop = ended_shop(tmp_path, TWO)
    patch = shop.entries["ws-01"].patch_id
    shop.configure(gates=gates)
    top = landed(shop, merge_commit, ahead=True)
    with pytest.raises(RollbackRefused, match="without it the gates object: UNIT"):
        rollback(shop.store, patch, **ADA)
    assert git(top, "for-each-ref", "refs/heads/acms/rollback/") == ""
    (top / "b.py").write_text("B = 5\n")
    git(top, *USER, "commit", "-qam", "red by hand")
    assert rollback(shop.store, patch, **ADA).plan.onto == "main"
