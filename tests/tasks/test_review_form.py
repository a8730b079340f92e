"""An answer in Prefect's form counts once, and only a person's; one that comes too late is told the truth."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from tried import Tried

from prefect_acms.blocks.guardrails import GuardrailSettings, ReviewSettings
from prefect_acms.tasks.review_form import closing_answer, form_about, record_answer
from prefect_acms.tasks.reviews import Decision, review_of
from prefect_acms.tasks.suspension import SUSPENSION, Suspension, is_waiting, wake

BEA = {"decision": "approve", "operator": "bea", "reason": "good"}


@pytest.fixture
def shop(tmp_path: Path, canonical_url: str) -> Tried:
    """A task whose every patch waits."""
    return Tried(tmp_path, canonical_url, guardrails=GuardrailSettings(review=ReviewSettings(always=True)))


@pytest.fixture
def entry_id(shop: Tried) -> str:
    """A patch that waits, and that no thread waits for."""
    (rejected,) = shop.tried(shop.diff(a="A = 2\n"), waits=False).rejected
    return rejected.entry_id


def test_the_first_answer_counts(shop: Tried, entry_id: str) -> None:
    """The second is told who was quicker; what only closes a form is no answer at all."""
    store = shop.drive.store
    assert record_answer(store.begin(), entry_id, closing_answer(review_of(shop.entry(entry_id)))) is None
    assert shop.entry(entry_id).state == "awaiting_review", "to close a form decides nothing"
    wrong = record_answer(store.begin(), entry_id, {"decision": "approve"})
    assert wrong == "what was answered in Prefect is no answer: 2 fields of the form are wrong"
    shop.answer(entry_id, Decision.REJECTED, "not like this")
    said = record_answer(store.begin(), entry_id, BEA)
    assert said is not None
    assert said.startswith(
        "the answer of bea in Prefect (approve) does not count: the patch was rejected by ada before"
    )
    assert said.endswith(": not like this")
    closed = closing_answer(review_of(shop.entry(entry_id)))
    assert closed == {"decision": "reject", "operator": "ada", "reason": "not like this"}
    assert record_answer(store.begin(), entry_id, closed) is None


def test_an_answer_in_the_form_is_a_persons_answer(shop: Tried, entry_id: str) -> None:
    """The patch may go on, under the name that was given; the form has shown its diff and who else waits."""
    with shop.drive.reading() as dao:
        form = form_about(dao, dao.ledger.get(entry_id), others=2)
    told = str(form._description)
    assert "+A = 2" in told
    assert "2 more wait behind it" in told
    assert record_answer(shop.drive.store.begin(), entry_id, BEA) is None
    review = review_of(shop.entry(entry_id))
    assert review is not None
    assert (shop.entry(entry_id).state, review.operator, review.reason) == ("queued", "bea", "good")


def test_who_answers_is_told_when_prefect_is_away(shop: Tried, entry_id: str) -> None:
    """The answer stands; the suspended run goes on by a later reconciliation, or by hand."""
    store, run_id = shop.drive.store, shop.drive.run_id
    suspension = Suspension(
        flow_run_id="7b0e6a3c-0000-4000-8000-000000000000",
        api_url="http://127.0.0.1:9/api",
        key="review-1",
        entry_id=entry_id,
        waiting=(entry_id,),
        since="2026-01-01T00:00:00.000000Z",
    )
    with store.begin() as dao:
        dao.runs.change(run_id, metadata={SUSPENSION: suspension.model_dump(mode="json")})
        assert is_waiting(dao, dao.runs.get(run_id))
    assert wake(store, run_id) is None, "it waits as it should"
    shop.answer(entry_id, Decision.APPROVED, "good")
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        told = wake(store, run_id)
    assert told is not None
    assert not told.goes_on
    assert told.sentence.startswith(f"run {run_id} is suspended, and Prefect could not be told to go on: ")
    assert told.sentence.endswith(f"`acms reconcile` tells it, or `acms resume {run_id}` goes on here")
