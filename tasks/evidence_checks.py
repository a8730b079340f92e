"""What a statement about a run must be like in itself: every hash recomputed, every link followed, every state told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import new, sha256
from typing import Any

from pydantic import ValidationError

from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.patch import PatchState
from prefect_acms.canonical.test_gate import TestGateState
from prefect_acms.dao.chain import ANCHOR, GENESIS, row_hash
from prefect_acms.tasks.evidence_file import Damage
from prefect_acms.tasks.evidence_model import ChainRow, Commit, Evidence, Patch, Statement, subjects_of
from prefect_acms.tasks.json_places import pointer_at

TOP = "/payload"
PREDICATE = f"{TOP}/predicate"

_SHA1_DIGITS = 40
_LANDED = frozenset({PatchState.COMMITTED, PatchState.ROLLED_BACK})


def read_statement(payload: bytes) -> Statement | Damage:
    """The statement in a payload; or what keeps it from being one, or from being the one form of it."""
    try:
        statement = Statement.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = "".join(f"/{part}" for part in first["loc"])
        return Damage(f"it is not a statement of this format: {first['msg']}", f"{TOP}{place}")
    wanted = statement.payload()
    if wanted != payload:
        at = next((at for at, pair in enumerate(zip(wanted, payload, strict=False)) if pair[0] != pair[1]), len(wanted))
        return Damage(f"it is not the one form of its JSON (byte {at} of it)", TOP + pointer_at(payload, at))
    return statement


def problems(statement: Statement) -> Iterator[Damage]:
    """Everything in a statement that does not fit, the chain first."""
    evidence = statement.predicate
    yield from _in_chain(evidence)
    yield from _in_anchors(evidence)
    yield from _in_states(evidence)
    yield from _in_links(evidence)
    for place, patch in enumerate(evidence.patches):
        yield from _in_patch(patch, evidence, f"{PREDICATE}/patches/{place}")
    if statement.subject != subjects_of(evidence):
        yield Damage("the subjects are not the patches and commits of the evidence", f"{TOP}/subject")


def _differs(problem: str, pointer: str, expected: Any, found: Any) -> Iterator[Damage]:
    if expected != found:
        yield Damage(problem, pointer, expected=str(expected), found=str(found))


# the chain


def _in_chain(evidence: Evidence) -> Iterator[Damage]:
    chain = evidence.chain
    last = GENESIS
    for place, row in enumerate(chain.rows):
        where = f"{PREDICATE}/chain/rows/{place}"
        yield from _differs("the row is not the next of the chain", f"{where}/chain_seq", place + 1, row.chain_seq)
        yield from _differs("the row is of another run", f"{where}/run_id", evidence.run.id, row.run_id)
        yield from _differs("the row does not follow the one before it", f"{where}/prev_hash", last, row.prev_hash)
        yield from _in_row(row, where)
        last = row.hash
    yield from _differs("the chain does not end here", f"{PREDICATE}/chain/head/seq", len(chain.rows), chain.head.seq)
    yield from _differs("the chain does not end with this", f"{PREDICATE}/chain/head/hash", last, chain.head.hash)


def _in_row(row: ChainRow, where: str) -> Iterator[Damage]:
    wanted = row_hash(row.prev_hash, row.model_dump())
    yield from _differs("the row is not what was hashed", f"{where}/hash", wanted, row.hash)


def _in_anchors(evidence: Evidence) -> Iterator[Damage]:
    """The chain `global` has noted the run's chain when it began and when it ended; each note must fit."""
    rows, anchors = evidence.chain.rows, evidence.chain.anchors
    told: set[int] = set()
    for place, anchor in enumerate(anchors):
        where = f"{PREDICATE}/chain/anchors/{place}"
        yield from _in_row(anchor, where)
        named = (anchor.entity_type, anchor.entity_id, anchor.run_id)
        yield from _differs("it is no anchor of this run", where, (ANCHOR, evidence.run.id, None), named)
        seq = anchor.metadata.get("seq")
        there = isinstance(seq, int) and 1 <= seq <= len(rows)
        wanted = rows[seq - 1].hash if isinstance(seq, int) and there else f"one of {len(rows)} rows, not row {seq}"
        yield from _differs(
            "the anchor is of another row", f"{where}/metadata/hash", wanted, anchor.metadata.get("hash")
        )
        told.add(seq if isinstance(seq, int) else 0)
    for seq, what in ((1, "beginning"), (len(rows), "end")):
        if seq not in told:
            yield Damage(
                f"the {what} of the chain is not anchored", f"{PREDICATE}/chain/anchors", expected=f"row {seq}"
            )


def _in_states(evidence: Evidence) -> Iterator[Damage]:
    """What the chain says of an entity last is the state that the evidence gives it, and none is kept back."""
    last = {(row.entity_type, row.entity_id): row.to_state for row in evidence.chain.rows}
    told: dict[tuple[str, str], tuple[str, str]] = {("run", evidence.run.id): (evidence.run.state, "run")}
    lists: Mapping[str, tuple[str, Sequence[Any]]] = {
        "gap": ("findings", evidence.findings),
        "task": ("tasks", evidence.tasks),
        "test_gate": ("gates", evidence.gates),
        "patch_ledger": ("patches", evidence.patches),
    }
    for entity, (name, records) in lists.items():
        for place, record in enumerate(records):
            id_ = record.entry_id if isinstance(record, Patch) else record.id
            told[entity, id_] = record.state, f"{name}/{place}"
    for key, (state, where) in told.items():
        yield from _differs("the chain tells another state", f"{PREDICATE}/{where}/state", last.get(key), state)
    for entity, id_ in sorted(last.keys() - told.keys()):
        if entity in lists:
            problem = f"the chain tells of {entity} {id_}, which is not here"
            yield Damage(problem, f"{PREDICATE}/{lists[entity][0]}")
    if evidence.run.state not in MACHINES["run"].terminal:
        yield Damage("the run has not ended", f"{PREDICATE}/run/state", found=evidence.run.state)


# the links


def _in_links(evidence: Evidence) -> Iterator[Damage]:
    tasks = {task.id for task in evidence.tasks}
    gates = {gate.id for gate in evidence.gates}
    entries = {patch.entry_id for patch in evidence.patches}
    streams = {task.workstream_id for task in evidence.tasks}
    known = {row.entity_id for row in evidence.chain.rows if row.entity_type == "workstream"}
    for place, task in enumerate(evidence.tasks):
        yield from _named("workstream", f"tasks/{place}/workstream_id", [task.workstream_id], known)
    for place, finding in enumerate(evidence.findings):
        streams_of = [finding.workstream_id] if finding.workstream_id else []
        yield from _named("workstream", f"findings/{place}/workstream_id", streams_of, known | streams)
    for place, patch in enumerate(evidence.patches):
        yield from _named("task", f"patches/{place}/task_id", [patch.task_id], tasks)
        yield from _named("gate", f"patches/{place}/gates", patch.gates, gates)
        yield from _named("patch", f"patches/{place}/supersedes", filter(None, [patch.supersedes]), entries)


def _named(kind: str, place: str, ids: Any, known: set[str]) -> Iterator[Damage]:
    for id_ in ids:
        if id_ not in known:
            yield Damage(f"there is no such {kind} in the evidence", f"{PREDICATE}/{place}", found=id_)


# the patches


def _in_patch(patch: Patch, evidence: Evidence, where: str) -> Iterator[Damage]:
    if (content := patch.content()) is not None:
        digest = sha256(content).hexdigest()
        yield from _differs("the diff has another SHA-256", f"{where}/sha256", digest, patch.sha256)
    landed = patch.state in _LANDED
    if landed != (patch.commit is not None):
        yield Damage(f"a patch that is {patch.state} has {'no' if landed else 'a'} commit", f"{where}/commit")
    if patch.commit is not None:
        yield from _in_commit(patch, patch.commit, evidence, where)
        passed = [gate for gate in evidence.gates if gate.state == TestGateState.PASSED]
        judged = any(gate.id in patch.gates or gate.tree == patch.commit.tree for gate in passed)
        if not judged and patch.commit.tree is not None:
            yield Damage("no gate has passed the patch, or the tree of its commit", f"{where}/gates")


def _in_commit(patch: Patch, commit: Commit, evidence: Evidence, where: str) -> Iterator[Damage]:
    content = commit.content()
    if content is None:
        return
    algorithm = "sha1" if len(commit.id) == _SHA1_DIGITS else "sha256"
    digest = new(algorithm, b"commit %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    yield from _differs("git would call this commit otherwise", f"{where}/commit/id", digest, commit.id)
    for key, wanted in (("ACMS-Run", evidence.run.id), ("ACMS-Patch", patch.id)):
        yield from _differs(f"its trailer {key}", f"{where}/commit/object", (wanted,), commit.trailers(key))
    gaps = commit.trailers("ACMS-Gap")
    yield from _differs("its trailers name other findings", f"{where}/resolves", gaps, patch.resolves)
    fingerprints = {finding.fingerprint for finding in evidence.findings}
    for name in gaps:
        if name not in fingerprints:
            yield Damage("its commit names a finding that is not here", f"{where}/resolves", found=name)
