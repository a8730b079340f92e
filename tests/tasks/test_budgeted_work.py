"""Tasks and runs that are over their budget: nothing is started, what was paid for is kept, and the gaps say why."""

from __future__ import annotations

import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run

from prefect_acms.blocks.budget import BudgetLimits, BudgetSettings
from prefect_acms.blocks.config import DiscoverySettings, EnvironmentSettings, IsolationMode, ResilienceSettings
from prefect_acms.blocks.tool_spec import TaskKind, ToolSpec
from prefect_acms.canonical.budget import Amount
from prefect_acms.canonical.errors import BudgetExceeded, Superseded
from prefect_acms.canonical.outside_errors import ToolTimedOut, ToolUnavailable
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.attempts import Executed, Finished, Work, perform
from prefect_acms.tasks.bench import Bench
from prefect_acms.tasks.choices import chosen_tool, decisions_of
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.environment import Environment, environment_for
from prefect_acms.tasks.rescans import Rescanner
from prefect_acms.tasks.tool_requests import ToolRequest
from prefect_acms.tasks.tool_runs import ToolRun
from prefect_acms.tasks.tools import ToolValues
from prefect_acms.tasks.usage import Usage
from prefect_acms.tasks.works import implement
from prefect_acms.tasks.worktrees import Worktree, open_worktree

KEY = "ws-01/one"
OTHER_NAME = "from typing import List\n\n\ndef f(x: List[int]) -> List[int]:\n    return x\n"


def _drive(tmp_path: Path, url: str, budget: BudgetSettings, **settings: Any) -> Drive:
    repository = repository_of(tmp_path / "repository", {"a.py": OTHER_NAME})
    return started_run(repository, url, resilience=ResilienceSettings(retry_base_sec=0.01), budget=budget, **settings)


def _planned(tmp_path: Path, url: str, budget: BudgetSettings) -> Planned:
    drive, gap = _drive(tmp_path, url, budget), a_gap("a", "a.py")
    return Planned(drive, a_plan(drive, [a_task(KEY, [gap], max_retries=2)], [gap]))


def _workplace(drive: Drive) -> tuple[Worktree, Environment]:
    path = drive.worktree("ws-01")
    tree = open_worktree(drive.repository, path, drive.base_commit)
    return tree, environment_for(path, drive.repository.top, EnvironmentSettings())


def _running(drive: Drive, profile: ToolSpec, place: tuple[Worktree, Environment] | None = None) -> Work:
    place = place or _workplace(drive)

    def work(task: TaskRow) -> Executed:
        ToolRun(drive, task, profile, *place)(ToolValues(files=("a.py",)))
        return Executed(0, Finished)

    return work


def _tool(program: str, **facts: object) -> ToolSpec:
    return ToolSpec.model_validate({"tool_id": "odd", "command": (sys.executable, "-c", program), **facts})


def _spent(drive: Drive) -> tuple[Amount, Amount]:
    with drive.reading() as dao:
        return dao.budgets.used(drive.run_id)


def test_a_tool_is_killed_when_the_time_of_its_task_is_over(tmp_path: Path, canonical_url: str) -> None:
    """It gets no more than what is left; the retry finds nothing left, is not started, and the task says so."""
    planned = _planned(tmp_path, canonical_url, BudgetSettings(task=BudgetLimits(wall_sec=1.5)))
    drive = planned.drive
    started = time.monotonic()
    row = perform(drive, planned.queued(KEY).id, _running(drive, _tool("import time; time.sleep(600)")))
    assert time.monotonic() - started < 20
    assert (row.state, row.retry_count) == ("failed", 1)
    assert row.last_error == "the task's budget of 1.5 s of work has no room for odd, which asks for 600 s of work"
    with drive.reading() as dao:
        assert len(dao.uet_workers.of_run(drive.run_id)) == 1
    spent, reserved = _spent(drive)
    assert (spent.tool_runs, reserved) == (1, Amount())
    assert 1.5 <= spent.wall_sec < 15


def test_a_model_that_tells_nothing_of_its_use_counts_as_what_was_set_aside(tmp_path: Path, canonical_url: str) -> None:
    """And one that could not be started has used up nothing at all."""
    budget = BudgetSettings(run=BudgetLimits(tokens=100, usd=1), call_tokens=60, call_usd=0.25)
    planned = _planned(tmp_path, canonical_url, budget)
    drive, task = planned.drive, planned.running(KEY)
    place = _workplace(drive)
    work = _running(drive, _tool("", ai=True), place)
    with pytest.raises(ToolUnavailable):
        _running(drive, ToolSpec(tool_id="gone", command=("/nowhere/agent",), ai=True), place)(task)
    assert _spent(drive) == (Amount(), Amount())
    work(task)
    assert _spent(drive)[0].tokens == 60
    assert _spent(drive)[0].usd == Decimal("0.25")
    with pytest.raises(BudgetExceeded, match="the run's budget of 100 tokens has no room for odd, which asks for 60"):
        work(task)


def test_what_a_tool_says_of_its_use_is_what_counts(tmp_path: Path, canonical_url: str) -> None:
    """It writes it to the file that it is told; the rest of what was set aside comes back."""
    pytest.importorskip("genai_prices", reason="it knows the price of the model")
    planned = _planned(tmp_path, canonical_url, BudgetSettings(run=BudgetLimits(tokens=60_000), call_tokens=50_000))
    drive, task = planned.drive, planned.running(KEY)
    used = {"model": "gpt-4o", "provider": "openai", "requests": 1, "input_tokens": 1000, "output_tokens": 100}
    writes = f"import json, sys; json.dump({used}, open(sys.argv[1], 'w'))".replace("{", "{{").replace("}", "}}")
    command = (sys.executable, "-c", writes, "{usage}")
    place = _workplace(drive)
    run = ToolRun(drive, task, ToolSpec(tool_id="odd", command=command, ai=True), *place)
    for _ in range(2):
        run(ToolValues(request=ToolRequest(task_id=task.id)))
    with drive.reading() as dao:
        entries = dao.budgets.of_run(drive.run_id)
    assert [entry.amount.tokens for entry in entries] == [1100, 1100]
    assert [entry.amount.usd for entry in entries] == [Decimal("0.0035")] * 2
    assert entries[0].info == {**used, "cached_tokens": 0, "is_priced": True}
    assert entries[0].task_id == task.id


def test_a_model_that_was_killed_counts_as_what_was_set_aside(tmp_path: Path, canonical_url: str) -> None:
    """What it told before was told before it asked once more: of the request that was cut off nobody knows."""
    budget = BudgetSettings(task=BudgetLimits(wall_sec=3), call_tokens=60, call_usd=0.25)
    planned = _planned(tmp_path, canonical_url, budget)
    drive, task = planned.drive, planned.running(KEY)
    told = Usage(model="gpt-4o", provider="openai", requests=1, input_tokens=7).model_dump_json()
    writes = f"import sys, time; open(sys.argv[1], 'w').write({told!r}); time.sleep(600)"
    command = (sys.executable, "-c", writes.replace("{", "{{").replace("}", "}}"), "{usage}")
    run = ToolRun(drive, task, ToolSpec(tool_id="odd", command=command, ai=True), *_workplace(drive))
    with pytest.raises(ToolTimedOut):
        run(ToolValues(request=ToolRequest(task_id=task.id)))
    with drive.reading() as dao:
        (entry,) = dao.budgets.of_run(drive.run_id)
    assert (entry.amount.tokens, entry.amount.usd, entry.info) == (60, Decimal("0.25"), {"is_priced": False})


def test_what_a_superseded_driver_has_spent_is_spent(tmp_path: Path, canonical_url: str) -> None:
    """Another driver takes the run over while a model works: what it has used up counts, and no run of it is lost."""
    planned = _planned(tmp_path, canonical_url, BudgetSettings(call_tokens=60))
    drive, task = planned.drive, planned.running(KEY)
    takes_over = (
        "from prefect_acms.dao.store import open_store\n"
        f"with open_store({drive.store.url!r}).begin() as dao: dao.runs.take_over({drive.run_id!r})"
    )
    tree, _ = _workplace(drive)
    bare = environment_for(tree.path, drive.repository.top, EnvironmentSettings(isolation=IsolationMode.OFF))
    with pytest.raises(Superseded):
        _running(drive, _tool(takes_over, ai=True), (tree, bare))(task)
    spent, reserved = _spent(drive)
    assert (spent.tool_runs, spent.tokens, reserved) == (1, 60, Amount())


def test_what_was_paid_for_is_judged_though_there_is_no_room_for_more(tmp_path: Path, canonical_url: str) -> None:
    """The fix leaves an import that is not used, for which the tool would be run again: the first fix is captured."""
    budget = BudgetSettings(task=BudgetLimits(tool_runs=1))
    discovery = DiscoverySettings(sources=("ruff",), ruff_select=("UP006", "F401"))
    drive = _drive(tmp_path, canonical_url, budget, discovery=discovery)
    gaps = Rescanner(drive, *_workplace(drive), ("ruff",)).found(["a.py"])
    fix = a_task(KEY, gaps, kind=TaskKind.IMPLEMENTATION, pattern_id="lint-fix")
    planned = Planned(drive, a_plan(drive, [fix], gaps))
    task = planned.running(KEY)
    executed = implement(drive, task)
    with drive.begin() as dao:
        executed.store(dao)
        (patch,) = dao.patches.of_task(task.id)
    assert b"+def f(x: list[int]) -> list[int]:" in patch.content
    assert b"-from typing" not in patch.content
    with pytest.raises(ToolUnavailable, match="no allowed tool that has not been tried"):
        chosen_tool(Bench.of(drive, planned.task(KEY)), tried=("ruff-fix",))
    (decision,) = decisions_of(planned.task(KEY))
    assert (decision.tool_id, decision.rule, decision.risk) == ("ruff-fix", "cascade", "low")
    assert decision.offered == ("ruff-fix", "ruff-fix-unsafe")
