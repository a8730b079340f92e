"""Trials of a patch: validated, applied, gated, proved; one that fails is split until the guilty part stands alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from prefect_acms.canonical.errors import PatchDoesNotApply, SourceFailed
from prefect_acms.canonical.patch import PatchState, PatchTrigger
from prefect_acms.tasks.baseline import Baseline
from prefect_acms.tasks.bench import Bench
from prefect_acms.tasks.captures import stored_patch, validated
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.gate_rows import Judged
from prefect_acms.tasks.patches import Validation
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
    """A patch that does not stay: its ledger entry, its diff by hash, the files it touches, and why."""

    entry_id: str
    sha256: str
    files: tuple[str, ...]
    reason: str


@dataclass(slots=True)
class Trials:
    """The trials of one task's diff in its worktree; `kept` and `rejected` say what became of it."""

    bench: Bench
    baseline: Baseline
    before: Sequence[Gap]
    kept: list[Kept] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def bring_in(self, diff: bytes, *, deterministic: bool) -> None:
        """Try the diff; if it fails and its tool is deterministic, try its parts by bisection."""
        whole = self._try(diff, supersedes=None)
        if whole is None or not deterministic:
            return
        parts = isolate(diff, keep=lambda part: self._try(part, supersedes=whole.entry_id) is None)
        guilty = {sha256(part).hexdigest() for part in parts.guilty}
        self._drop_groups([trial for trial in self.rejected if trial.sha256 not in guilty])

    def _drop_groups(self, groups: Sequence[Rejected]) -> None:
        """What was split has been replaced by its parts: it is superseded, its evidence stays."""
        with self.bench.drive.begin() as dao:
            for group in groups:
                dao.ledger.advance(
                    group.entry_id, PatchTrigger.DISCARDED, reason="superseded by its parts", operator=SPLIT_POLICY
                )
        self.rejected = [trial for trial in self.rejected if trial not in groups]

    def _try(self, diff: bytes, *, supersedes: str | None) -> Rejected | None:
        """None if the diff stays; else it is quarantined and the worktree is as it was before."""
        before = self.bench.worktree.tree()
        validation = validated(self.bench, diff)
        entry_id, patch_id = self._record(diff, validation, supersedes)
        reason = self._refuse_invalid(entry_id, validation) or self._apply(entry_id, diff)
        if reason is None:
            reason = self._judge(entry_id, before, validation.files)
        if reason is None:
            self.kept.append(Kept(entry_id, patch_id, self.bench.worktree.tree(), validation.files))
            return None
        rejected = Rejected(entry_id, sha256(diff).hexdigest(), validation.files, reason)
        self.rejected.append(rejected)
        return rejected

    def _record(self, diff: bytes, validation: Validation, supersedes: str | None) -> tuple[str, str]:
        with self.bench.drive.begin() as dao:
            patch = stored_patch(dao, self.bench, diff, validation)
            entry = dao.ledger.create(
                run_id=self.bench.task.run_id,
                patch_id=patch.id,
                task_id=self.bench.task.id,
                workstream_id=self.bench.task.workstream_id,
                supersedes=supersedes,
            )
        return entry.id, patch.id

    def _refuse_invalid(self, entry_id: str, validation: Validation) -> str | None:
        flags: dict[str, Any] = {
            "validation_format": validation.format_ok,
            "validation_scope": validation.scope_ok,
            "validation_constraints": validation.constraints_ok,
        }
        with self.bench.drive.begin() as dao:
            if all(flags.values()):
                dao.ledger.advance(entry_id, PatchTrigger.VALIDATION_PASSED, **flags)
                dao.ledger.advance(entry_id, PatchTrigger.ACCEPTED, facts={"review_required": False})
                return None
            reason = "; ".join(f"{v.rule} at {v.where}: {v.problem}" for v in validation.violations[:5])
            dao.ledger.advance(
                entry_id,
                PatchTrigger.VALIDATION_FAILED,
                quarantine_reason=reason,
                quarantine_metadata={"violations": [str(violation) for violation in validation.violations]},
                **flags,
            )
        return reason

    def _apply(self, entry_id: str, diff: bytes) -> str | None:
        """Apply whole or not at all; a patch that does not apply never will, so it is not tried again."""
        try:
            self.bench.worktree.apply(diff)
        except PatchDoesNotApply as error:
            with self.bench.drive.begin() as dao:
                dao.ledger.advance(entry_id, PatchTrigger.APPLY_FAILED, last_error=str(error))
                dao.ledger.advance(entry_id, PatchTrigger.APPLY_EXHAUSTED, quarantine_reason=str(error))
            return str(error)
        with self.bench.drive.begin() as dao:
            dao.ledger.advance(entry_id, PatchTrigger.APPLY_SUCCEEDED)
        return None

    def _judge(self, entry_id: str, before: str, files: Sequence[str]) -> str | None:
        tree = self.bench.worktree.tree()
        judged = self.bench.judged(self.baseline, files, entry_id)
        self.bench.worktree.reset(tree)
        reason = judged.objection or self._new_gaps(files)
        if reason is None:
            self._verify(entry_id, judged)
            return None
        self.bench.worktree.reset(before)
        evidence: dict[str, Any] = {"gates": list(judged.gate_ids), "tree": tree}
        with self.bench.drive.begin() as dao:
            dao.ledger.advance(
                entry_id,
                PatchTrigger.GATES_FAILED,
                to=PatchState.QUARANTINED,
                facts={"reverted": True},
                quarantine_reason=reason,
                quarantine_metadata=evidence,
            )
        return reason

    def _new_gaps(self, files: Sequence[str]) -> str | None:
        """What the gaps' own sources find now that they did not find before."""
        try:
            new = self.bench.rescanner.compared(self.before, files).new
        except SourceFailed as error:
            return f"it can't be proved: {error}"
        return f"it brings something new: {'; '.join(gap.title for gap in new[:5])}" if new else None

    def _verify(self, entry_id: str, judged: Judged) -> None:
        with self.bench.drive.begin() as dao:
            dao.ledger.advance(entry_id, PatchTrigger.GATES_PASSED, validation_tests_passed=judged.tests_passed)
