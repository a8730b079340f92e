"""Trials of a patch: validated, admitted, applied, gated, proved; one that fails is split by bisection."""

from __future__ import annotations

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
from prefect_acms.tasks.patches import apply_validated
from prefect_acms.tasks.proofs import prove
from prefect_acms.tasks.quarantine import keep_tree
from prefect_acms.tasks.reviews import open_review, review_of
from prefect_acms.tasks.splitting import isolate

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
    kept: list[Kept] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def bring_in(self, diff: bytes) -> None:
        """Try the diff; if it fails and its tool is deterministic, try its parts by bisection.

        What a person was asked about is not split: the answer was about all of it.
        """
        whole = self._try(diff, supersedes=self.successor_of)
        if whole is not None and self.gatekeeper.profile.deterministic and not self._was_reviewed(whole):
            parts = isolate(diff, keep=lambda part: self._try(part, supersedes=whole.entry_id, is_part=True) is None)
            guilty = {sha256(part).hexdigest() for part in parts.guilty}
            self._drop_groups([trial for trial in self.rejected if trial.sha256 not in guilty])
        for trial in self.rejected:
            keep_tree(self.bench.drive, trial.entry_id)

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
        refusal = (
            self._invalid(trial)
            or self.gatekeeper.refusal(trial, is_part=is_part)
            or self._unapplied(trial)
            or self._unfit(trial)
        )
        if refusal is None:
            self.kept.append(Kept(trial.entry_id, trial.patch_id, self.bench.worktree.tree(), files))
            return None
        rejected = Rejected(trial.entry_id, trial.digest, files, refusal)
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

    def _unfit(self, trial: Candidate) -> Refusal | None:
        """What the gates say of the applied patch, and then the sources of its gaps; both are stored with it."""
        worktree, files = self.bench.worktree, trial.validation.files
        tree = worktree.tree()
        judged = self.bench.judged(self.gatekeeper.baseline, files, trial.entry_id)
        worktree.reset(tree)
        proof = None if judged.objection else prove(self.bench, self.before, files, tree)
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
                return None
            evidence: dict[str, Any] = {"gates": list(judged.gate_ids), "before": trial.before, "tree": tree}
            dao.ledger.advance(
                trial.entry_id,
                PatchTrigger.GATES_FAILED,
                to=PatchState.QUARANTINED,
                facts={"reverted": True},
                quarantine_reason=reason,
                quarantine_metadata=evidence,
            )
        return Refusal(reason)
