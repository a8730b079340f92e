"""What the evidence of a run states: an in-toto Statement that leads from each finding to the audit chain."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from prefect_acms.dao.chain import canonical_json

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:prefect-acms:evidence:v1"

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
ObjectId = Annotated[str, Field(pattern="^([0-9a-f]{40}|[0-9a-f]{64})$")]


class Part(BaseModel):
    """A part of the statement; times are UTC text."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Subject(Part):
    """What the statement speaks of: a patch by the SHA-256 of its diff, or a commit by its id."""

    name: str = Field(description="patch/ID or commit/ID")
    digest: dict[Literal["sha256", "gitCommit"], str]


class Run(Part):
    """The run."""

    id: str
    state: str
    mode: str
    project: str | None = Field(description="name of the repository's folder")
    base_commit: ObjectId | None
    started_at: str | None
    completed_at: str | None
    versions: dict[str, str] = Field(description="of the programs whose word the run went by")


class Finding(Part):
    """A gap, as its source told it, and its fate."""

    id: str
    fingerprint: str
    source: str
    rule_id: str
    title: str
    severity: str
    files: tuple[str, ...]
    start_line: int | None
    state: str
    reason: str | None = Field(description="why it was deferred")
    workstream_id: str | None


class ToolCall(Part):
    """One call of a tool."""

    tool: str
    version: str | None = Field(description="version of the program, where the run has recorded it")
    argv: tuple[str, ...]
    exit_code: int
    output_sha256: Sha256 = Field(description="of what the store keeps of stdout, a NUL, and of stderr")


class Task(Part):
    """One task of the plan, with what it called."""

    id: str
    workstream_id: str
    kind: str
    tool_id: str | None
    state: str
    calls: tuple[ToolCall, ...]


class Gate(Part):
    """One run of a gate: what it was asked and what it said."""

    id: str
    type: str
    state: str
    command: str
    exit_code: int | None
    timed_out: bool
    tree: ObjectId | None = Field(description="git tree that it judged")
    at_base: bool
    judgement: str | None
    output_sha256: Sha256 = Field(description="of what the store keeps of stdout, a NUL, and of stderr")


class Commit(Part):
    """A commit that a patch became."""

    id: ObjectId
    object: str | None = Field(
        description="what `git cat-file commit` prints, in base64; none: the repository was not there"
    )

    def content(self) -> bytes | None:
        """What git hashes to get the id."""
        return None if self.object is None else b64decode(self.object, validate=True)

    @property
    def tree(self) -> str | None:
        """The tree of the commit, as its first line names it."""
        first = (self.content() or b"").partition(b"\n")[0]
        return first.removeprefix(b"tree ").decode("ascii", "replace") if first.startswith(b"tree ") else None

    def trailers(self, key: str) -> tuple[str, ...]:
        """The values of a trailer in the commit's message."""
        lines = (self.content() or b"").decode("utf-8", "replace").splitlines()
        return tuple(line.removeprefix(f"{key}: ") for line in lines if line.startswith(f"{key}: "))


class Patch(Part):
    """A patch: its diff, what judged it, and the commit that it became."""

    id: str
    entry_id: str = Field(description="its entry in the ledger, by which the audit chain calls it")
    task_id: str
    state: str
    base_commit: ObjectId | None
    files: tuple[str, ...]
    sha256: Sha256
    diff: str | None = Field(
        description="the diff byte for byte, in base64; none: a secret of the repository's own stands in it"
    )
    redacted: bool = Field(description="a secret was taken out of the diff before it was stored")
    reason: str | None = Field(description="why it was quarantined, dropped or rolled back")
    supersedes: str | None = Field(description="ledger entry whose place it has taken")
    gates: tuple[str, ...]
    proof: JsonValue = Field(description="what the gap's own source said before and after")
    review: JsonValue = Field(description="who let it in or not, and why it had to be asked")
    commit: Commit | None
    resolves: tuple[str, ...] = Field(description="fingerprints of the findings that its commit names")

    def content(self) -> bytes | None:
        """The diff, if it is told."""
        return None if self.diff is None else b64decode(self.diff, validate=True)


class ChainRow(Part):
    """One row of the audit trail: a change of a state, hashed together with the hash of the row before it."""

    chain_seq: int
    entity_id: str
    entity_type: str
    event_id: str
    from_state: str | None
    metadata: dict[str, JsonValue]
    operator: str | None
    phase: str | None
    reason: str | None
    run_id: str | None
    severity: str
    to_state: str
    transitioned_at: str
    trigger: str
    workstream_id: str | None
    prev_hash: Sha256
    hash: Sha256


class Head(Part):
    """The end of a chain."""

    seq: int
    hash: Sha256


class Chain(Part):
    """The audit chain of the run, whole, and the rows of the chain `global` that anchor it."""

    head: Head
    rows: tuple[ChainRow, ...]
    anchors: tuple[ChainRow, ...]


class Evidence(Part):
    """The predicate: finding, task, tool, diff, gates, proof, review, commit, chain."""

    version: Literal["1"]
    run: Run
    findings: tuple[Finding, ...]
    tasks: tuple[Task, ...]
    gates: tuple[Gate, ...]
    patches: tuple[Patch, ...]
    chain: Chain


class Statement(Part):
    """An in-toto Statement, version 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[Subject, ...]
    predicate_type: Literal["urn:prefect-acms:evidence:v1"] = Field(alias="predicateType")
    predicate: Evidence

    def payload(self) -> bytes:
        """The one form that this statement has: JSON with sorted keys and no blanks, in UTF-8."""
        return canonical_json(self.model_dump(mode="json")).encode()


def statement_of(evidence: Evidence) -> Statement:
    """The statement about this evidence: every patch and every commit is a subject of it."""
    return Statement(
        _type=STATEMENT_TYPE, subject=subjects_of(evidence), predicateType=PREDICATE_TYPE, predicate=evidence
    )


def subjects_of(evidence: Evidence) -> tuple[Subject, ...]:
    """The subjects that the statement about this evidence must have."""
    commits = [patch.commit.id for patch in evidence.patches if patch.commit is not None]
    return (
        *(Subject(name=f"patch/{patch.id}", digest={"sha256": patch.sha256}) for patch in evidence.patches),
        *(Subject(name=f"commit/{commit}", digest={"gitCommit": commit}) for commit in commits),
    )


def evidence_schema() -> dict[str, Any]:
    """The JSON schema (2020-12) of the statement."""
    schema = Statement.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_text() -> str:
    """The JSON schema as it is printed and stored."""
    return json.dumps(evidence_schema(), indent=2, sort_keys=True) + "\n"
