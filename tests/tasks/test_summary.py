"""The summary: what the store holds and what git shows, and where the two differ, git is believed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from prefect_acms.blocks.budget import BudgetLimits, BudgetSettings
from prefect_acms.canonical.errors import BudgetExceeded, NotFound
from prefect_acms.canonical.gap import GapTrigger
from prefect_acms.canonical.patch import PatchTrigger
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.canonical.task import TaskTrigger
from prefect_acms.canonical.test_gate import TestGateTrigger
from prefect_acms.canonical.worker import WorkerTrigger
from prefect_acms.canonical.workstream import WorkstreamTrigger
from prefect_acms.dao.ids import Ids
from prefect_acms.dao.store import Store, UnitOfWork, open_store
from prefect_acms.tasks.budgets import Budgets, Estimate
from prefect_acms.tasks.reports import summary_markdown
from prefect_acms.tasks.reports.html import summary_html
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.summary import build_summary
from prefect_acms.tasks.summary_model import CostRecord
from prefect_acms.tasks.usage import Usage

DIFF = b"diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-import os\n+x = 1\n"
FIXED, BROKEN, MARKED, KNOWN = (letter * 16 for letter in "abcd")
FLAGS: dict[str, Any] = {"validation_format": True, "validation_scope": True, "validation_constraints": True}


class Ticking:
    """A clock that goes on by a tenth of a second each time it is looked at."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 31, 9, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        """The next moment."""
        self.moment += timedelta(milliseconds=100)
        return self.moment


class Walk:
    """A run taken through its machines by hand: two tasks, four gaps, one patch kept and one quarantined."""

    def __init__(self, store: Store, repository: Repository) -> None:
        self.store, self.repository = store, repository
        with store.begin() as dao:
            self.run_id = self._begin(dao)
            self.tasks = self._plan(dao)
            self.gaps = self._find(dao)

    def _begin(self, dao: UnitOfWork) -> str:
        run = dao.runs.create(
            repo_root=str(self.repository.top), base_commit=self.repository.head(), mode="full", config={}
        )
        dao.runs.advance(run.id, RunTrigger.RUN_STARTED)
        self.run_id = run.id
        for name in ("configure", "discovery"):
            phase = dao.phases.create(run_id=run.id, name=name)
            dao.phases.finish(phase.id, "completed", {})
        return run.id

    def _plan(self, dao: UnitOfWork) -> list[str]:
        self.workstream = dao.workstreams.create(run_id=self.run_id, name="Style", metadata={"key": "ws-01"}).id
        first, second = (
            dao.tasks.create(
                workstream_id=self.workstream, run_id=self.run_id, kind=kind, tool_id=tool, description=kind,
                metadata={"key": f"ws-01/{kind}"},
            ).id
            for kind, tool in (("analysis", None), ("implementation", "ruff-fix"))
        )  # fmt: skip
        dao.tasks.depends(second, on=[first])
        return [first, second]

    def _find(self, dao: UnitOfWork) -> dict[str, str]:
        severities = {FIXED: "medium", BROKEN: "high", MARKED: "info", KNOWN: "low"}
        found = {
            fingerprint: dao.gaps.create(
                run_id=self.run_id, source="ruff", rule_id="F401", fingerprint=fingerprint, title="unused import",
                severity=severity, category="style", file_paths=["a.py"], start_line=1,
            ).id
            for fingerprint, severity in severities.items()
        }  # fmt: skip
        dao.gaps.advance(found[KNOWN], GapTrigger.BASELINED, deferred_reason="known before")
        taken = [found[FIXED], found[BROKEN], found[MARKED]]
        dao.gaps.advance_many(taken, GapTrigger.CLUSTERED, workstream_id=self.workstream)
        dao.gaps.advance(found[MARKED], GapTrigger.NOT_FIXABLE, deferred_reason="no tool can fix it")
        dao.gaps.advance_many(taken[:2], GapTrigger.PLAN_COMPILED)
        return found

    def work(self) -> None:
        """Carry both tasks out; the second makes two patches, of which one passes its gate."""
        with self.store.begin() as dao:
            self.worker = dao.workers.create(worker_type="thread", run_id=self.run_id).id
            dao.workers.advance(self.worker, WorkerTrigger.REGISTERED)
            dao.workstreams.advance(self.workstream, WorkstreamTrigger.TASKS_CREATED)
            self._start(dao, self.tasks[0])
            dao.workstreams.advance(self.workstream, WorkstreamTrigger.FIRST_TASK_STARTED)
            self._stop(dao, self.tasks[0])
            dao.tasks.advance(self.tasks[0], TaskTrigger.VALIDATION_PASSED)
            self._start(dao, self.tasks[1])
            dao.gaps.advance_many([self.gaps[FIXED], self.gaps[BROKEN]], GapTrigger.TASK_STARTED)
            self._stop(dao, self.tasks[1])
            self.bad = self._patch(dao, passed=False)
            self.good = self._patch(dao, passed=True, supersedes=self.bad)
            dao.tasks.change(self.tasks[1], metadata={"partial": "1 part had to be left out"})
            dao.tasks.advance(self.tasks[1], TaskTrigger.VALIDATION_PASSED)
            dao.tool_metrics.record("ruff-fix", success=True, latency_ms=400)
            dao.tool_metrics.record("ruff-fix", success=False, latency_ms=200)

    def _start(self, dao: UnitOfWork, task: str) -> None:
        dao.tasks.advance(task, TaskTrigger.SCHEDULER_ASSIGNED)
        dao.tasks.claim(task, self.worker)

    def _stop(self, dao: UnitOfWork, task: str) -> None:
        dao.tasks.advance(task, TaskTrigger.EXECUTION_COMPLETED, facts={"expected_exit_codes": [0]}, exit_code=0)
        dao.workers.advance(self.worker, WorkerTrigger.TASK_FINISHED, current_load=0)

    def _patch(self, dao: UnitOfWork, *, passed: bool, supersedes: str | None = None) -> str:
        patch = dao.patches.create(task_id=self.tasks[1], content=DIFF, files=["a.py"], lines_added=1, lines_removed=1)
        entry = dao.ledger.create(patch_id=patch.id, supersedes=supersedes).id
        dao.ledger.advance(entry, PatchTrigger.VALIDATION_PASSED, **FLAGS)
        dao.ledger.advance(entry, PatchTrigger.ACCEPTED, facts={"review_required": False})
        dao.ledger.advance(entry, PatchTrigger.APPLY_SUCCEEDED)
        gate = self._gate(dao, entry, passed=passed)
        if passed:
            dao.tasks.gate(self.tasks[1], gate, role="exit")
            dao.ledger.advance(entry, PatchTrigger.GATES_PASSED, validation_tests_passed=True)
        else:
            dao.ledger.advance(
                entry, PatchTrigger.GATES_FAILED, facts={"reverted": True}, quarantine_reason="a test fails newly"
            )
        return entry

    def _gate(self, dao: UnitOfWork, entry: str, *, passed: bool) -> str:
        gate = dao.test_gates.create(
            run_id=self.run_id, gate_type="UNIT", task_id=self.tasks[1], command=["python", "-m", "pytest", "a b"],
            metadata={"ledger_entry": entry, "judgement": "as before" if passed else "1 test fails newly"},
        ).id  # fmt: skip
        dao.test_gates.advance(gate, TestGateTrigger.GATE_STARTED)
        result: dict[str, Any] = {"stdout": "out\n", "stderr": "err\n", "duration_sec": 0.5}
        if passed:
            dao.test_gates.advance(gate, TestGateTrigger.EXPECTED_EXIT_CODE, exit_code=0, **result)
        else:
            dao.test_gates.advance(gate, TestGateTrigger.UNEXPECTED_EXIT_CODE, exit_code=1, timed_out=False, **result)
        return gate

    def commit(self, *, trailers: bool = True) -> str:
        """Put a commit on the result branch, as the merge of the workstream does."""
        head = self.repository.head()
        named = f"ACMS-Run: {self.run_id}\nACMS-Gap: {FIXED}\n" if trailers else ""
        commit = self.repository.commit_tree(
            self.repository.tree_of(head), [head], f"Fix F401\n\n{named}", self.store.clock()
        )
        self.repository.move_ref(f"refs/heads/acms/{self.run_id}", commit, None)
        return commit

    def end(self, commit: str) -> None:
        """Tell the store that the patch is committed, one gap resolved and one deferred, and end everything."""
        with self.store.begin() as dao:
            dao.ledger.advance(self.good, PatchTrigger.COMMIT_SUCCEEDED, commit_sha=commit)
            dao.gaps.advance(self.gaps[FIXED], GapTrigger.RESCAN_CLEAN, facts={"rescan_fingerprints": []})
            dao.gaps.advance(
                self.gaps[BROKEN], GapTrigger.PATCH_QUARANTINED, deferred_reason="its patch is quarantined"
            )
            dao.workstreams.advance(self.workstream, WorkstreamTrigger.ALL_TASKS_COMPLETED)
            dao.workstreams.advance(self.workstream, WorkstreamTrigger.VALIDATION_PASSED, facts={"merged": True})
            dao.runs.change(self.run_id, metadata={"degraded": True})
            dao.runs.advance(self.run_id, RunTrigger.ALL_WORKSTREAMS_COMPLETE)


@pytest.fixture
def walk(tmp_path: Path, make_repository: Callable[..., Path]) -> Walk:
    """A run whose plan is compiled and nothing is done yet, in a real repository and a real database."""
    repository = Repository.open(make_repository({"a.py": "import os\n"}))
    clock = Ticking()
    store = open_store(f"sqlite:///{tmp_path / 'canonical.db'}", clock=clock, ids=Ids(seed=7, clock=clock))
    return Walk(store, repository)


def test_a_finished_run_is_told_with_everything_that_became_of_it(walk: Walk) -> None:
    """Found, fixed, deferred and why; patches with fate, gates and proof; tools; phases."""
    walk.work()
    commit = walk.commit()
    walk.end(commit)
    told = build_summary(walk.store, walk.run_id, walk.repository)
    counts = told.counts
    assert (counts.found, counts.selected, counts.resolved, counts.deferred) == (4, 3, 1, 3)
    assert (counts.open, counts.unproven) == (0, 0)
    assert counts.by_severity == {"high": 1, "info": 1, "low": 1, "medium": 1}
    assert [(reason.reason, reason.gaps) for reason in told.reasons] == [
        ("its patch is quarantined", 1), ("known before", 1), ("no tool can fix it", 1),
    ]  # fmt: skip
    assert (told.run.state, told.run.degraded, told.run.branch) == ("succeeded", True, f"acms/{walk.run_id}")
    assert (told.run.head, told.run.repository) == (commit, str(walk.repository.top))
    assert told.run.duration_sec is not None
    assert [phase.name for phase in told.phases] == ["configure", "discovery"]


def test_gaps_are_listed_worst_first_with_the_commit_that_fixed_them(walk: Walk) -> None:
    """A reader sees first what matters most."""
    walk.work()
    commit = walk.commit()
    walk.end(commit)
    told = build_summary(walk.store, walk.run_id, walk.repository)
    assert [gap.severity for gap in told.gaps] == ["high", "medium", "low", "info"]
    assert {gap.fingerprint: gap.commit for gap in told.gaps} == {
        FIXED: commit, BROKEN: None, MARKED: None, KNOWN: None,
    }  # fmt: skip


def test_patches_are_told_with_their_fate_and_evidence(walk: Walk) -> None:
    """The kept one with its commit and what it resolves, the quarantined one with the gate that failed."""
    walk.work()
    commit = walk.commit()
    walk.end(commit)
    told = build_summary(walk.store, walk.run_id, walk.repository)
    bad, good = told.patches
    assert (bad.state, bad.reason, bad.on_branch) == ("quarantined", "a test fails newly", False)
    assert (good.state, good.reason, good.on_branch) == ("committed", None, True)
    assert (good.commit, good.resolves, good.supersedes) == (commit, (FIXED,), bad.entry_id)
    assert good.diff == DIFF.decode()
    gates = {gate.id: gate for gate in told.gates}
    assert [gates[gate].state for gate in bad.gates] == ["FAILED"]
    assert gates[bad.gates[0]].output == "out\nerr"
    assert gates[bad.gates[0]].judgement == "1 test fails newly"
    assert gates[good.gates[0]].command == "python -m pytest 'a b'"
    assert told.kept() == (good,)
    assert told.quarantined() == (bad,)


def test_tasks_workstreams_and_tools_are_told(walk: Walk) -> None:
    """The DAG with its edges, what was left out, and how the tool did."""
    walk.work()
    walk.end(walk.commit())
    told = build_summary(walk.store, walk.run_id, walk.repository)
    first, second = told.tasks
    assert (first.key, first.depends_on, second.depends_on) == ("ws-01/analysis", (), (first.id,))
    assert (second.partial, second.state) == (True, "completed")
    assert [(ws.key, ws.gaps, ws.resolved, ws.state) for ws in told.workstreams] == [("ws-01", 3, 1, "completed")]
    (tool,) = told.tools
    assert (tool.id, tool.tasks, tool.completed, tool.calls, tool.success_rate) == ("ruff-fix", 1, 1, 2, 0.5)
    assert tool.mean_latency_ms == 300


def test_a_run_tells_what_models_have_cost_and_what_each_patch_has(walk: Walk) -> None:
    """By tool and in all: what counts is on the branch; what has no known price is counted and not made up."""
    walk.work()
    walk.end(walk.commit())
    budgets = Budgets(walk.store, BudgetSettings(run=BudgetLimits(usd=1.5), call_usd=0.4))
    use = Usage(model="m", requests=2, input_tokens=900, output_tokens=100, cost_usd=Decimal("0.25"))
    for tool, used in (("ruff-fix", use), ("ruff-fix", use), ("ai", use.model_copy(update={"cost_usd": None}))):
        estimate = Estimate(tool_runs=1, tokens=1000, usd=Decimal("0.5"))
        with budgets.reserved(run_id=walk.run_id, task_id=walk.tasks[1], tool_id=tool, estimate=estimate) as held:
            held.settle(used, 1.5)
    with (
        pytest.raises(BudgetExceeded),
        budgets.reserved(run_id=walk.run_id, tool_id="ai", estimate=Estimate(usd=Decimal(1))),
    ):
        pass
    told = build_summary(walk.store, walk.run_id, walk.repository)
    fixer = CostRecord(
        calls=2, wall_sec=3, requests=4, input_tokens=1800, output_tokens=200, usd=0.5, accepted=1, usd_per_accepted=0.5
    )
    assert {tool.id: tool.cost for tool in told.tools} == {
        "ai": CostRecord(calls=1, wall_sec=1.5, requests=2, input_tokens=900, output_tokens=100, unpriced=1),
        "ruff-fix": fixer,
    }
    assert told.cost == fixer.model_copy(
        update={"calls": 3, "wall_sec": 4.5, "requests": 6, "input_tokens": 2700, "output_tokens": 300, "unpriced": 1}
    )
    assert told.over_budget == ("the run's budget of $1.5 has no room for ai, which asks for $1",)
    said = "$0.50 for 3000 tokens in 6 requests, 1 call without a known price, at least $0.50 an accepted patch (1)"
    for report in (summary_html(told), summary_markdown(told)):
        assert said in report
        assert "no room for ai" in report


def test_what_is_resolved_is_counted_from_git(walk: Walk) -> None:
    """The store says resolved, but no commit on the branch shows it: it is called unproven, and not counted."""
    walk.work()
    walk.end("f" * 40)
    told = build_summary(walk.store, walk.run_id, walk.repository)
    assert (told.counts.resolved, told.counts.unproven) == (0, 1)
    assert told.run.branch is None
    assert told.kept() == ()


def test_a_rescan_of_a_commit_on_the_branch_is_proof_too(walk: Walk) -> None:
    """A gap that another gap's fix took along is named by no trailer, but its re-scan was on the branch."""
    walk.work()
    commit = walk.commit(trailers=False)
    with walk.store.begin() as dao:
        dao.gaps.change(walk.gaps[FIXED], metadata={"proved_at": commit})
    walk.end(commit)
    assert build_summary(walk.store, walk.run_id, walk.repository).counts.resolved == 1


def test_a_merged_result_counts_when_its_branch_is_gone(walk: Walk) -> None:
    """Who merged the branch and deleted it still sees what was fixed."""
    walk.work()
    commit = walk.commit()
    walk.end(commit)
    subprocess.run(["git", "merge", "--quiet", "--ff-only", commit], cwd=walk.repository.top, check=True)
    walk.repository.delete_ref(f"refs/heads/acms/{walk.run_id}", commit)
    told = build_summary(walk.store, walk.run_id, walk.repository)
    assert (told.counts.resolved, told.run.branch) == (1, None)
    assert len(told.kept()) == 1


def test_without_the_repository_nothing_counts_as_proved(walk: Walk) -> None:
    """The repository was removed: the summary is still there, and says what it can't show."""
    walk.work()
    walk.end(walk.commit())
    told = build_summary(walk.store, walk.run_id, None)
    assert (told.counts.resolved, told.counts.unproven) == (0, 1)


def test_a_run_that_is_going_on_is_told_as_far_as_it_is(walk: Walk) -> None:
    """Nothing that has not ended has a duration, and what is not decided is open."""
    told = build_summary(walk.store, walk.run_id, walk.repository)
    assert (told.run.state, told.run.duration_sec, told.counts.open) == ("running", None, 2)
    assert [task.state for task in told.tasks] == ["pending", "pending"]


def test_every_report_can_be_written_of_real_rows(walk: Walk) -> None:
    """At any point of a run, not only at its end."""
    steps: list[Callable[[], None]] = [lambda: None, walk.work, lambda: walk.end(walk.commit())]
    for step in steps:
        step()
        told = build_summary(walk.store, walk.run_id, walk.repository)
        assert walk.run_id in summary_html(told)
        assert walk.run_id in summary_markdown(told)


def test_an_unknown_run_is_refused(walk: Walk) -> None:
    """With the id that was asked for."""
    with pytest.raises(NotFound, match="run_none"):
        build_summary(walk.store, "run_none", walk.repository)
