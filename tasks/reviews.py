"""Reviews: patches that wait for a person, and what was decided about exactly that diff on exactly that base."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any

from pydantic import BaseModel, ConfigDict

from prefect_acms.canonical.clock import utc_moment, utc_text
from prefect_acms.canonical.errors import LostRace, ReviewClosed, ReviewVoid
from prefect_acms.canonical.events import Event
from prefect_acms.canonical.patch import PatchState, PatchTrigger
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.store import Store, UnitOfWork

REVIEW = "review"
"""Where a review stands in the metadata of a ledger entry."""


class Decision(StrEnum):
    """What became of a review; `void` is one whose diff or base is no longer what was asked about."""

    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    VOID = "void"


_TRIGGERS = {
    Decision.APPROVED: PatchTrigger.REVIEW_APPROVED,
    Decision.REJECTED: PatchTrigger.REVIEW_REJECTED,
    Decision.EXPIRED: PatchTrigger.REVIEW_EXPIRED,
    Decision.VOID: PatchTrigger.REVIEW_EXPIRED,
}


_ANSWERS = frozenset({Decision.APPROVED, Decision.REJECTED, Decision.EXPIRED})


class Finding(BaseModel):
    """What a patch does to the things that judge it, at one place."""

    model_config = ConfigDict(frozen=True)

    rule: str
    path: str
    line: int | None = None
    problem: str


class Review(BaseModel):
    """What a person is asked about a patch, and the answer: it holds for this diff, by hash, on this base, a tree."""

    model_config = ConfigDict(frozen=True)

    reasons: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    gates: tuple[str, ...] = ()
    """The gates that can judge the patch, once it is approved."""
    requested_at: str
    expires_at: str
    sha256: str
    base: str
    tree: str
    """What the diff leads to."""
    decision: Decision | None = None
    operator: str | None = None
    reason: str | None = None
    decided_at: str | None = None

    def is_about(self, digest: str, base: str) -> bool:
        """Whether it is about this very diff on this very tree."""
        return (self.sha256, self.base) == (digest, base)


def review_of(entry: LedgerRow) -> Review | None:
    """The review of a patch, if one was ever asked for."""
    stored = entry.info.get(REVIEW)
    return None if stored is None else Review.model_validate(stored)


def ask_review(dao: UnitOfWork, entry_id: str, *, expires_after_sec: float, **asked: Any) -> None:
    """Let a validated patch wait for a person; `asked` are the other fields of the Review."""
    now = dao.store.clock()
    review = Review(
        requested_at=utc_text(now), expires_at=utc_text(now + timedelta(seconds=expires_after_sec)), **asked
    )
    dao.ledger.advance(entry_id, PatchTrigger.REVIEW_REQUIRED, reason="; ".join(review.reasons))
    dao.ledger.change(entry_id, metadata={REVIEW: review.model_dump(mode="json")})


def waiting_review(dao: UnitOfWork, entry_id: str) -> tuple[LedgerRow, Review]:
    """The entry that waits, with its review; raises ReviewClosed when it does not, or no longer."""
    entry = dao.ledger.get(entry_id)
    review = review_of(entry)
    if entry.state != PatchState.AWAITING_REVIEW or review is None:
        raise ReviewClosed(patch_id=entry.patch_id, state=entry.state)
    return entry, review


def decide(dao: UnitOfWork, entry_id: str, decision: Decision, *, reason: str, operator: str | None = None) -> None:
    """Close the review of a patch that waits, once; raises ReviewClosed, or ReviewVoid for an approval of other bytes.

    Who approves or rejects has to be named.
    """
    entry, review = waiting_review(dao, entry_id)
    if decision is Decision.APPROVED:
        if sha256(dao.patches.get(entry.patch_id).content).hexdigest() != review.sha256:
            raise ReviewVoid(patch_id=entry.patch_id, problem="the stored diff is not the one that was asked about")
        if is_due(entry, dao.store.clock()):
            raise ReviewVoid(patch_id=entry.patch_id, problem=f"it has expired at {review.expires_at}")
    dao.ledger.advance(entry_id, _TRIGGERS[decision], version=entry.version, reason=reason, operator=operator)
    answer = {"decision": decision, "operator": operator, "reason": reason, "decided_at": utc_text(dao.store.clock())}
    dao.ledger.change(entry_id, metadata={REVIEW: review.model_copy(update=answer).model_dump(mode="json")})


def answer_among(entries: Iterable[LedgerRow], digest: str, base: str) -> Review | None:
    """The last answer that one of these entries holds about this very diff on this very base: also that none came."""
    for entry in reversed(list(entries)):
        review = review_of(entry)
        if review is not None and review.decision in _ANSWERS and review.is_about(digest, base):
            return review
    return None


def is_open(entry: LedgerRow) -> bool:
    """Whether a patch waits for a person, or was approved and not yet applied."""
    review = review_of(entry)
    if review is None:
        return False
    approved = entry.state == PatchState.QUEUED and review.decision is Decision.APPROVED
    return approved or entry.state == PatchState.AWAITING_REVIEW


def is_due(entry: LedgerRow, now: datetime) -> bool:
    """Whether a patch waits for a review whose time is over."""
    review = review_of(entry)
    if entry.state != PatchState.AWAITING_REVIEW or review is None:
        return False
    return now >= utc_moment(review.expires_at)


def expire(dao: UnitOfWork, entry_id: str) -> None:
    """Drop a patch whose review nobody has answered in time; any other stays."""
    entry = dao.ledger.get(entry_id)
    if is_due(entry, dao.store.clock()):
        decide(dao, entry_id, Decision.EXPIRED, reason="nobody has answered in time")


def expire_reviews(store: Store) -> Sequence[Event]:
    """Drop every patch whose review nobody has answered in time, in whatever run; safe beside its driver."""
    with store.begin(read_only=True) as dao:
        due = [entry.id for entry in dao.ledger.waiting() if is_due(entry, store.clock())]
    events: list[Event] = []
    for entry_id in due:
        try:
            with store.begin() as dao:
                expire(dao, entry_id)
                events += dao.trail.events
        except LostRace:
            # Somebody else has just answered, or found it expired too.
            continue
    return events


def open_review(dao: UnitOfWork, task_id: str, digest: str, base: str) -> LedgerRow | None:
    """The entry of the task that waits for, or has, an answer about this very diff on this base.

    An open one about anything else is void, and dropped.
    """
    for entry in dao.ledger.of_task(task_id):
        review = review_of(entry)
        if review is None or not is_open(entry):
            continue
        if review.is_about(digest, base):
            return entry
        void(dao, entry)
    return None


def void(dao: UnitOfWork, entry: LedgerRow) -> None:
    """Drop a patch whose diff or base is no longer what was asked about, approved or not."""
    reason = "its diff or its base has changed, so that its review is void"
    if entry.state == PatchState.AWAITING_REVIEW:
        decide(dao, entry.id, Decision.VOID, reason=reason)
    else:
        dao.ledger.advance(entry.id, PatchTrigger.DISCARDED, reason=reason)


def answer_command(entry: LedgerRow) -> str:
    """What a person types to answer."""
    return f"acms review approve {entry.patch_id} --operator NAME --reason TEXT"
