"""A patch that policy sends to a person waits for exactly one answer about exactly that diff on exactly that base."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from tried import Tried

from prefect_acms.blocks.guardrails import GuardrailSettings, ReviewSettings
from prefect_acms.canonical.clock import utc_moment
from prefect_acms.canonical.errors import OperatorRequired, ReviewClosed, ReviewVoid, RunEnding, Superseded
from prefect_acms.tasks.captures import start_over
from prefect_acms.tasks.reviews import Decision, decide, expire_reviews, review_of
from prefect_acms.tasks.sweeping import sweep

_EXCHANGE = text("UPDATE patches SET content = :content WHERE id = :id")


@pytest.fixture
def shop(tmp_path: Path, canonical_url: str) -> Tried:
    """A task whose every patch waits."""
    return Tried(tmp_path, canonical_url, guardrails=GuardrailSettings(review=ReviewSettings(always=True)))


def test_an_approved_patch_goes_on(shop: Tried) -> None:
    """It waits with its reasons, and after the answer of another process it is applied, judged and verified."""
    with shop.waiting(shop.diff(a="A = 2\n")) as (entry_id, trials):
        waits = shop.entry(entry_id)
        review = review_of(waits)
        assert review is not None
        assert waits.state == "awaiting_review"
        assert review.gates == ("UNIT",)
        assert utc_moment(review.expires_at) - utc_moment(review.requested_at) == timedelta(days=1)
        shop.answer(entry_id, Decision.APPROVED, "good")
        (kept,) = trials.result(60).kept
    assert kept.entry_id == entry_id
    entry = shop.entry(entry_id)
    answer = review_of(entry)
    assert answer is not None
    assert (entry.state, answer.decision, answer.operator, answer.reason) == ("verified", "approved", "ada", "good")
    assert ("review_approved", "ada") in shop.trail()
    with pytest.raises(ReviewClosed, match="it is verified"):
        shop.answer(entry_id, Decision.REJECTED)


def test_a_rejected_patch_is_dropped(shop: Tried) -> None:
    """The task hears who has rejected it and why; the worktree is as it was."""
    before = shop.bench.worktree.tree()
    with shop.waiting(shop.diff(a="A = 2\n")) as (entry_id, trials):
        shop.answer(entry_id, Decision.REJECTED, "not like this")
        (rejected,) = trials.result(60).rejected
    assert (rejected.refusal.fate, rejected.refusal.reason) == ("was dropped", "rejected by ada: not like this")
    assert shop.entry(entry_id).state == "dropped"
    assert shop.bench.worktree.tree() == before


@pytest.mark.parametrize("looks", [expire_reviews, sweep])
def test_what_nobody_answers_is_dropped_by_whoever_looks_next(
    tmp_path: Path, canonical_url: str, looks: object
) -> None:
    """Its driver, the sweep, or a command; before that, nobody drops it."""
    review = ReviewSettings(always=True, expires_after_sec=0.2)
    shop = Tried(tmp_path, canonical_url, guardrails=GuardrailSettings(review=review))
    (rejected,) = shop.tried(shop.diff(a="A = 2\n"), waits=False).rejected
    assert rejected.refusal.fate == "waits for review"
    assert shop.entry(rejected.entry_id).state == "awaiting_review"
    shop.drive.stopping.wait(0.3)
    assert callable(looks)
    looks(shop.drive.store)
    assert shop.entry(rejected.entry_id).state == "dropped"
    (driven,) = shop.tried(shop.diff(a="A = 3\n")).rejected
    assert driven.refusal.fate == "was dropped"
    assert [trigger for trigger, _ in shop.trail()].count("review_expired") == 2


def test_who_answers_has_a_name(shop: Tried) -> None:
    """The machine refuses an answer without an operator."""
    (rejected,) = shop.tried(shop.diff(a="A = 2\n"), waits=False).rejected
    for decision in (Decision.APPROVED, Decision.REJECTED):
        with pytest.raises(OperatorRequired), shop.drive.store.begin() as dao:
            decide(dao, rejected.entry_id, decision, reason="because")


def test_a_run_that_is_stopped_leaves_the_patch_waiting_and_the_next_driver_asks_no_second_time(shop: Tried) -> None:
    """The waiting ends at once; the same diff on the same base goes on with the same entry, answered meanwhile."""
    diff = shop.diff(a="A = 2\n")
    with shop.waiting(diff) as (entry_id, trials):
        shop.drive.stopping.set()
        with pytest.raises(RunEnding):
            trials.result(60)
    assert shop.entry(entry_id).state == "awaiting_review"
    shop.drive.stopping.clear()
    start_over(shop.drive, shop.task)
    shop.answer(entry_id, Decision.APPROVED)
    (kept,) = shop.tried(diff).kept
    assert kept.entry_id == entry_id
    assert [trigger for trigger, _ in shop.trail()].count("review_required") == 1


def test_a_driver_that_was_superseded_waits_no_longer(shop: Tried) -> None:
    """Whoever has taken the run over finds the patch waiting."""
    with shop.waiting(shop.diff(a="A = 2\n")) as (entry_id, trials):
        with shop.drive.store.begin() as dao:
            dao.runs.take_over(shop.drive.run_id)
        with pytest.raises(Superseded):
            trials.result(60)
        assert shop.entry(entry_id).state == "awaiting_review"


def test_an_approval_is_found_again_after_a_crash_while_the_patch_was_judged(shop: Tried) -> None:
    """The entry was applied already and is dropped; the new one of that diff on that base is not asked about."""
    diff = shop.diff(a="A = 2\n")
    with shop.waiting(diff) as (entry_id, trials):
        shop.answer(entry_id, Decision.APPROVED, "good")
        assert trials.result(60).kept
    shop.drive.stopping.clear()
    shop.bench.worktree.reset(shop.drive.base_commit)
    start_over(shop.drive, shop.task)
    (kept,) = shop.tried(diff).kept
    assert kept.entry_id != entry_id
    review = review_of(shop.entry(kept.entry_id))
    assert review is not None
    assert (review.decision, review.operator, review.reason) == ("approved", "ada", "good")


@pytest.mark.parametrize("decision", [Decision.APPROVED, None])
def test_another_diff_or_another_base_is_asked_about_anew(shop: Tried, decision: Decision | None) -> None:
    """What was asked about something else is void, approved or not."""
    (first,) = shop.tried(shop.diff(a="A = 2\n"), waits=False).rejected
    if decision is not None:
        shop.answer(first.entry_id, decision)
    (second,) = shop.tried(shop.diff(a="A = 3\n"), waits=False).rejected
    assert [entry.state for entry in shop.entries()] == ["dropped", "awaiting_review"]
    shop.bench.worktree.apply(shop.diff(b="B = 2\n"))
    base = shop.bench.worktree.tree()
    (third,) = shop.tried(shop.patch_of(second.entry_id), waits=False).rejected
    review = review_of(shop.entry(third.entry_id))
    assert review is not None
    assert review.base == base
    assert [entry.state for entry in shop.entries()] == ["dropped", "dropped", "awaiting_review"]


def test_a_diff_that_was_exchanged_can_t_be_approved(shop: Tried) -> None:
    """The bytes that are stored are compared with what was asked about; nothing changes."""
    (rejected,) = shop.tried(shop.diff(a="A = 2\n"), waits=False).rejected
    entry = shop.entry(rejected.entry_id)
    with shop.drive.store.begin() as dao:
        dao.connection.execute(_EXCHANGE, {"id": entry.patch_id, "content": b"x"})
    with pytest.raises(ReviewVoid, match="not the one that was asked about"):
        shop.answer(rejected.entry_id, Decision.APPROVED)
    assert shop.entry(rejected.entry_id).version == entry.version
