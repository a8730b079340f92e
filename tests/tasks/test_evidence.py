"""The evidence of a run: a stranger can check it, and every byte that somebody changed is named."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from evidenced import Evidenced, damages_of, small_run
from jsonpointer import resolve_pointer
from securesystemslib.signer import CryptoSigner

from prefect_acms.canonical.errors import ChainBroken, InvalidValue
from prefect_acms.dao.chain import canonical_json, row_hash
from prefect_acms.dao.redaction import KNOWN
from prefect_acms.dao.store import open_store
from prefect_acms.tasks.evidence import evidence_of
from prefect_acms.tasks.evidence_checks import problems
from prefect_acms.tasks.evidence_commits import problems_in
from prefect_acms.tasks.evidence_file import open_file, signed_file
from prefect_acms.tasks.evidence_keys import public_pem, signer
from prefect_acms.tasks.evidence_model import Statement
from prefect_acms.tasks.json_places import pointer_at

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the key of these tests lies."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACMS_HOME", str(home))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Evidenced:
    """A small run that has ended well."""
    folder = tmp_path_factory.mktemp("run")
    return small_run(folder / "shop", f"sqlite:///{folder / 'canonical.db'}")


@pytest.fixture(scope="module")
def file(run: Evidenced, home: Path) -> bytes:
    """Its evidence."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACMS_HOME", str(home))
        return run.file()


@pytest.fixture
def facts(run: Evidenced) -> dict[str, Any]:
    """What it states, to be changed."""
    facts: dict[str, Any] = run.statement().model_dump(mode="json")
    return facts


def test_the_same_run_exports_the_same_bytes(run: Evidenced, file: bytes) -> None:
    """And whoever checks them finds nothing."""
    assert run.file() == file
    assert damages_of(file) == []
    assert list(problems_in(run.repository, run.statement())) == []


def test_the_chain_leads_from_the_finding_to_the_anchor(run: Evidenced) -> None:
    """Finding, task, diff, gate, commit, row of the chain: each names the next."""
    told = run.statement().predicate
    (patch,) = told.patches
    (finding,) = told.findings
    assert patch.commit is not None
    assert patch.task_id in {task.id for task in told.tasks}
    assert finding.workstream_id in {task.workstream_id for task in told.tasks}
    assert run.repository.diff(str(told.run.base_commit), patch.commit.id) == patch.content()
    assert patch.commit.tree in {gate.tree for gate in told.gates if gate.state == "PASSED"}
    assert patch.entry_id in {row.entity_id for row in told.chain.rows if row.to_state == "committed"}
    assert told.chain.anchors[-1].metadata == {"seq": told.chain.head.seq, "hash": told.chain.head.hash}


def test_ten_lines_and_openssl_are_enough(file: bytes, tmp_path: Path) -> None:
    """What docs/evidence.md tells a stranger to do, done as it stands there."""
    (tmp_path / "run.evidence.json").write_bytes(file)
    (tmp_path / "pub.pem").write_text(public_pem(signer().public_key))
    blocks = re.findall(r"```(python|sh) by hand\n(.*?)```", (DOCS / "evidence.md").read_text(), re.DOTALL)
    assert [language for language, _ in blocks] == ["python", "sh"]
    python = subprocess.run(
        [sys.executable, "-c", blocks[0][1]], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert "the chain holds" in python.stdout
    shell = subprocess.run(["sh", "-ec", blocks[1][1]], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "Verified Successfully" in shell.stdout


def test_the_statement_is_as_its_schema_says(facts: dict[str, Any]) -> None:
    """The one in docs/, which others read; a key that it doesn't know is refused."""
    schema = json.loads((DOCS / "evidence.schema.json").read_text())
    jsonschema.validate(facts, schema)
    facts["predicate"]["run"]["more"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(facts, schema)


# damage


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes((content[at] ^ (1 << at % 7),)) + content[at + 1 :]


def _every(file: bytes, step: int) -> Iterator[int]:
    """Every so many bytes, and all of those that are not of the payload or its marks."""
    start, end = file.index(b'","payload"'), file.index(b'","payloadType"')
    yield from range(10)
    yield from range(10, start, step)
    yield from range(start, start + 13)
    yield from range(start + 13, end, step)
    yield from range(end, len(file), 1)


def _assert_named(file: bytes, at: int) -> None:
    damages = damages_of(_flipped(file, at))
    assert damages, f"byte {at} was changed, and nobody has noticed"
    assert [damage.offset for damage in damages] == [at], f"byte {at} was changed: {damages}"
    (damage,) = damages
    assert damage.expected == repr(chr(file[at])) or damage.expected == "0x0a"


def test_a_flipped_byte_is_named(file: bytes) -> None:
    """Which byte of the file it is, what it was, and where in the JSON: one of 97, and each outside the payload."""
    for at in _every(file, 97):
        _assert_named(file, at)


@pytest.mark.campaign
def test_every_flipped_byte_is_named(file: bytes) -> None:
    """The same for all bytes of the file."""
    for at in range(len(file)):
        _assert_named(file, at)


def test_the_pointer_leads_to_what_was_changed(file: bytes) -> None:
    """In the statement, not only in the envelope."""
    envelope = json.loads(file)
    payload = b64decode(envelope["payload"])
    statement = json.loads(payload)
    for text in (b'"title":"x"', b'"PASSED"', b'"seq":'):
        inside = payload.index(text) + len(text) - 2
        at = file.index(b'","payload":"') + 13 + inside * 4 // 3
        (damage,) = damages_of(_flipped(file, at))
        pointer = damage.pointer.removeprefix("/payload")
        assert pointer == pointer_at(payload, inside)
        assert damage.pointer.startswith("/payload/predicate/")
        resolve_pointer(statement, pointer)


@pytest.mark.parametrize("cut", [1, 4, 100, 5000])
def test_a_file_that_was_cut_or_grew_is_noticed(file: bytes, cut: int) -> None:
    """At its end, at its beginning, in its middle."""
    half = len(file) // 2
    for changed in (file[:-cut], file[cut:], file[:half] + file[half + cut :], file + b" " * cut, b"\n" * cut + file):
        assert damages_of(changed)


@pytest.mark.parametrize(
    "dump",
    [
        json.dumps,
        lambda value: json.dumps(value, indent=1),
        canonical_json,
        lambda value: canonical_json(dict(reversed(value.items()))) + "\n\n",
        lambda value: canonical_json({**value, "extra": 1}) + "\n",
    ],
)
def test_the_same_content_in_another_form_is_refused(file: bytes, dump: Any) -> None:
    """Blanks, the order of keys, one more key: there is one form, or a change could hide in the others."""
    assert damages_of(dump(json.loads(file)).encode())


def test_base64_has_one_form_too(file: bytes) -> None:
    """The bits that decoding throws away are not free."""
    sig = file.rindex(b'=="}]}') - 1
    changed = bytearray(file)
    changed[sig] += 1
    assert b64decode(json.loads(bytes(changed))["signatures"][0]["sig"]) == b64decode(
        json.loads(file)["signatures"][0]["sig"]
    )
    (damage,) = damages_of(bytes(changed))
    assert (damage.offset, damage.pointer) == (sig, "/signatures/0/sig")


def test_another_key_is_named(file: bytes) -> None:
    """What was signed by somebody else, and what was signed by us and is held against somebody else's key."""
    other = CryptoSigner.generate_ed25519()
    (damage,) = open_file(file, other.public_key).damages
    assert (damage.pointer, damage.expected, damage.found) == (
        "/signatures/0/keyid",
        other.public_key.keyid,
        signer().public_key.keyid,
    )


def test_the_signature_of_another_run_does_not_fit(run: Evidenced, tmp_path: Path, file: bytes) -> None:
    """A replayed signature, and a whole envelope that is replayed, which tells whose it is."""
    other = small_run(tmp_path / "shop", f"sqlite:///{tmp_path / 'canonical.db'}")
    theirs = other.file()
    assert other.statement().predicate.run.id != run.run_id
    swapped = theirs[: theirs.index(b'"sig":"')] + file[file.index(b'"sig":"') :]
    assert {damage.pointer for damage in damages_of(swapped)} >= {"/signatures/0/sig"}


# what was signed, and is wrong all the same


def _signed(facts: dict[str, Any]) -> bytes:
    return signed_file(Statement.model_validate_json(json.dumps(facts)), signer())


def _rechained(rows: list[dict[str, Any]]) -> None:
    """Hash rows anew, as one would who has changed one of them."""
    last = rows[0]["prev_hash"]
    for row in rows:
        row["prev_hash"], row["hash"] = last, row_hash(last, row)
        last = row["hash"]


def _cut_chain(told: dict[str, Any]) -> None:
    del told["chain"]["rows"][-2:]


def _cut_chain_with_head(told: dict[str, Any]) -> None:
    del told["chain"]["rows"][-2:]
    last = told["chain"]["rows"][-1]
    told["chain"]["head"] = {"seq": last["chain_seq"], "hash": last["hash"]}


def _rewrite_chain(told: dict[str, Any]) -> None:
    rows = told["chain"]["rows"]
    rows[3]["reason"] = "another"
    _rechained(rows)
    told["chain"]["head"]["hash"] = rows[-1]["hash"]


def _change_row(told: dict[str, Any]) -> None:
    told["chain"]["rows"][5]["operator"] = "eve"


def _change_diff(told: dict[str, Any]) -> None:
    patch = told["patches"][0]
    patch["diff"] = b64encode(b64decode(patch["diff"]).replace(b"A = 2", b"A = 3")).decode()


def _change_commit(told: dict[str, Any]) -> None:
    commit = told["patches"][0]["commit"]
    commit["object"] = b64encode(b64decode(commit["object"]) + b"\n").decode()


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        (_cut_chain, "/chain/head/seq"),
        (_cut_chain_with_head, "/chain/anchors"),
        (_rewrite_chain, "/chain/anchors/1/metadata/hash"),
        (_change_row, "/chain/rows/5/hash"),
        (_change_diff, "/patches/0/sha256"),
        (_change_commit, "/patches/0/commit/id"),
        (lambda told: told["patches"][0].update(task_id="task_gone"), "/patches/0/task_id"),
        (lambda told: told["patches"][0].update(gates=["gate_gone"]), "/patches/0/gates"),
        (lambda told: told["patches"][0].update(state="quarantined"), "/patches/0/state"),
        (lambda told: told["patches"][0].update(resolves=["y"]), "/patches/0/resolves"),
        (lambda told: told["findings"].clear(), "/findings"),
        (lambda told: told["gates"].clear(), "/gates"),
        (lambda told: told["run"].update(id="run_other"), "/chain/rows/0/run_id"),
        (lambda told: told["chain"]["anchors"].pop(), "/chain/anchors"),
    ],
)
def test_what_does_not_fit_is_named_though_it_was_signed(facts: dict[str, Any], change: Any, pointer: str) -> None:
    """Who has the key can sign anything; what is in the file must fit all the same, to the last hash."""
    change(facts["predicate"])
    found = {damage.pointer for damage in damages_of(_signed(facts))}
    assert f"/payload/predicate{pointer}" in found


def test_subjects_are_what_the_evidence_speaks_of(facts: dict[str, Any]) -> None:
    """A subject that was put in, or left out, is noticed."""
    facts["subject"].pop()
    assert [damage.pointer for damage in damages_of(_signed(facts))] == ["/payload/subject"]


def test_a_repository_that_tells_otherwise_is_noticed(run: Evidenced, tmp_path: Path, facts: dict[str, Any]) -> None:
    """Another repository has not the commit; and a diff that is not the commit's is applied to find out."""
    other = small_run(tmp_path / "shop", f"sqlite:///{tmp_path / 'canonical.db'}", text="A = 7\n")
    assert [damage.problem for damage in problems_in(other.repository, run.statement())] == [
        "the repository has no such commit"
    ]
    _change_diff(facts["predicate"])
    (damage,) = problems_in(run.repository, Statement.model_validate_json(json.dumps(facts)))
    assert damage.pointer == "/payload/predicate/patches/0/diff"


# what is not exported


def test_a_run_in_progress_has_no_evidence(tmp_path: Path) -> None:
    """Tomorrow it would be another file."""
    going = small_run(tmp_path / "shop", f"sqlite:///{tmp_path / 'canonical.db'}", ended=False)
    with pytest.raises(InvalidValue, match="one that has ended, it is running"):
        going.statement()


def test_a_trail_that_was_tampered_with_is_not_signed(tmp_path: Path) -> None:
    """The last transitions are gone: the chain is looked at before anything is exported."""
    url = f"sqlite:///{tmp_path / 'canonical.db'}"
    run = small_run(tmp_path / "shop", url)
    run.store.close()
    with sqlite3.connect(tmp_path / "canonical.db") as connection:
        connection.execute("DROP TRIGGER state_transitions_no_delete")
        connection.execute("DELETE FROM state_transitions WHERE run_id = ? AND chain_seq > 36", (run.run_id,))
    with pytest.raises(ChainBroken):
        evidence_of(open_store(url), run.run_id, run.repository)


def test_a_secret_is_not_exported(run: Evidenced) -> None:
    """What became known as one after it was written can't be taken out of the chain any more, so nothing is told."""
    facts = run.statement().predicate
    secret = facts.chain.rows[-1].event_id
    before = KNOWN._pattern, set(KNOWN._values)
    KNOWN.learn(secret)
    try:
        with pytest.raises(InvalidValue, match="known as a secret"):
            run.statement()
    finally:
        KNOWN._pattern, KNOWN._values = before


def test_without_its_repository_commits_are_named_only(run: Evidenced) -> None:
    """A stranger learns less, and nothing wrong."""
    statement = evidence_of(run.store, run.run_id, None)
    (patch,) = statement.predicate.patches
    assert patch.commit is not None
    assert patch.commit.object is None
    assert list(problems(statement)) == []
