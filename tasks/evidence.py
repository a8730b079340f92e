"""The evidence of a run: what the store and git say of it, as one statement that a stranger can check offline."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import PurePath
from typing import Any

from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.dao import audit
from prefect_acms.dao.chain import ANCHOR, HASHED
from prefect_acms.dao.gaps import GapRow
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.lines import TRAIL, Row, rows_of, trail
from prefect_acms.dao.redaction import Scrubber
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.schema import table_of
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.dao.test_gates import TestGateRow
from prefect_acms.dao.transitions import TransitionRow
from prefect_acms.tasks.evidence_commits import commit_object
from prefect_acms.tasks.evidence_model import (
    Chain,
    ChainRow,
    Commit,
    Evidence,
    Finding,
    Gate,
    Head,
    Patch,
    Run,
    Statement,
    Task,
    ToolCall,
    statement_of,
)
from prefect_acms.tasks.landing import Landed
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.summary_records import gate_record, patch_record
from prefect_acms.tasks.summary_rows import Rows, read_rows


def evidence_of(store: Store, run_id: str, repository: Repository | None) -> Statement:
    """The statement about a run that has ended: the same run, the same statement.

    Raises InvalidValue for a run that has not ended, and ChainBroken when the trail does not hold. Without the
    repository (it was moved or removed) the commits are named only.
    """
    found = audit.verify(store, run_id)
    if found.first_bad is not None:
        raise found.first_bad.error()
    with store.begin(read_only=True) as dao:
        rows = read_rows(dao, run_id)
        if rows.run.state not in MACHINES["run"].terminal:
            raise InvalidValue(field="the run", value=run_id, expected=f"one that has ended, it is {rows.run.state}")
        chain = _chain(dao, run_id)
    versions = _versions(rows)
    evidence = Evidence(
        version="1",
        run=_run(rows.run, versions),
        findings=tuple(_finding(row) for row in sorted(rows.gaps, key=lambda row: row.id)),
        tasks=tuple(_task(row, versions) for row in rows.tasks),
        gates=tuple(_gate(row) for row in rows.gates),
        patches=tuple(_patch(entry, rows, repository, store.scrubber) for entry in rows.entries),
        chain=chain,
    )
    statement = statement_of(evidence)
    _refuse_secrets(store.scrubber, statement)
    return statement


def _refuse_secrets(scrubber: Scrubber, statement: Statement) -> None:
    """What the chain holds can't be changed any more: a secret that became known since then keeps the evidence in."""
    payload = statement.payload()
    if scrubber.content(payload) != payload:
        expected = "nothing in it that is known as a secret today: take that variable or value back, then export"
        raise InvalidValue(field="the evidence of run", value=statement.predicate.run.id, expected=expected)


def _chain(dao: UnitOfWork, run_id: str) -> Chain:
    columns = table_of(TransitionRow).c
    of_run = columns.run_id.is_(None), columns.entity_type == ANCHOR, columns.entity_id == run_id
    rows = tuple(_chain_row(row) for row in trail(dao.connection, run_id))
    anchors = rows_of(dao.connection, TRAIL.where(*of_run).order_by(columns.chain_seq))
    head = Head(seq=rows[-1].chain_seq, hash=rows[-1].hash)
    return Chain(head=head, rows=rows, anchors=tuple(_chain_row(row) for row in anchors))


def _chain_row(row: Row) -> ChainRow:
    values = {name: row[name] for name in (*HASHED, "prev_hash", "hash")}
    return ChainRow(**{**values, "metadata": json.loads(row["metadata"])})


def _versions(rows: Rows) -> dict[str, str]:
    configured = [dict(row.artifacts or {}) for row in rows.phases if row.name == "configure"]
    return {name: number for facts in configured for name, number in facts.get("versions", {}).items()}


def _run(run: RunRow, versions: dict[str, str]) -> Run:
    return Run(
        id=run.id,
        state=run.state,
        mode=run.mode,
        project=run.project_id,
        base_commit=run.base_commit,
        started_at=run.started_at,
        completed_at=run.completed_at,
        versions=versions,
    )


def _finding(row: GapRow) -> Finding:
    return Finding(
        id=row.id,
        fingerprint=row.fingerprint,
        source=row.source,
        rule_id=row.rule_id,
        title=row.title,
        severity=row.severity,
        files=tuple(row.file_paths),
        start_line=row.start_line,
        state=row.state,
        reason=row.deferred_reason,
        workstream_id=row.workstream_id,
    )


def _task(row: TaskRow, versions: dict[str, str]) -> Task:
    return Task(
        id=row.id,
        workstream_id=row.workstream_id,
        kind=row.kind,
        tool_id=row.tool_id,
        state=row.state,
        calls=tuple(_call(transcript, versions) for transcript in row.info.get("transcripts", ())),
    )


def _call(transcript: dict[str, Any], versions: dict[str, str]) -> ToolCall:
    argv = tuple(transcript["argv"])
    return ToolCall(
        tool=transcript["tool"],
        version=versions.get(_program(argv)),
        argv=argv,
        exit_code=transcript["exit_code"],
        output_sha256=_output_hash(transcript["stdout"], transcript["stderr"]),
    )


def _program(argv: Sequence[str]) -> str:
    """The name by which a program's version is recorded: of `python -m NAME` the module's."""
    if "-m" in argv[:-1]:
        return argv[argv.index("-m") + 1]
    return PurePath(argv[0]).name if argv else ""


def _gate(row: TestGateRow) -> Gate:
    told = gate_record(row)
    return Gate(
        id=row.id,
        type=row.gate_type,
        state=row.state,
        command=told.command,
        exit_code=row.exit_code,
        timed_out=bool(row.timed_out),
        tree=row.info.get("tree"),
        at_base=told.at_base,
        judgement=told.judgement,
        output_sha256=_output_hash(row.stdout, row.stderr),
    )


def _output_hash(stdout: str | None, stderr: str | None) -> str:
    return sha256(f"{stdout or ''}\0{stderr or ''}".encode()).hexdigest()


def _patch(entry: LedgerRow, rows: Rows, repository: Repository | None, scrubber: Scrubber) -> Patch:
    stored, told = rows.patches[entry.patch_id], patch_record(entry, rows, Landed())
    commit = _commit(entry.commit_sha, repository)
    may_be_told = scrubber.content(stored.content) == stored.content
    return Patch(
        id=stored.id,
        entry_id=entry.id,
        task_id=entry.task_id,
        state=entry.state,
        base_commit=stored.base_commit,
        files=told.files,
        sha256=stored.sha256,
        diff=b64encode(stored.content).decode() if may_be_told else None,
        redacted=bool(stored.info.get("redacted")),
        reason=told.reason,
        supersedes=entry.supersedes,
        gates=tuple(sorted(told.gates)),
        proof=entry.info.get("proof"),
        review=entry.info.get("review"),
        commit=commit,
        resolves=commit.trailers("ACMS-Gap") if commit is not None else (),
    )


def _commit(sha: str | None, repository: Repository | None) -> Commit | None:
    if sha is None:
        return None
    raw = commit_object(repository, sha) if repository is not None else None
    return Commit(id=sha, object=None if raw is None else b64encode(raw).decode())
