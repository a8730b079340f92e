"""A patch that was left out is brought in later, of an ended run too: judged again, on the branch as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from operated import everything
from repositories import git
from tried import Flagged, Tried, Unanswered

from prefect_acms.blocks.guardrails import GuardrailSettings, ReviewSettings
from prefect_acms.canonical.errors import RetryRefused, ReviewVoid, RunDriven
from prefect_acms.dao.audit import verify
from prefect_acms.tasks.orders import By
from prefect_acms.tasks.quarantine import kept_ref
from prefect_acms.tasks.retrials import approve_patch, retry_patch
from prefect_acms.tasks.summary import build_summary

ADA = By(operator="ada", reason="the flag is gone")


@pytest.fixture
def shop(tmp_path: Path, canonical_url: str) -> Flagged:
    """The run has ended."""
    return Flagged(tmp_path, canonical_url)


def test_a_retry_is_a_new_patch_that_takes_the_place_of_the_old_one(shop: Flagged) -> None:
    """Validated, gated and proved again, committed on the run's branch; the old one is dropped by who asked for it."""
    old = shop.entry(shop.old)
    ref = kept_ref(old)
    assert shop.drive.repository.ref(ref) is not None
    shop.flag.unlink()
    done = retry_patch(shop.drive.store, shop.old, ADA)
    assert shop.shown() == "import os\n\nA = 2\n"
    assert shop.drive.repository.ref(shop.drive.result_ref) == done.commit
    new = shop.entry(done.entry_id)
    assert (new.state, new.supersedes, new.commit_sha) == ("committed", shop.old, done.commit)
    assert "proof" in new.info
    assert (shop.entry(shop.old).state, shop.drive.repository.ref(ref)) == ("dropped", None)
    assert shop.trail()[-2:] == [("commit_succeeded", "ada"), ("discarded", "ada")]
    summary = build_summary(shop.drive.store, shop.drive.run_id, shop.drive.repository)
    assert [patch.id for patch in summary.patches if patch.on_branch] == [done.id]
    assert verify(shop.drive.store).ok
    with pytest.raises(RetryRefused, match="it is dropped, not quarantined"):
        retry_patch(shop.drive.store, shop.old, ADA)


def test_a_retry_that_fails_again_changes_nothing_but_leaves_its_evidence(shop: Flagged) -> None:
    """Both are quarantined, the branch is not made, and it can be tried once more."""
    done = retry_patch(shop.drive.store, shop.old, ADA)
    assert (done.state, shop.entry(shop.old).state) == ("quarantined", "quarantined")
    assert "UNIT" in (done.reason or "")
    assert shop.drive.repository.ref(shop.drive.result_ref) is None
    assert not shop.drive.worktrees.exists()
    shop.flag.unlink()
    assert retry_patch(shop.drive.store, shop.old, ADA).state == "committed"


def test_a_patch_is_carried_over_to_a_branch_that_has_moved_on(shop: Flagged) -> None:
    """What others did in the same file stays; where it is the same lines, nothing is tried."""
    shop.flag.unlink()
    shop.lands(a="import os, re\n\nA = 1\n")
    assert retry_patch(shop.drive.store, shop.old, ADA).state == "committed"
    assert shop.shown() == "import os, re\n\nA = 2\n"


def test_what_can_t_be_retried_is_refused_and_nothing_changes(shop: Flagged) -> None:
    """The same lines have changed since; the branch is checked out."""
    shop.flag.unlink()
    shop.lands(a="import os\n\nA = 7\n")
    store, top = shop.drive.store, shop.drive.repository.top
    with pytest.raises(RetryRefused, match=r"the same lines of a\.py have changed since"):
        retry_patch(store, shop.old, ADA)
    git(top, "checkout", "-q", f"acms/{shop.drive.run_id}")
    with pytest.raises(RetryRefused, match="check out another one first"):
        retry_patch(store, shop.old, ADA)
    git(top, "checkout", "-q", "main")
    assert (shop.shown(), shop.entry(shop.old).state) == ("import os\n\nA = 7\n", "quarantined")
    assert [entry.id for entry in shop.entries()] == [shop.old]


def test_a_driven_run_is_left_to_its_driver(tmp_path: Path, canonical_url: str) -> None:
    """A task that has not ended is not interfered with, driven or not."""
    shop = Tried(tmp_path, canonical_url)
    (rejected,) = shop.tried(shop.diff(a="BAD = 2\n")).rejected
    with pytest.raises(RunDriven):
        retry_patch(shop.drive.store, rejected.entry_id, ADA)
    with shop.drive.begin() as dao:
        dao.runs.let_go(shop.drive.run_id, shop.drive.epoch)
    before = everything(shop.drive.store)
    with pytest.raises(RetryRefused, match="its task is still running"):
        retry_patch(shop.drive.store, rejected.entry_id, ADA)
    assert everything(shop.drive.store) == before


def test_a_patch_that_needs_a_review_needs_it_in_a_retry_too(tmp_path: Path, canonical_url: str) -> None:
    """Who retries does not approve: the new patch waits, and an approval brings it in by the same way."""
    shop = Flagged(tmp_path, canonical_url, guardrails=GuardrailSettings(review=ReviewSettings(always=True)))
    shop.flag.unlink()
    shop.lands(b="B = 2\n")
    again = retry_patch(shop.drive.store, shop.old, ADA)
    assert (again.state, shop.entry(shop.old).state) == ("awaiting_review", "quarantined")
    with pytest.raises(RetryRefused, match="has taken its place and is awaiting_review"):
        retry_patch(shop.drive.store, shop.old, ADA)
    done = approve_patch(shop.drive.store, again.entry_id, ADA)
    assert (done.entry_id, done.state, shop.shown()) == (again.entry_id, "committed", "import os\n\nA = 2\n")
    assert shop.entry(shop.old).state == "dropped", "its successor is kept"


@pytest.fixture
def unanswered(tmp_path: Path, canonical_url: str) -> Unanswered:
    """The run does not wait."""
    return Unanswered(tmp_path, canonical_url)


def test_an_approval_after_the_run_brings_the_patch_in(unanswered: Unanswered) -> None:
    """It has survived the end of its run; the same entry goes on, judged by the gates like any other."""
    shop = unanswered
    assert shop.entry(shop.waiting_entry).state == "awaiting_review"
    done = approve_patch(shop.drive.store, shop.waiting_entry, ADA)
    entry = shop.entry(shop.waiting_entry)
    assert (done.entry_id, entry.state, entry.commit_sha) == (entry.id, "committed", done.commit)
    assert shop.shown() == "A = 2\n"
    assert verify(shop.drive.store).ok


def test_an_approval_is_void_once_the_branch_has_moved_on(unanswered: Unanswered) -> None:
    """Nothing goes in; a new patch for the branch as it is waits in its place, and can be approved."""
    shop = unanswered
    moved = shop.lands(b="B = 2\n")
    with pytest.raises(ReviewVoid, match=r"has moved on; patch .* has taken its place and is awaiting_review"):
        approve_patch(shop.drive.store, shop.waiting_entry, ADA)
    assert shop.drive.result_head() == moved
    assert shop.entry(shop.waiting_entry).state == "dropped"
    with shop.drive.reading() as dao:
        (again,) = dao.ledger.superseded_by(shop.waiting_entry)
    assert again.state == "awaiting_review"
    assert approve_patch(shop.drive.store, again.id, ADA).state == "committed"
    assert (shop.shown(), shop.shown("b.py")) == ("A = 2\n", "B = 2\n")
