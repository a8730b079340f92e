"""A secret never reaches what is written: canaries are planted wherever one can enter, and every output is searched."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from canaries import PARROT, canaries, files_in, forms_of, leaks
from postgresql import tables_of
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL
from pydantic import SecretStr
from repositories import git

from prefect_acms.blocks.config import (
    DiscoverySettings,
    EnvironmentSettings,
    ExecutionSettings,
    GateSettings,
    PipelineConfig,
)
from prefect_acms.blocks.workspace import Workspace
from prefect_acms.dao.redaction import HIDDEN
from prefect_acms.dao.store import Store
from prefect_acms.flows.outcome import Outcome
from prefect_acms.flows.pipeline import run_pipeline
from prefect_acms.tasks.driving import shared_store
from prefect_acms.tasks.evidence import evidence_of
from prefect_acms.tasks.evidence_file import signed_file
from prefect_acms.tasks.evidence_keys import signer
from prefect_acms.tasks.repository import Repository

TOOL = """
words = json.loads({words})
URL_PASSWORD = words.pop("password in a URL")
say([*words.values(), *sys.argv[1:2]])
import os
say([os.environ["PLAINLY_NAMED"]])
for path in map(pathlib.Path, sys.argv[2:]):
    if path.name == "fails.py":
        sys.exit(3)
    text = path.read_text().replace("helo", "hello")
    path.write_text(text + (f"TOKEN = {{words['stripe']!r}}\\n" if path.name == "leaks.py" else ""))
"""

GATE = """
words = json.loads({words})
URL_PASSWORD = words.pop("password in a URL")
say(words.values())
sys.exit(5 if sys.argv[1:] else "hello" in pathlib.Path("judged.py").read_text())
"""


class Planted(NamedTuple):
    """A run in which canaries were everywhere, and where its outputs are."""

    words: dict[str, str]
    given: Path
    home: Path
    store: Store
    repository: Path
    outcome: Outcome
    error: str
    said: str


@pytest.fixture(scope="module")
def planted(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Planted:  # noqa: ARG001 - asked for by name
    """One run of the whole pipeline, and one that ends by an exception."""
    words, top = canaries(), tmp_path_factory.mktemp("canaries")
    given, home = top / "given", top / "home"
    given.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACMS_HOME", str(home))
        patch.setenv("CANARY_API_KEY", words["variable"])
        patch.setenv("CANARY_PRIVATE_KEY", words["lines"])
        patch.setenv("CANARY_ARGUMENT_TOKEN", words["argument"])
        patch.setenv("PLAINLY_NAMED", words["tool variable"])
        Workspace(repository="https://example.org/x.git", credentials=SecretStr(words["block"]))
        repository = _repository(top / "shop", words)
        handler = _Said()
        logging.getLogger().addHandler(handler)
        try:
            outcome = run_pipeline(_config(repository, given, words, home))
            failed = run_pipeline(
                _config(repository, given, words, home, setup=(sys.executable, "parrot_gate.py", "fail"))
            )
        finally:
            logging.getLogger().removeHandler(handler)
        store = shared_store(f"sqlite:///{home / 'canonical.db'}")
        with store.begin(read_only=True) as dao:
            error = dao.runs.get(failed.run_id).error
        return Planted(words, given, home, store, repository, outcome, str(error), "\n".join(handler.lines))


class _Said(logging.Handler):
    """Everything that any logger has said."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def _repository(folder: Path, words: dict[str, str]) -> Path:
    folder.mkdir()
    for name in ("good.py", "leaks.py", "fails.py", "judged.py"):
        (folder / name).write_text("GREETING = 'helo'\n")
    # what a repository holds already is its owner's; what its programs say is ours to write down
    told = repr(json.dumps({name: word for name, word in words.items() if name != "tool variable"}))
    (folder / "parrot_tool.py").write_text(PARROT + TOOL.format(words=told))
    (folder / "parrot_gate.py").write_text(PARROT + GATE.format(words=told))
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    author = f"user.name={words['argument']}"
    git(folder, "-c", author, "-c", "user.email=a@b", "commit", "-q", "-m", f"first {words['github']}")
    git(folder, "remote", "add", "origin", f"https://joe:{words['password in a URL']}@example.org/x.git")
    return folder


def _config(
    repository: Path, given: Path, words: dict[str, str], home: Path, *, setup: tuple[str, ...] | None = None
) -> PipelineConfig:
    of_itself = {name: word for name, word in words.items() if name != "password in a URL" and "\n" not in word}
    told_of_all = " ".join([*of_itself.values(), f"https://joe:{words['password in a URL']}@example.org/"])
    entries = [
        {
            "id": name, "title": f"spelling {told_of_all}", "description": words["lines"], "source": words["github"],
            "rule_id": "SPELL", "category": category, "file_paths": [f"{name}.py"],
        }
        for name, category in (("good", "good"), ("leaks", "leaks"), ("fails", "fails"), ("judged", "judged"))
    ]  # fmt: skip
    report = given / "gaps.json"
    report.write_text(json.dumps({"version": "1", "generated_at": "2026-01-01T00:00:00Z", "gaps": entries}))
    tools = given / "tools.toml"
    command = [sys.executable, "parrot_tool.py", words["argument"], "{files}"]
    tools.write_text(
        f"""
[tools.parrot]
command = {json.dumps(command)}
task_kinds = ["implementation"]
deterministic = true
environment = ["PLAINLY_NAMED"]

[patterns.spelling]
title = "Correct the spelling"
categories = ["good", "leaks", "fails", "judged"]
kinds = ["implementation"]
allowed_tools = ["parrot"]
"""
    )
    plain = PipelineConfig(repository=repository)
    return PipelineConfig(
        repository=repository,
        database_url=f"sqlite:///{home / 'canonical.db'}",
        discovery=DiscoverySettings(sources=("report",), reports=(report,)),
        execution=ExecutionSettings(tool_files=(tools,)),
        gates=GateSettings(unit=(sys.executable, "parrot_gate.py"), lint_enabled=False),
        environment=EnvironmentSettings(setup=(setup,) if setup else ()),
        resilience=plain.resilience.model_copy(update={"max_retries": 0}),
    )


def test_the_canaries_have_been_everywhere(planted: Planted) -> None:
    """Otherwise nothing would be proved: each way out was taken, and something was hidden there."""
    outcome, store = planted.outcome, planted.store
    with store.begin(read_only=True) as dao:
        states = {dao.patches.get(entry.patch_id).files[0]: entry for entry in dao.ledger.of_run(outcome.run_id)}
        tasks = {task.file_scope[0]: task for task in dao.tasks.of_run(outcome.run_id) if task.kind == "implementation"}
        gates = dao.test_gates.of_run(outcome.run_id)
        gaps = dao.gaps.of_run(outcome.run_id)
        leaked = dao.patches.get(states["leaks.py"].patch_id)
    assert {name: entry.state for name, entry in states.items()} == {
        "good.py": "committed",
        "leaks.py": "quarantined",
        "judged.py": "quarantined",
    }
    assert "SECRET" in str(states["leaks.py"].quarantine_reason)
    assert (HIDDEN.encode() in leaked.content, leaked.info["redacted"]) == (True, True)
    assert HIDDEN in str(tasks["fails.py"].last_error)
    (call,) = tasks["good.py"].info["transcripts"]
    assert HIDDEN in call["argv"]
    assert min(call["stdout"].count(HIDDEN), call["stderr"].count(HIDDEN)) > len(planted.words)
    units = [gate for gate in gates if gate.gate_type == "UNIT"]
    assert units
    assert all(HIDDEN in str(gate.stdout) for gate in units)
    assert all(HIDDEN in gap.title and gap.source == HIDDEN for gap in gaps)
    assert HIDDEN in planted.error
    assert leaks(planted.words, files_in(planted.given, planted.repository))


def test_a_canary_is_found_in_every_form() -> None:
    """The search itself works: by each form, at each alignment."""
    for word in canaries().values():
        forms = forms_of(word)
        assert len(forms) >= 4
        assert all(leaks({"it": word}, [("out", b"<" + form + b">")]) == ["it in out"] for form in forms)


def test_no_file_of_ours_holds_a_canary(planted: Planted) -> None:
    """The database with its write-ahead log, the home folder, the run's folder: byte by byte."""
    searched = dict(files_in(planted.home, planted.repository / ".acms_runs"))
    names = {Path(name).name for name in searched}
    assert names >= {
        "canonical.db",
        "canonical.db-wal",
        "transitions.jsonl",
        "summary.json",
        "summary.md",
        "report.html",
    }
    assert leaks(planted.words, searched.items()) == []


def test_no_commit_or_branch_of_ours_holds_a_canary(planted: Planted) -> None:
    """Messages, authors, names of refs, and what was changed."""
    refs = git(planted.repository, "for-each-ref", "--format=%(refname)", "refs/heads/acms", "refs/acms").split()
    told = git(planted.repository, "log", "-p", "--format=fuller", *refs, "^main")
    assert "ACMS-Run" in told
    repository = Repository.open(planted.repository)
    message = "\n".join(["Fix it", "", *planted.words.values()])
    made = repository.commit_tree(repository.tree_of("main"), ["main"], message, planted.store.clock())
    assert HIDDEN in repository.message(made)
    words = {
        name: word for name, word in planted.words.items() if name != "password in a URL"
    }  # which stands alone here
    assert leaks(words, [("message", repository.message(made).encode())]) == []
    assert leaks(planted.words, [("log", told.encode()), ("refs", "\n".join(refs).encode())]) == []


def _prefect_database() -> dict[str, bytes]:
    """What the server has stored: its tables as text, or the files of its SQLite database byte by byte."""
    url = PREFECT_SERVER_DATABASE_CONNECTION_URL.value()
    if url.startswith("postgresql"):
        return dict(tables_of(url.replace("+asyncpg", "")))
    return dict(files_in(Path(url.partition(":///")[2]).parent))


def test_prefect_is_told_no_canary(planted: Planted) -> None:
    """All of its database: states, parameters, names, logs, artifacts."""
    searched = dict(files_in(Path(os.environ["PREFECT_HOME"]))) | _prefect_database()
    assert any(planted.outcome.run_id.encode() in content for content in searched.values())
    assert any(HIDDEN.encode() in content for content in searched.values())
    assert leaks(planted.words, searched.items()) == []

    async def state_messages() -> list[str]:
        async with get_client() as client:
            return [str(run.state and run.state.message) for run in await client.read_flow_runs()]

    assert any(HIDDEN in message for message in asyncio.run(state_messages()))


def test_nothing_that_is_said_holds_a_canary(planted: Planted, capfd: pytest.CaptureFixture[str]) -> None:
    """Log records of every logger, the error of the run that failed, and what stands on the terminal."""
    said = capfd.readouterr()
    outputs = {"logs": planted.said, "error": planted.error, "stdout": said.out, "stderr": said.err}
    assert planted.said
    assert leaks(planted.words, [(name, text.encode()) for name, text in outputs.items()]) == []


def test_the_evidence_holds_no_canary(planted: Planted) -> None:
    """In the file, in its payload, in the diffs and commits in it."""
    statement = evidence_of(planted.store, planted.outcome.run_id, Repository.open(planted.repository))
    parts = {"file": signed_file(statement, signer()), "payload": statement.payload()}
    for patch in statement.predicate.patches:
        parts |= {patch.id: patch.content() or b"", f"commit of {patch.id}": _commit_of(patch)}
    assert leaks(planted.words, parts.items()) == []


def _commit_of(patch: object) -> bytes:
    commit = getattr(patch, "commit", None)
    return b"" if commit is None else commit.content() or b""
