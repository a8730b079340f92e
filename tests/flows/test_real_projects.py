"""The whole pipeline on projects that we did not write, as their authors released them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from repositories import Ran, fingerprint_of, git

from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.dao.audit import verify
from prefect_acms.dao.store import open_store
from prefect_acms.flows.pipeline import run_pipeline

pytestmark = [pytest.mark.network, pytest.mark.usefixtures("prefect_server")]

PROJECTS = {"inflection": "0.5.1", "toolz": "1.2.0"}
"""Small ones whose source distribution holds its tests, which need nothing but pytest."""

UNREACHABLE = ("Retrying (", "HTTP error", "from versions: none", "Network is unreachable", "Name or service not known")
"""What pip says when the registry does not answer; anything else is a failure of ours."""


def downloaded(name: str, version: str, into: Path) -> Path:
    """The source distribution, by pip and so from the registry that this machine is set up for; skips without one."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", name, "--dest", str(into)),
            *("--retries", "1", "--timeout", "20", "--disable-pip-version-check", f"{name}=={version}"),
        ],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    said = done.stdout + done.stderr
    if done.returncode and any(words in said for words in UNREACHABLE):
        pytest.skip(f"the package registry can't be reached: {said.strip().splitlines()[-1]}")
    assert done.returncode == 0, said
    (archive,) = into.glob("*.tar.gz")
    return archive


def unpacked(archive: Path, into: Path) -> Path:
    """The one folder of a source distribution; members that would leave it, links among them, are refused."""
    with tarfile.open(archive) as tar:
        tar.extractall(into, filter="data")
    (folder,) = into.iterdir()
    return folder


def _as_case(name: str) -> Any:
    """The smallest one is enough for the suite."""
    return pytest.param((name, PROJECTS[name]), id=name, marks=[] if name == "inflection" else [pytest.mark.campaign])


@pytest.fixture(scope="module", params=[_as_case(name) for name in PROJECTS])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A released project in a repository of one commit, after `full`."""
    name, version = request.param
    home = tmp_path_factory.mktemp(name)
    repository = unpacked(downloaded(name, version, home / "download"), home / "source")
    git(repository, "init", "-q", "-b", "main")
    git(repository, "add", "-A")
    git(repository, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", f"{name} {version}")
    before = fingerprint_of(repository)
    store = open_store(f"sqlite:///{home}/canonical.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACMS_HOME", str(home / "acms"))
        outcome = run_pipeline(PipelineConfig(repository=repository, database_url=store.url))
    return Ran(repository, store, outcome, before)


def said_by_pytest(ran: Ran, revision: str, into: Path) -> dict[str, str]:
    """What pytest, called by nobody of ours, says of each test of a revision."""
    archive = subprocess.run(["git", "archive", revision], cwd=ran.repository, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(into, filter="data")
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider", "--junitxml", "said.xml"],
        cwd=into, env={**os.environ, "PYTHONPATH": str(into)}, check=False, capture_output=True, timeout=120,
    )  # fmt: skip
    said = {}
    for case in ET.parse(into / "said.xml").iter("testcase"):  # noqa: S314 - pytest wrote it a moment ago
        bad = [child.tag for child in case if child.tag in {"failure", "error", "skipped"}]
        said[f"{case.get('classname')}::{case.get('name')}"] = bad[0] if bad else "passed"
    return said


def test_a_real_project_is_improved(project: Ran) -> None:
    """The run succeeds, and at least one gap is resolved; every gap has a fate, every deferred one its reason."""
    outcome = project.outcome
    assert (outcome.state, outcome.error) == ("succeeded", None)
    assert outcome.resolved > 0
    assert outcome.branch is not None
    with project.store.begin(read_only=True) as dao:
        gaps = dao.gaps.of_run(outcome.run_id)
    assert {gap.state for gap in gaps} <= {"resolved", "deferred"}
    assert all(gap.deferred_reason for gap in gaps if gap.state == "deferred")


def test_the_authors_repository_is_untouched(project: Ran) -> None:
    """Working tree, index, config, hooks and every ref but ours are byte for byte the same."""
    assert fingerprint_of(project.repository) == project.before
    assert project.git("status", "--porcelain") == ""
    refs = project.git("for-each-ref", "--format=%(refname)").split()
    assert [ref for ref in refs if not ref.startswith(("refs/heads/acms/", "refs/acms/"))] == ["refs/heads/main"]


def test_every_committed_patch_is_on_the_branch(project: Ran) -> None:
    """Each commit of the ledger can be reached, and what was tested is what was committed: the trailers name it."""
    commits = set(project.git("rev-list", f"main..{project.outcome.branch}").split())
    with project.store.begin(read_only=True) as dao:
        committed = [entry for entry in dao.ledger.of_run(project.outcome.run_id) if entry.state == "committed"]
    assert committed
    for entry in committed:
        assert entry.commit_sha in commits
        trailer = project.git("log", "-1", "--format=%(trailers:key=ACMS-Patch,valueonly)", str(entry.commit_sha))
        assert trailer.strip() == entry.patch_id
    gone = [gap for gap in _resolved_by_commit(project) if gap not in commits]
    assert gone == []


def _resolved_by_commit(project: Ran) -> list[str]:
    """The commits whose trailers name a gap."""
    log = project.git("log", "--format=%H %(trailers:key=ACMS-Gap,valueonly,separator=%x20)", "--all", "--not", "main")
    return [line.split()[0] for line in log.splitlines() if len(line.split()) > 1]


def test_the_tests_of_the_result_are_as_green_as_before(project: Ran, tmp_path: Path) -> None:
    """The same tests run, and none that passed fails or is skipped; pytest itself is asked."""
    base = said_by_pytest(project, "main", tmp_path / "base")
    result = said_by_pytest(project, str(project.outcome.branch), tmp_path / "result")
    assert "passed" in base.values()
    assert base.keys() <= result.keys()
    assert {name for name, outcome in base.items() if outcome == "passed" != result[name]} == set()


def test_the_record_of_it_is_whole(project: Ran) -> None:
    """The audit trail verifies, and the outbox tells what the database tells, line for line."""
    assert verify(project.store).ok
    with project.store.begin(read_only=True) as dao:
        rows = dao.transitions.of_run(project.outcome.run_id)
    lines = (Path(project.outcome.folder) / "transitions.jsonl").read_text().splitlines()
    assert [json.loads(line)["event_id"] for line in lines] == [row.event_id for row in rows]
    assert [json.loads(line)["to_state"] for line in lines] == [row.to_state for row in rows]
