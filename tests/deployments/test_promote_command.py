"""`acms promote`: from accepted patches of a real run to a tool that runs use first, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from commands import Acms
from driven import Planned, a_plan, a_task, repository_of, started_run
from repositories import git

from prefect_acms.blocks.config import (
    ClusteringSettings,
    DiscoverySettings,
    EnvironmentSettings,
    ExecutionSettings,
    GateSettings,
    PipelineConfig,
)
from prefect_acms.blocks.guardrails import GuardrailSettings, ReviewSettings, Untested
from prefect_acms.blocks.tool_spec import TaskKind
from prefect_acms.canonical.errors import NotPromotable
from prefect_acms.dao.store import open_store
from prefect_acms.flows.pipeline import run_pipeline
from prefect_acms.tasks.attempts import perform
from prefect_acms.tasks.codemods.cases import Rule
from prefect_acms.tasks.codemods.promoting import propose
from prefect_acms.tasks.environment import Environment, own_python
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.patterns import PatternIndex
from prefect_acms.tasks.profiles import load_profiles
from prefect_acms.tasks.sources import Scan
from prefect_acms.tasks.sources.ruff import RuffSource
from prefect_acms.tasks.works import WORKS

NAME = "codemod-ruff-e711"
BY = ("--operator", "ada", "--reason", "what we always do")
DISCOVERY = DiscoverySettings(sources=("ruff",), ruff_select=("E711",))
GATES = GateSettings(lint_enabled=False, security_enabled=False, integration_enabled=False, unit=("true",))
POLICY = GuardrailSettings(review=ReviewSettings(ai_made=False), unavailable_gates=Untested.ALLOW)
FILES = {
    "a.py": "def found(x):\n    return x == None\n",
    "b.py": "import os\n\nif os.environ.get('B') == None or os.name == None:\n    B = '=='\n",
    "c.py": "C = [1]\nD = C[0] == None\n",
    "d.py": "D = None\n",
}
MODEL = """
import pathlib, sys
for path in map(pathlib.Path, sys.argv[1:]):
    path.write_text(path.read_text().replace("== None", "is None"))
"""
TOOLS = """
[tools.model]
command = ["{{acms_python}}", "{folder}/model.py", "{{files}}"]
ai = true

[patterns.by-model]
title = "Ask it"
sources = ["ruff"]
rules = ["E7*"]
kinds = ["implementation"]
allowed_tools = ["model"]
"""


class Promotable(NamedTuple):
    """Where a run of three accepted patches of a model is stored, and its repository."""

    url: str
    repository: Path
    tools: Path

    @property
    def options(self) -> tuple[str, ...]:
        """The store, as an option."""
        return "--database-url", self.url


@pytest.fixture(scope="module")
def promotable(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Promotable:  # noqa: ARG001 - a fixture is asked for by its name
    """A run in which a tool that stands in for a model has fixed E711 in three patches."""
    folder = tmp_path_factory.mktemp("promotable")
    own = folder / "model"
    own.mkdir()
    (own / "model.py").write_text(MODEL)
    tools = own / "tools.toml"
    tools.write_text(TOOLS.format(folder=own))
    repository = repository_of(folder / "shop", FILES)
    url = f"sqlite:///{folder}/canonical.db"
    config = PipelineConfig(
        repository=repository,
        database_url=url,
        discovery=DISCOVERY,
        clustering=ClusteringSettings(max_files=1),
        execution=ExecutionSettings(tool_files=(tools,)),
        environment=EnvironmentSettings(readable=(own,)),
        gates=GATES,
        guardrails=POLICY,
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ACMS_HOME", str(folder / "home"))
        assert run_pipeline(config).state == "succeeded"
    return Promotable(url, repository, tools)


def said(acms: Acms, *arguments: str) -> Any:
    """The JSON that a command prints."""
    called = acms("promote", *arguments, "--json")
    assert called.returncode == 0, called.stderr
    return json.loads(called.stdout)


def test_a_codemod_is_proposed_shown_and_accepted(acms: Acms, promotable: Promotable, tmp_path: Path) -> None:
    """With its evidence, what it would change now, and the operator in the trail of each patch; then runs use it."""
    options = promotable.options
    assert [(row["rule"], row["patches"], row["status"]) for row in said(acms, "list", *options)] == [
        ("ruff:E711", 3, None)
    ]
    assert [one["name"] for one in said(acms, "propose", *options)["proposed"]] == [NAME]
    assert NAME not in load_profiles()

    (promotable.repository / "e.py").write_text("E = 1 == None\n")
    git(promotable.repository, "add", "e.py")
    git(promotable.repository, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "more")
    shown = said(acms, "show", "E711", *options)
    assert [rewrite["pattern"] for rewrite in shown["codemod"]["rewrites"]] == ["$A == None"]
    assert sorted(case["path"] for case in shown["cases"]) == ["a.py", "b.py", "c.py"]
    assert [one["path"] for one in shown["elsewhere"]] == ["a.py", "b.py", "c.py", "e.py"]
    assert "+E = 1 is None" in shown["elsewhere"][3]["diff"]
    text = acms("promote", "show", NAME, *options).stdout
    assert "pattern" in text
    assert "-    return x == None\n+    return x is None" in text

    assert said(acms, "accept", NAME, *BY, *options)["status"] == "accepted"
    _works_first(promotable, tmp_path)
    with open_store(promotable.url).begin(read_only=True) as dao:
        [run] = dao.runs.latest(1)
        told = [row for row in dao.transitions.of_run(run.id) if row.trigger == "codemod_decided"]
    assert [(row.operator, row.reason) for row in told] == [("ada", "what we always do")] * 3

    assert acms("promote", "propose", "E711", *options).returncode == 2
    assert acms("promote", "accept", NAME, *BY, *options).returncode == 2
    assert said(acms, "revoke", NAME, *BY, *options)["status"] == "revoked"
    assert NAME not in load_profiles()
    assert [one["status"] for one in said(acms, "list", *options)] == ["revoked"]
    assert [one["name"] for one in said(acms, "propose", *options)["proposed"]] == [NAME]


def _works_first(promotable: Promotable, folder: Path) -> None:
    """In another repository the codemod gets the gaps, before the model that had them, and fixes them."""
    repository = repository_of(folder / "other", {"x.py": "X = {'{}': [0]}\nY = X['{}'] == None\n"})
    drive = started_run(
        repository,
        f"sqlite:///{folder}/other.db",
        discovery=DISCOVERY,
        execution=ExecutionSettings(tool_files=(promotable.tools,)),
        gates=GATES,
    )
    gaps = _gaps_in(repository)
    pattern = drive.patterns.for_gap(gaps[0])
    assert pattern is not None
    assert pattern.allowed_tools == (NAME, "model")
    task = a_task("ws-01/one", gaps, kind=TaskKind.IMPLEMENTATION, pattern_id=pattern.id)
    planned = Planned(drive, a_plan(drive, [task], gaps))
    done = perform(drive, planned.queued("ws-01/one").id, lambda row: WORKS[TaskKind.IMPLEMENTATION](drive, row))
    assert (done.state, done.tool_id) == ("completed", NAME), done.info
    branch = planned.workstream("ws-01").branch
    assert git(repository, "show", f"{branch}:x.py") == "X = {'{}': [0]}\nY = X['{}'] is None\n"


def _gaps_in(repository: Path) -> tuple[Gap, ...]:
    scan = Scan(root=repository, environment=Environment(own_python()), settings=DISCOVERY, timeout_sec=60)
    return RuffSource().discover(scan).gaps


def test_a_rejected_codemod_is_used_by_nobody(acms: Acms, promotable: Promotable) -> None:
    """Nor is one that nobody has answered; it may be proposed again, and remembers who has said no."""
    options = promotable.options
    said(acms, "propose", "ruff:E711", *options)
    assert said(acms, "reject", NAME, *BY, *options)["status"] == "rejected"
    assert NAME not in load_profiles()
    assert NAME not in [pattern.id for pattern in PatternIndex.load()]
    [again] = said(acms, "propose", "ruff:E711", *options)["proposed"]
    assert (again["status"], [one["status"] for one in again["decisions"]]) == ("proposed", ["rejected"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("propose", "F999"), "unknown rule fixed by AI tools 'F999': expected one of ['ruff:E711']"),
        (("show", "nothing"), "unknown codemod 'nothing': expected one of []"),
        (("accept", "nothing", *BY), "unknown codemod 'nothing'"),
        (("accept", "nothing"), "Missing option '--operator'"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    acms: Acms, promotable: Promotable, arguments: tuple[str, ...], sentence: str
) -> None:
    """Exit code 2, and nothing is changed."""
    called = acms("promote", *arguments, *promotable.options)
    assert (called.returncode, called.stdout) == (2, "")
    assert sentence in called.stderr


def test_patches_that_are_taken_back_speak_for_nothing(acms: Acms, promotable: Promotable, acms_home: Path) -> None:
    """A proposal that rests on one can't be accepted any more, and two patches are too few for a new one."""
    options = promotable.options
    said(acms, "propose", *options)
    store = open_store(promotable.url)
    with store.begin(read_only=True) as dao:
        entry = dao.ledger.committed()[0]
    back = acms("rollback", entry.patch_id, *BY, "--yes", *options)
    assert back.returncode == 0, back.stderr
    assert said(acms, "list", *options)[0]["taken_back"] == [entry.patch_id]
    refused = acms("promote", "accept", NAME, *BY, *options)
    assert (refused.returncode, "in 2 accepted patches, it takes 3" in refused.stderr) == (2, True)
    assert not list((acms_home / "codemods").glob("*.toml"))
    with pytest.raises(NotPromotable):
        propose(store, Rule("ruff", "E711"))
