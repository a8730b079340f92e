"""Admission of a valid patch: policy keeps it out, lets it in, or asks a person, whose answer is waited for."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from prefect_acms.blocks.tool_spec import ToolSpec
from prefect_acms.canonical.outside_errors import PatchDoesNotApply
from prefect_acms.canonical.patch import PatchState, PatchTrigger
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.tasks.baseline import Baseline
from prefect_acms.tasks.bench import Bench
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.fates import QUARANTINED
from prefect_acms.tasks.patches import Validation, apply_validated
from prefect_acms.tasks.review_policy import FACTS, Maker, PatchFacts, facts_of, refusals, review_reasons
from prefect_acms.tasks.reviews import (
    Finding,
    answer_among,
    answer_command,
    ask_review,
    decide,
    expire,
    is_due,
    review_of,
)

POLL_SEC = 1.0
"""How often a thread that waits for a person looks into the store."""

WAITS = "waits for review"
DROPPED = "was dropped"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A diff that is to go in: its rows, the tree that it is to be applied to, and what was said of its bytes."""

    entry_id: str
    patch_id: str
    diff: bytes
    before: str
    validation: Validation

    @property
    def digest(self) -> str:
        """The hash of the diff."""
        return sha256(self.diff).hexdigest()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a patch does not go in, and what becomes of it."""

    reason: str
    fate: str = QUARANTINED


@dataclass(frozen=True, slots=True)
class Admission:
    """What policy says of a patch, and what it was told about it."""

    refusals: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    gates: tuple[str, ...] = ()
    facts: PatchFacts | None = None


@dataclass(frozen=True, slots=True)
class Gatekeeper:
    """Admits the patches of one task; `waits` says whether the answer of a person is waited for."""

    bench: Bench
    baseline: Baseline
    profile: ToolSpec
    waits: bool = True

    def refusal(self, candidate: Candidate, *, is_part: bool) -> Refusal | None:
        """None once the patch may be applied; a part of a split patch that needs a review is quarantined."""
        admission = self._admission(candidate)
        refused = list(admission.refusals)
        if is_part and admission.reasons:
            refused.append(f"it is a part of a patch, and needs a review: {'; '.join(admission.reasons)}")
        with self.bench.drive.begin() as dao:
            entry = dao.ledger.get(candidate.entry_id)
            if entry.state == PatchState.VALIDATED:
                if admission.facts is not None:
                    dao.ledger.change(entry.id, metadata={FACTS: admission.facts.record})
                if refused:
                    reason = "; ".join(refused)
                    evidence = {"findings": [finding.model_dump() for finding in admission.findings]}
                    dao.ledger.advance(
                        entry.id,
                        PatchTrigger.POLICY_VIOLATION,
                        quarantine_reason=reason,
                        quarantine_metadata=evidence,
                    )
                    return Refusal(reason)
                if not admission.reasons:
                    dao.ledger.advance(entry.id, PatchTrigger.ACCEPTED, facts={"review_required": False})
                    return None
                self._ask(dao, entry, candidate, admission)
        return self._answered(candidate)

    def _admission(self, candidate: Candidate) -> Admission:
        """Ask policy about the patch by its own two trees; one that does not apply is kept out by that later."""
        worktree, rails = self.bench.worktree, self.bench.guardrails
        try:
            after = apply_validated(worktree, candidate.diff, candidate.validation)
        except PatchDoesNotApply:
            return Admission()
        worktree.reset(candidate.before)
        facts = facts_of(
            candidate.validation,
            Maker.of(self.profile),
            repository=self.bench.drive.repository,
            before=candidate.before,
            after=after,
            gates=self.baseline.gates,
            judging=self.baseline.judging,
        )
        return Admission(
            refusals(rails, facts),
            review_reasons(rails, facts),
            tuple(Finding(rule=one.rule, path=one.path, line=one.line, problem=one.problem) for one in facts.integrity),
            tuple(sorted(facts.judging)),
            facts,
        )

    def _ask(self, dao: UnitOfWork, entry: LedgerRow, candidate: Candidate, admission: Admission) -> None:
        """Let the patch wait; the answer that a driver before this one got about the very same counts."""
        known = answer_among(dao.ledger.of_task(entry.task_id), candidate.digest, candidate.before)
        ask_review(
            dao,
            entry.id,
            expires_after_sec=self.bench.drive.guardrails.review.expires_after_sec,
            reasons=admission.reasons,
            findings=admission.findings,
            gates=admission.gates,
            sha256=candidate.digest,
            base=candidate.before,
            tree=str(candidate.validation.tree),
        )
        if known is not None and known.decision is not None:
            decide(dao, entry.id, known.decision, operator=known.operator, reason=known.reason or "")

    def _answered(self, candidate: Candidate) -> Refusal | None:
        """What the person says, if the patch waits; the worktree is what it was when they were asked."""
        drive = self.bench.drive
        with drive.reading() as dao:
            entry = dao.ledger.get(candidate.entry_id)
        if entry.state == PatchState.AWAITING_REVIEW and not self.waits:
            return Refusal(answer_command(entry), WAITS)
        if entry.state == PatchState.AWAITING_REVIEW:
            entry = await_answer(drive, entry.id)
            self.bench.worktree.reset(candidate.before)
        if entry.state == PatchState.QUEUED:
            return None
        review = review_of(entry)
        said = f"{review.decision} by {review.operator or 'nobody'}: {review.reason}" if review else entry.state
        return Refusal(said, DROPPED)


def await_answer(drive: Drive, entry_id: str) -> LedgerRow:
    """Wait until somebody has answered, or the time of the review is over; the entry as it is then.

    Raises RunEnding once the run is being ended, and Superseded once somebody else drives it; the patch waits on then.
    """
    with drive.waits.of(entry_id):
        while True:
            drive.require_going()
            with drive.reading() as dao:
                dao.check_epoch(drive.run_id, drive.epoch)
                entry = dao.ledger.get(entry_id)
            if entry.state != PatchState.AWAITING_REVIEW:
                return entry
            if is_due(entry, drive.store.clock()):
                with drive.begin() as dao:
                    expire(dao, entry_id)
            else:
                drive.stopping.wait(POLL_SEC)
