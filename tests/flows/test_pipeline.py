"""The whole pipeline on real repositories: what it fixes, what it leaves, and that every record of it agrees."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from faults import until
from prefect_side import edges, state_of
from repositories import Committed, Ran, fingerprint_of, git

from prefect_acms.blocks.config import (
    DiscoverySettings,
    EnvironmentSettings,
    ExecutionSettings,
    GateSettings,
    Mode,
    PipelineConfig,
)
from prefect_acms.canonical.errors import BadInput, DirtyTree, InvalidDocument, InvalidValue, UnknownName
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.dao.audit import verify
from prefect_acms.dao.store import open_store
from prefect_acms.flows.pipeline import run_pipeline
from prefect_acms.tasks.environment import environment_for
from prefect_acms.tasks.evidence import evidence_of
from prefect_acms.tasks.evidence_checks import problems
from prefect_acms.tasks.evidence_commits import problems_in
from prefect_acms.tasks.evidence_file import open_file, signed_file
from prefect_acms.tasks.evidence_keys import signer
from prefect_acms.tasks.pytest_runs import find_pytest, run_pytest
from prefect_acms.tasks.repository import Repository

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_the_demo_repository_is_improved(demo_run: Ran) -> None:
    """Most gaps are resolved, each by a commit on the result branch; the rest is deferred with a reason."""
    outcome = demo_run.outcome
    assert outcome.state == "succeeded"
    assert outcome.exit_code == 1  # some gaps can't be fixed by a tool
    assert outcome.resolved > outcome.deferred > 0
    assert outcome.branch is not None
    with demo_run.store.begin(read_only=True) as dao:
        gaps = dao.gaps.of_run(outcome.run_id)
    assert {gap.state for gap in gaps} == {"resolved", "deferred"}
    assert all(gap.deferred_reason for gap in gaps if gap.state == "deferred")
    assert len(gaps) == outcome.found == outcome.resolved + outcome.deferred


def test_the_failing_test_passes_on_the_result_branch(demo_run: Ran, tmp_path: Path) -> None:
    """The tests of the result, run by nobody but pytest, are green; at the base commit one was red."""
    checkout = tmp_path / "result"
    demo_run.git("worktree", "add", "-q", "--detach", str(checkout), str(demo_run.outcome.branch))
    try:
        environment = environment_for(checkout, demo_run.repository, EnvironmentSettings())
        run = run_pytest(find_pytest(checkout, environment), checkout, environment, timeout_sec=120)
    finally:
        demo_run.git("worktree", "remove", "--force", str(checkout))
    assert run.process.exit_code == 0
    assert len(run.tests) > 5


def test_the_users_own_things_are_byte_for_byte_the_same(demo_run: Ran) -> None:
    """Branch, index, tree, stash, hooks and config are untouched; only refs under acms/ and .acms_runs are new."""
    assert fingerprint_of(demo_run.repository) == demo_run.before
    assert demo_run.git("status", "--porcelain") == ""
    refs = demo_run.git("for-each-ref", "--format=%(refname)").split()
    ours = ("refs/heads/acms/", "refs/acms/kept/")
    assert {ref for ref in refs if not ref.startswith(ours)} == {"refs/heads/main", "refs/stash"}
    assert demo_run.git("worktree", "list", "--porcelain").count("worktree ") == 1
    assert not (demo_run.repository / ".git/worktrees").exists()


def test_the_guilty_part_is_quarantined_with_its_evidence_and_the_rest_goes_in(demo_run: Ran) -> None:
    """A patch that fails a gate is split until the guilty part stands alone; it names the test that it broke."""
    with demo_run.store.begin(read_only=True) as dao:
        entries = dao.ledger.of_run(demo_run.outcome.run_id)
        patches = {entry.id: dao.patches.get(entry.patch_id) for entry in entries}
    quarantined = [entry for entry in entries if entry.state == "quarantined"]
    assert [patches[entry.id].files for entry in quarantined] == [["src/corner_shop/pricing.py"]]
    assert "tests/test_receipt.py" in str(quarantined[0].quarantine_reason)
    assert (quarantined[0].quarantine_metadata or {})["gates"]
    replaced = [entry for entry in entries if entry.state == "dropped"]
    assert replaced
    assert quarantined[0].supersedes in {entry.id for entry in replaced}
    assert {entry.state for entry in entries} == {"committed", "quarantined", "dropped"}


def test_each_patch_is_committed_once_with_its_trailers(demo_run: Ran) -> None:
    """A commit names its run, its patch and its gaps, and its diff is the stored one."""
    with demo_run.store.begin(read_only=True) as dao:
        entries = [entry for entry in dao.ledger.of_run(demo_run.outcome.run_id) if entry.state == "committed"]
        contents = {str(entry.commit_sha): dao.patches.get(entry.patch_id) for entry in entries}
    on_branch = demo_run.git("rev-list", "--no-merges", f"main..{demo_run.outcome.branch}").split()
    assert sorted(on_branch) == sorted(contents)
    for commit, patch in contents.items():
        trailers = demo_run.git("log", "-1", "--format=%(trailers)", str(commit))
        assert f"ACMS-Run: {demo_run.outcome.run_id}" in trailers
        assert f"ACMS-Patch: {patch.id}" in trailers
        assert "ACMS-Gap: " in trailers
        diff = demo_run.git("diff", "--full-index", "--no-renames", "--binary", f"{commit}^", str(commit))
        changed = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in {"+++", "---"}]
        stored = patch.content.decode().splitlines()
        assert changed == [line for line in stored if line[:1] in "+-" and line[:3] not in {"+++", "---"}]


def test_every_row_of_a_finished_run_has_ended_and_the_trail_verifies(demo_run: Ran) -> None:
    """No task, workstream, worker, process or gate is left in the middle; the chain is whole."""
    run_id = demo_run.outcome.run_id
    with demo_run.store.begin(read_only=True) as dao:
        rows = [
            *dao.tasks.of_run(run_id),
            *dao.workstreams.of_run(run_id),
            *dao.workers.of_run(run_id),
            *dao.uet_workers.of_run(run_id),
            *dao.test_gates.of_run(run_id),
            *dao.gaps.of_run(run_id),
        ]
        phases = dao.phases.of_run(run_id)
    assert [row.id for row in rows if row.state not in MACHINES[row.machine.entity].terminal] == []
    assert [phase.name for phase in phases] == [
        "configure",
        "discovery",
        "clustering",
        "planning",
        "execution",
        "summary",
    ]
    assert {phase.outcome for phase in phases} == {"completed"}
    assert verify(demo_run.store).ok


def test_the_evidence_of_the_run_is_intact(demo_run: Ran) -> None:
    """Each committed patch has its proof and a gate that passed, and gives the tree of its commit when applied."""
    repository = Repository.open(demo_run.repository)
    statement = evidence_of(demo_run.store, demo_run.outcome.run_id, repository)
    opened = open_file(signed_file(statement, signer()), signer().public_key)
    assert opened.holds
    assert [*problems(statement), *problems_in(repository, statement)] == []
    told = statement.predicate
    committed = [patch for patch in told.patches if patch.state == "committed"]
    assert all(patch.proof and patch.resolves for patch in committed)
    called = {call.tool: call for task in told.tasks for call in task.calls}
    assert called["ruff-fix"].version == told.run.versions["ruff"]


def test_the_outbox_holds_what_the_database_holds(demo_run: Ran) -> None:
    """transitions.jsonl has every transition of the run, in the order of the chain."""
    with demo_run.store.begin(read_only=True) as dao:
        rows = dao.transitions.of_run(demo_run.outcome.run_id)
    lines = (Path(demo_run.outcome.folder) / "transitions.jsonl").read_text().splitlines()
    assert [json.loads(line)["event_id"] for line in lines] == [row.event_id for row in rows]


def test_prefect_says_what_the_canonical_run_says(demo_run: Ran) -> None:
    """The final Prefect state is derived from the canonical one."""
    with demo_run.store.begin(read_only=True) as dao:
        run = dao.runs.get(demo_run.outcome.run_id)
    assert run.prefect_flow_run_id is not None
    state = state_of(run.prefect_flow_run_id)
    expected = "Degraded" if run.info.get("degraded") else "Completed"
    assert (state.type.value, state.name) == ("COMPLETED", expected)


def test_the_graph_of_the_run_shows_which_task_waited_for_which(demo_run: Ran) -> None:
    """A box a task, called by what it does, with an arrow from each task of its workstream that it waited for."""
    with demo_run.store.begin(read_only=True) as dao:
        run, tasks = dao.runs.get(demo_run.outcome.run_id), dao.tasks.of_run(demo_run.outcome.run_id)
        waited = {
            (upstream.description, task.description)
            for task in tasks
            for upstream in dao.tasks.dependencies(task.id)
            if upstream.workstream_id == task.workstream_id and task.started_at and upstream.started_at
        }
    assert len(waited) > 1
    flow_run_id = str(run.prefect_flow_run_id)
    until(lambda: waited <= asyncio.run(edges(flow_run_id)), "Prefect has written the tasks down, with their edges")


def test_the_reports_are_written_and_agree_with_the_outcome(demo_run: Ran) -> None:
    """summary.json, summary.md and report.html lie in the run's folder, which ignores itself."""
    folder = Path(demo_run.outcome.folder)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["counts"]["resolved"] == demo_run.outcome.resolved
    assert demo_run.outcome.run_id in (folder / "summary.md").read_text()
    page = (folder / "report.html").read_text()
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert (folder.parent / ".gitignore").read_text() == "*\n"


LINTED = {
    "app.py": "import os\nimport sys\n\n\ndef go():\n    return sys.argv\n",
    "test_app.py": "def test_a():\n    pass\n",
}


def test_analyze_changes_nothing_and_plan_only_plans(committed: Committed, canonical_url: str) -> None:
    """analyze_only finds; plan_only compiles a plan, stores it and executes nothing of it."""
    repository = committed(LINTED)
    before = fingerprint_of(repository)
    found = run_pipeline(PipelineConfig(repository=repository, mode=Mode.ANALYZE_ONLY, database_url=canonical_url))
    assert (found.state, found.exit_code, found.found, found.branch) == ("succeeded", 0, 1, None)
    planned = run_pipeline(PipelineConfig(repository=repository, mode=Mode.PLAN_ONLY, database_url=canonical_url))
    assert (planned.state, planned.exit_code, planned.branch) == ("succeeded", 0, None)
    assert json.loads((Path(planned.folder) / "plan.json").read_text())["tasks"]
    assert fingerprint_of(repository) == before


def test_a_plan_is_the_same_bytes_each_time_and_can_be_executed(committed: Committed, canonical_url: str) -> None:
    """Same repository, same configuration, same plan; a stored one is executed by its run's id or from its file."""
    repository = committed(LINTED)
    config = PipelineConfig(repository=repository, mode=Mode.PLAN_ONLY, database_url=canonical_url)
    one, two = run_pipeline(config), run_pipeline(config)
    plan = (Path(one.folder) / "plan.json").read_bytes()
    assert plan == (Path(two.folder) / "plan.json").read_bytes()
    execute = config.model_copy(update={"mode": Mode.EXECUTE_ONLY, "plan": one.run_id})
    done = run_pipeline(execute)
    assert (done.state, done.exit_code, done.resolved) == ("succeeded", 0, 1)
    assert git(repository, "show", f"{done.branch}:app.py").startswith("import sys")
    again = run_pipeline(execute.model_copy(update={"plan": str(Path(two.folder) / "plan.json")}))
    assert again.resolved == 1


def test_a_plan_for_another_commit_is_refused(committed: Committed, canonical_url: str) -> None:
    """A plan is executed on the commit that it was made for, or not at all."""
    repository = committed(LINTED)
    config = PipelineConfig(repository=repository, mode=Mode.PLAN_ONLY, database_url=canonical_url)
    planned = run_pipeline(config)
    (repository / "new.py").write_text("")
    git(repository, "add", "-A")
    git(repository, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "second")
    with pytest.raises(InvalidDocument, match="plan again"):
        run_pipeline(config.model_copy(update={"mode": Mode.EXECUTE_ONLY, "plan": planned.run_id}))


def test_nothing_found_ends_well_without_a_branch(committed: Committed, canonical_url: str) -> None:
    """A clean repository: exit code 0, no branch, no commit."""
    repository = committed({"app.py": "VALUE = 1\n", "test_app.py": "def test_a():\n    pass\n"})
    outcome = run_pipeline(PipelineConfig(repository=repository, database_url=canonical_url))
    assert (outcome.state, outcome.exit_code, outcome.found, outcome.branch) == ("succeeded", 0, 0, None)


def test_a_repository_without_tests_is_judged_by_lint_alone(committed: Committed, canonical_url: str) -> None:
    """A gate that can't run at the base commit does not judge; for a deterministic tool LINT suffices."""
    repository = committed({"app.py": "import os\n"})
    outcome = run_pipeline(PipelineConfig(repository=repository, database_url=canonical_url))
    assert (outcome.exit_code, outcome.resolved) == (0, 1)


def test_a_repository_that_is_red_already_can_be_improved(committed: Committed, canonical_url: str) -> None:
    """Only new failures count: a test that failed at the base commit may go on failing."""
    repository = committed({**LINTED, "test_red.py": "def test_red():\n    raise AssertionError\n"})
    outcome = run_pipeline(PipelineConfig(repository=repository, database_url=canonical_url))
    assert outcome.state == "succeeded"
    assert outcome.resolved == 1
    assert outcome.deferred == 1


def test_a_tool_of_ones_own_fixes_the_gaps_of_a_report(
    committed: Committed, canonical_url: str, tmp_path: Path
) -> None:
    """A profile from a TOML file works as shipped ones do; its patch is gated, committed and recorded."""
    repository = committed({"app.py": "GREETING = 'helo'\n", "test_app.py": "def test_a():\n    pass\n"})
    report = tmp_path / "gaps.json"
    entry = {"id": "1", "title": "spelling", "source": "speller", "category": "spelling", "file_paths": ["app.py"]}
    report.write_text(json.dumps({"version": "1", "generated_at": "2026-01-01T00:00:00Z", "gaps": [entry]}))
    tools = tmp_path / "tools.toml"
    script = (
        "import pathlib, sys\n"
        "for path in map(pathlib.Path, sys.argv[1:]):\n"
        "    path.write_text(path.read_text().replace('helo', 'hello'))\n"
    )
    tools.write_text(
        f"""
[tools.speller]
command = [{json.dumps(sys.executable)}, "-c", {json.dumps(script)}, "{{files}}"]
task_kinds = ["implementation"]
deterministic = true

[patterns.spelling]
title = "Correct the spelling"
categories = ["spelling"]
kinds = ["implementation"]
allowed_tools = ["speller"]
"""
    )
    config = PipelineConfig(
        repository=repository,
        database_url=canonical_url,
        discovery=DiscoverySettings(sources=("report",), reports=(report,)),
        execution=ExecutionSettings(tool_files=(tools,)),
    )
    outcome = run_pipeline(config)
    assert git(repository, "show", f"{outcome.branch}:app.py") == "GREETING = 'hello'\n"


def test_a_tool_that_keeps_failing_is_retried_and_then_fails_its_task(
    committed: Committed, canonical_url: str, tmp_path: Path
) -> None:
    """Retries are canonical `retrying` transitions; after the last the task fails, and the run goes on."""
    repository = committed({**LINTED, "odd.py": "ODD = 1\n"})
    report = tmp_path / "gaps.json"
    entry = {"id": "1", "title": "odd", "source": "odd", "category": "odd", "file_paths": ["odd.py"]}
    report.write_text(json.dumps({"version": "1", "generated_at": "2026-01-01T00:00:00Z", "gaps": [entry]}))
    tools = tmp_path / "tools.toml"
    tools.write_text(
        f"""
[tools.broken]
command = [{json.dumps(sys.executable)}, "-c", "import sys; sys.exit(7)", "{{files}}"]
task_kinds = ["implementation"]

[patterns.odd]
title = "Make it even"
categories = ["odd"]
kinds = ["implementation"]
allowed_tools = ["broken"]
"""
    )
    config = PipelineConfig(
        repository=repository,
        database_url=canonical_url,
        discovery=DiscoverySettings(sources=("ruff", "report"), reports=(report,)),
        execution=ExecutionSettings(tool_files=(tools,)),
        resilience=PipelineConfig(repository=repository).resilience.model_copy(
            update={"max_retries": 2, "retry_base_sec": 0.01}
        ),
    )
    outcome = run_pipeline(config)
    assert (outcome.state, outcome.degraded, outcome.exit_code) == ("succeeded", True, 1)
    assert outcome.resolved == 1
    store = open_store(canonical_url)
    with store.begin(read_only=True) as dao:
        failed = [task for task in dao.tasks.of_run(outcome.run_id) if task.state == "failed" and task.attempt]
        states = [row.to_state for row in dao.transitions.of_entity("task", failed[0].id)]
    assert failed[0].retry_count == 2
    assert "exit code 7" in str(failed[0].last_error)
    assert states == [
        "pending",
        "queued",
        "running",
        "retrying",
        "queued",
        "running",
        "retrying",
        "queued",
        "running",
        "failed",
    ]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"discovery": DiscoverySettings(sources=("nonsense",))}, UnknownName),
        ({"discovery": DiscoverySettings(sources=())}, InvalidValue),
        ({"discovery": DiscoverySettings(sources=("report",))}, InvalidValue),
        ({"discovery": DiscoverySettings(reports=(Path("/nowhere.json"),))}, InvalidDocument),
        ({"gates": GateSettings(lint_enabled=False, unit_enabled=False)}, InvalidValue),
        ({"execution": ExecutionSettings(tool_files=(Path("/nowhere.toml"),))}, InvalidDocument),
        ({"mode": Mode.EXECUTE_ONLY}, InvalidValue),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    committed: Committed, canonical_url: str, change: dict[str, object], error: type[BadInput]
) -> None:
    """One clear sentence, exit code 2, and no row, folder or ref."""
    repository = committed(LINTED)
    before = fingerprint_of(repository)
    config = PipelineConfig(repository=repository, database_url=canonical_url).model_copy(update=change)
    with pytest.raises(error) as refused:
        run_pipeline(config)
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)
    assert fingerprint_of(repository) == before
    assert not (repository / ".acms_runs").exists()
    with open_store(canonical_url).begin(read_only=True) as dao:
        assert dao.runs.latest(10) == []


def test_a_dirty_tree_is_refused_unless_it_is_allowed(committed: Committed, canonical_url: str) -> None:
    """With allow_dirty the run works from HEAD, and what is not committed stays where it is."""
    repository = committed(LINTED)
    (repository / "app.py").write_text("import os\n")
    config = PipelineConfig(repository=repository, database_url=canonical_url)
    with pytest.raises(DirtyTree, match=r"app\.py"):
        run_pipeline(config)
    outcome = run_pipeline(config.model_copy(update={"allow_dirty": True}))
    assert outcome.resolved == 1
    assert (repository / "app.py").read_text() == "import os\n"
