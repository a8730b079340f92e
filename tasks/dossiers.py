"""Dossiers: all that is stored of a patch that waits for a person, or that was put aside, with its evidence."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from prefect_acms.canonical.patch import PatchState
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.dao.test_gates import TestGateRow
from prefect_acms.tasks.quarantine import kept_ref
from prefect_acms.tasks.reviews import Review, review_of
from prefect_acms.tasks.summary_model import Record

BULKY = {"diff", "transcripts", "gates"}
"""What is left out of lists."""


class GateOutput(Record):
    """What a gate that judged the patch has printed."""

    id: str
    type: str
    state: str
    judgement: str | None = None
    stdout: str = ""
    stderr: str = ""


class Dossier(Record):
    """A patch and where it comes from."""

    id: str
    entry_id: str
    run_id: str
    task_id: str
    tool_id: str | None = None
    state: str
    files: tuple[str, ...] = ()
    lines_added: int = 0
    lines_removed: int = 0
    sha256: str
    supersedes: str | None = Field(default=None, description="ledger entry whose place it takes, whole or in part")
    superseded_by: tuple[str, ...] = Field(default=(), description="ledger entries that were to take its place")
    review: Review | None = None
    diff: str = ""


class QuarantineDossier(Dossier):
    """A patch that was put aside, and everything that was found against it."""

    reason: str | None = None
    quarantined_at: str | None = None
    violations: tuple[str, ...] = Field(default=(), description="rules of the validation that it breaks")
    findings: tuple[dict[str, Any], ...] = Field(default=(), description="what it does to what judges it")
    proof: dict[str, Any] | None = Field(default=None, description="what the gaps' sources found before and after it")
    tree: str | None = Field(default=None, description="the patched tree that was judged")
    kept_ref: str | None = Field(default=None, description="ref in the repository that keeps that tree")
    branch: str | None = Field(default=None, description="branch of its workstream; it stays unless it was merged")
    gates: tuple[GateOutput, ...] = ()
    transcripts: tuple[dict[str, Any], ...] = Field(default=(), description="what the tool that made it has printed")


def waiting_dossiers(dao: UnitOfWork, run_id: str | None = None) -> list[Dossier]:
    """The patches that wait for a person, of one run or of all."""
    return [dossier_of(dao, entry) for entry in dao.ledger.waiting() if run_id in {None, entry.run_id}]


def quarantine_dossiers(dao: UnitOfWork, run_id: str) -> list[QuarantineDossier]:
    """The quarantined patches of a run."""
    entries = [entry for entry in dao.ledger.of_run(run_id) if entry.state == PatchState.QUARANTINED]
    return [quarantine_dossier_of(dao, entry) for entry in entries]


def dossier_of(dao: UnitOfWork, entry: LedgerRow) -> Dossier:
    """What is stored of one patch and its review."""
    return Dossier(**_facts(dao, entry))


def quarantine_dossier_of(dao: UnitOfWork, entry: LedgerRow) -> QuarantineDossier:
    """What is stored of one patch and against it."""
    evidence = entry.quarantine_metadata or {}
    judges = set(evidence.get("gates", ()))
    gates = [row for row in dao.test_gates.of_run(entry.run_id) if row.id in judges]
    return QuarantineDossier(
        **_facts(dao, entry),
        reason=entry.quarantine_reason,
        quarantined_at=entry.quarantined_at,
        violations=tuple(evidence.get("violations", ())),
        findings=tuple(evidence.get("findings", ())),
        proof=entry.info.get("proof"),
        tree=evidence.get("tree"),
        kept_ref=kept_ref(entry) if evidence.get("tree") else None,
        branch=dao.workstreams.get(entry.workstream_id).branch,
        gates=tuple(_output(row) for row in gates),
        transcripts=tuple(dao.tasks.get(entry.task_id).info.get("transcripts", ())),
    )


def _facts(dao: UnitOfWork, entry: LedgerRow) -> dict[str, Any]:
    patch = dao.patches.get(entry.patch_id)
    return {
        "id": patch.id,
        "entry_id": entry.id,
        "run_id": entry.run_id,
        "task_id": entry.task_id,
        "tool_id": dao.tasks.get(entry.task_id).tool_id,
        "state": entry.state,
        "files": tuple(patch.files),
        "lines_added": patch.lines_added,
        "lines_removed": patch.lines_removed,
        "sha256": patch.sha256,
        "supersedes": entry.supersedes,
        "superseded_by": tuple(row.id for row in dao.ledger.superseded_by(entry.id)),
        "review": review_of(entry),
        "diff": patch.content.decode("utf-8", errors="replace"),
    }


def _output(row: TestGateRow) -> GateOutput:
    return GateOutput(
        id=row.id,
        type=row.gate_type,
        state=row.state,
        judgement=row.info.get("judgement"),
        stdout=row.stdout or "",
        stderr=row.stderr or "",
    )
