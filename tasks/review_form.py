"""The form about a patch that waits, as the Prefect UI shows it, and what an answer that was given there comes to."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Any

from prefect.input import RunInput
from pydantic import Field, ValidationError

from prefect_acms.canonical.errors import ReviewClosed, TransitionError
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.tasks.reports.text import printable
from prefect_acms.tasks.reviews import Decision, Review, answer_command, decide, review_of

SHOWN_LINES = 60
"""How much of a diff the form shows."""

NOBODY_WAITS = "nobody waits for an answer any more"


class Answer(StrEnum):
    """What a person may answer."""

    APPROVE = "approve"
    REJECT = "reject"


_DECISIONS = {Answer.APPROVE: Decision.APPROVED, Answer.REJECT: Decision.REJECTED}


class ReviewDecision(RunInput):
    """The form that the Prefect UI shows."""

    decision: Answer = Field(description="approve: exactly this diff goes on to the gates; reject: it is dropped")
    operator: str = Field(min_length=1, pattern=r"\S", description="who decides; it is kept in the audit trail")
    reason: str = Field(min_length=1, pattern=r"\S", description="why; it is kept in the audit trail")


def form_key(entry_id: str) -> str:
    """What Prefect calls the form about a patch: it allows lower case, digits and dashes."""
    return f"review-{entry_id.lower().replace('_', '-')}"


def form_about(dao: UnitOfWork, entry: LedgerRow, *, others: int = 0) -> type[ReviewDecision]:
    """The form about a patch, which `others` wait behind; raises ReviewClosed for one that was never asked about."""
    patch, review = dao.patches.get(entry.patch_id), review_of(entry)
    if review is None:
        raise ReviewClosed(patch_id=patch.id, state=entry.state)
    lines = printable(patch.content.decode("utf-8", errors="replace")).splitlines()
    more = [f"… {len(lines) - SHOWN_LINES} more lines: `acms diff {patch.id}`"] if len(lines) > SHOWN_LINES else []
    behind = [f"{others} more wait behind it: `acms review list {entry.run_id}`", ""] if others else []
    told = [
        f"**Patch {patch.id} waits for a review**, until {review.expires_at}:",
        *(f"- {printable(reason)}" for reason in review.reasons),
        "",
        *behind,
        f"Gates that can judge it: {', '.join(review.gates) or 'none'}. On a terminal: `{answer_command(entry)}`",
        *("````diff", *lines[:SHOWN_LINES], "````", *more),
    ]
    return ReviewDecision.with_initial_data(description="\n".join(told))


def closing_answer(review: Review | None) -> dict[str, str]:
    """The form filled in with what was decided elsewhere, or with nobody's rejection."""
    approved = review is not None and review.decision is Decision.APPROVED
    return {
        "decision": (Answer.APPROVE if approved else Answer.REJECT).value,
        "operator": (review.operator if review else None) or "acms",
        "reason": (review.reason if review else None) or NOBODY_WAITS,
    }


def record_answer(
    begin: AbstractContextManager[UnitOfWork], entry_id: str, given: ReviewDecision | Mapping[str, Any]
) -> str | None:
    """Store an answer from the form in that unit of work; why it doesn't count, where somebody else was quicker.

    A form that was only closed, because it was decided elsewhere or nobody waits any more, says nothing.
    """
    try:
        answer = given if isinstance(given, ReviewDecision) else ReviewDecision.model_validate(given)
    except ValidationError as problem:
        return f"what was answered in Prefect is no answer: {problem.error_count()} fields of the form are wrong"
    operator = answer.operator.strip()
    try:
        with begin as dao:
            before = review_of(dao.ledger.get(entry_id))
            if answer.model_dump(mode="json") in (closing_answer(before), closing_answer(None)):
                return None
            if before is not None and before.decision is not None:
                return _too_late(answer, before)
            decide(dao, entry_id, _DECISIONS[answer.decision], operator=operator, reason=answer.reason)
    except (ReviewClosed, TransitionError) as refusal:
        return f"the answer of {operator} in Prefect ({answer.decision}) does not count: {refusal}"
    return None


def _too_late(answer: ReviewDecision, review: Review) -> str:
    by = f" by {review.operator}" if review.operator else ""
    return (
        f"the answer of {answer.operator.strip()} in Prefect ({answer.decision}) does not count: the patch was"
        f" {review.decision}{by} before, at {review.decided_at}: {review.reason}"
    )
