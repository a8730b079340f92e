"""Trials of a patch: validated, admitted, applied, gated, proved; one that fails is split by bisection."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from prefect_acms.canonical.outside_errors import PatchDoesNotApply
from prefect_acms.canonical.patch import PatchState, PatchTrigger
from prefect_acms.tasks.admission import Candidate, Gatekeeper, Refusal
from prefect_acms.tasks.bench import Bench
from prefect_acms.tasks.captures import stored_patch, validated
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.gate_rows import Judged
from prefect_acms.tasks.patches import apply_validated
from prefect_acms.tasks.proofs import Proof, prove
from prefect_acms.tasks.quarantine import keep_tree
from prefect_acms.tasks.reports.text import count
from prefect_acms.tasks.reviews import open_review, review_of
from prefect_acms.tasks.splitting import MOST_TRIES, Place, isolate

SPLIT_POLICY = "policy:split"
"""The operator of record when a patch is dropped because its parts have taken its place."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A patch that stays: its ledger entry, the tree it leads to, the files it touches."""

    entry_id: str
    patch_id: str
    tree: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A patch that does not stay: its ledger entry, its diff by hash, the files it touches, and what became of it."""

    entry_id: str
    sha256: str
    files: tuple[str, ...]
    refusal: Refusal
    seen: tuple[Place, ...] = ()
    """Where its proof has found something new."""

    @property
    def record(self) -> dict[str, Any]:
        """What is stored of it with its task."""
        said = {"reason": self.refusal.reason, "fate": self.refusal.fate}
        return {"entry": self.entry_id, "files": list(self.files), **said}


@dataclass(slots=True)
class Trials:
    """The trials of one task's diff in its worktree; `kept` and `rejected` say what became of it."""

    bench: Bench
    gatekeeper: Gatekeeper
    before: Sequence[Gap]
    successor_of: str | None = None
    """The entry whose place the diff is to take."""
    most_tries: int = MOST_TRIES
    kept: list[Kept] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    _proof_first: bool = False
    _to_mend: tuple[Gap, ...] = ()
    """The gaps of which the diff has to mend one: those of a model, which may change anything and mend nothing."""

    def bring_in(self, diff: bytes) -> None:
        """Try the diff; if it fails and its tool is deterministic, try its parts, those last that made the trouble.

        What a person was asked about is not split: the answer was about all of it.
        """
        if self.gatekeeper.profile.ai:
            self._to_mend = self.bench.rescanner.between(self.bench.gaps, self.before).kept
        whole = self._try(diff, supersedes=self.successor_of)
        if whole is not None and self.gatekeeper.profile.deterministic and not self._was_reviewed(whole):
            self._split(diff, whole)
        for trial in self.rejected:
            keep_tree(self.bench.drive, trial.entry_id)

    def _split(self, diff: bytes, whole: Rejected) -> None:
        """Keep the parts that can stay; where the gates had let the whole pass, it is the proof that is asked first."""

        def attempt(part: bytes) -> tuple[Place, ...] | None:
            rejected = self._try(part, supersedes=whole.entry_id, is_part=True)
            return rejected.seen if rejected is not None else None

        self._proof_first = bool(whole.seen)
        parts = isolate(diff, attempt, seen=whole.seen, most_tries=self.most_tries)
        alone = {sha256(part).hexdigest() for part in parts.guilty}
        self._drop_groups([trial for trial in self.rejected if trial.sha256 not in alone])
        if parts.untried is not None:
            self._leave_out(parts.untried, whole)

    def _leave_out(self, diff: bytes, whole: Rejected) -> None:
        """Quarantine what nobody has tried apart from the whole, and say so."""
        trial = self._candidate(diff, whole.entry_id, is_part=True)
        refusal = self._invalid(trial)
        if refusal is None:
            refusal = Refusal(
                f"it was left out after {count(self.most_tries, 'try', 'tries')} of other parts of its patch,"
                f" of which was said: {whole.refusal.reason}"
            )
            with self.bench.drive.begin() as dao:
                dao.ledger.advance(trial.entry_id, PatchTrigger.POLICY_VIOLATION, quarantine_reason=refusal.reason)
        self.rejected.append(Rejected(trial.entry_id, trial.digest, trial.validation.files, refusal))

    def _was_reviewed(self, trial: Rejected) -> bool:
        with self.bench.drive.reading() as dao:
            return review_of(dao.ledger.get(trial.entry_id)) is not None

    def _drop_groups(self, groups: Sequence[Rejected]) -> None:
        """What was split has been replaced by its parts: it is superseded, its evidence stays."""
        with self.bench.drive.begin() as dao:
            for group in groups:
                dao.ledger.advance(
                    group.entry_id, PatchTrigger.DISCARDED, reason="superseded by its parts", operator=SPLIT_POLICY
                )
        self.rejected = [trial for trial in self.rejected if trial not in groups]

    def _try(self, diff: bytes, *, supersedes: str | None, is_part: bool = False) -> Rejected | None:
        """None if the diff stays; else it is kept out, and the worktree is as it was before."""
        trial = self._candidate(diff, supersedes, is_part=is_part)
        files = trial.validation.files
        seen: tuple[Place, ...] = ()
        refusal = self._invalid(trial) or self.gatekeeper.refusal(trial, is_part=is_part) or self._unapplied(trial)
        if refusal is None:
            refusal, seen = self._unfit(trial)
        if refusal is None:
            self.kept.append(Kept(trial.entry_id, trial.patch_id, self.bench.worktree.tree(), files))
            return None
        rejected = Rejected(trial.entry_id, trial.digest, files, refusal, seen)
        self.rejected.append(rejected)
        return rejected

    def _candidate(self, diff: bytes, supersedes: str | None, *, is_part: bool) -> Candidate:
        """The diff with its entry in the ledger; one that a driver before this one asked about goes on as it is."""
        task, before = self.bench.task, self.bench.worktree.tree()
        validation = validated(self.bench, diff)
        digest = sha256(diff).hexdigest() if validation.ok else ""
        with self.bench.drive.begin() as dao:
            entry = None if is_part else open_review(dao, task.id, digest, before)
            if entry is None:
                patch = stored_patch(dao, self.bench, diff, validation, anew=self.successor_of is not None)
                entry = dao.ledger.create(
                    run_id=task.run_id,
                    patch_id=patch.id,
                    task_id=task.id,
                    workstream_id=task.workstream_id,
                    supersedes=supersedes,
                )
        return Candidate(entry.id, entry.patch_id, diff, before, validation)

    def _invalid(self, trial: Candidate) -> Refusal | None:
        validation = trial.validation
        flags: dict[str, Any] = {
            "validation_format": validation.format_ok,
            "validation_scope": validation.scope_ok,
            "validation_constraints": validation.constraints_ok,
        }
        with self.bench.drive.begin() as dao:
            if all(flags.values()):
                if dao.ledger.get(trial.entry_id).state == PatchState.CREATED:
                    dao.ledger.advance(trial.entry_id, PatchTrigger.VALIDATION_PASSED, **flags)
                return None
            reason = "; ".join(f"{v.rule} at {v.where}: {v.problem}" for v in validation.violations[:5])
            dao.ledger.advance(
                trial.entry_id,
                PatchTrigger.VALIDATION_FAILED,
                quarantine_reason=reason,
                quarantine_metadata={"violations": [str(violation) for violation in validation.violations]},
                **flags,
            )
        return Refusal(reason)

    def _unapplied(self, trial: Candidate) -> Refusal | None:
        """Apply whole or not at all; a patch that does not apply never will, so it is not tried again."""
        try:
            apply_validated(self.bench.worktree, trial.diff, trial.validation)
        except PatchDoesNotApply as error:
            with self.bench.drive.begin() as dao:
                dao.ledger.advance(trial.entry_id, PatchTrigger.APPLY_FAILED, last_error=str(error))
                dao.ledger.advance(trial.entry_id, PatchTrigger.APPLY_EXHAUSTED, quarantine_reason=str(error))
            return Refusal(str(error))
        with self.bench.drive.begin() as dao:
            dao.ledger.advance(trial.entry_id, PatchTrigger.APPLY_SUCCEEDED)
        return None

    def _unfit(self, trial: Candidate) -> tuple[Refusal | None, tuple[Place, ...]]:
        """What the gates and the sources of its gaps say of the applied patch, and where these found something new.

        Both are stored with it, and both must be content; whoever objects first spares the other one the work.
        """
        worktree, files = self.bench.worktree, trial.validation.files
        tree = worktree.tree()
        proof = self._proof(files, tree) if self._proof_first else None
        judged = Judged(proof.objection) if proof and proof.objection else None
        if judged is None:
            judged = self.bench.judged(self.gatekeeper.baseline, files, trial.entry_id)
            worktree.reset(tree)
        if proof is None and judged.objection is None:
            proof = self._proof(files, tree)
        reason = judged.objection or (proof.objection if proof else None)
        if reason is not None:
            worktree.reset(trial.before)
        with self.bench.drive.begin() as dao:
            if proof is not None:
                dao.ledger.change(trial.entry_id, metadata={"proof": proof.record})
            if reason is None:
                dao.ledger.advance(
                    trial.entry_id, PatchTrigger.GATES_PASSED, validation_tests_passed=judged.tests_passed
                )
                return None, ()
            evidence: dict[str, Any] = {"gates": list(judged.gate_ids), "before": trial.before, "tree": tree}
            dao.ledger.advance(
                trial.entry_id,
                PatchTrigger.GATES_FAILED,
                to=PatchState.QUARANTINED,
                facts={"reverted": True},
                quarantine_reason=reason,
                quarantine_metadata=evidence,
            )
        return Refusal(reason), _places(proof)

    def _proof(self, files: Sequence[str], tree: str) -> Proof:
        return prove(self.bench, self.before, files, tree, to_mend=self._to_mend)


def _places(proof: Proof | None) -> tuple[Place, ...]:
    """Where a proof has found something new."""
    new = proof.comparison.new if proof and proof.comparison else ()
    return tuple(Place(os.fsencode(path), gap.start_line) for gap in new for path in gap.file_paths[:1])
