"""What the metrics say of a store: counted from the trail, each row once, whoever counts and however often."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from contextlib import AbstractContextManager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from breakers import SETTINGS, SetClock, let_fail
from operated import Rows, verified_patch
from prometheus_client import CollectorRegistry

from prefect_acms.blocks.budget import BudgetLimits, BudgetSettings
from prefect_acms.canonical.budget import Amount
from prefect_acms.canonical.clock import system_clock
from prefect_acms.canonical.errors import BudgetExceeded
from prefect_acms.canonical.events import Notice
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.patch import PatchTrigger
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.canonical.task import TaskTrigger
from prefect_acms.canonical.test_gate import TestGateTrigger
from prefect_acms.canonical.uet_worker import UetWorkerTrigger
from prefect_acms.dao import migration
from prefect_acms.dao.store import Store
from prefect_acms.tasks import metrics_trail
from prefect_acms.tasks.breakers import ToolBreakers
from prefect_acms.tasks.budgets import Budgets, Estimate, Reservation
from prefect_acms.tasks.metrics import MEASURES
from prefect_acms.tasks.metrics_collector import StoreCollector
from prefect_acms.tasks.overrides import override
from prefect_acms.tasks.reviews import ask_review
from prefect_acms.tasks.usage import Usage

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scraped(collector: StoreCollector) -> Samples:
    """Every sample of one answer."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in collector.collect()
        for sample in family.samples
    }


def value(samples: Samples, name: str, labels: Mapping[str, str] | None = None) -> float:
    """One of them."""
    return samples[name, tuple(sorted((labels or {}).items()))]


def changed(samples: Samples, entity: str, start: str, to: str) -> float:
    """How often an entity went from one state to another, by whatever trigger."""
    wanted = {("entity", entity), ("from", start), ("to", to)}
    return sum(n for (name, labels), n in samples.items() if name == "state_transitions_total" and wanted < set(labels))


def counted_only(samples: Samples) -> Samples:
    """Without what is of the moment."""
    kept = {measure.name for measure in MEASURES if measure.kind != "gauge"}
    return {key: n for key, n in samples.items() if re.sub(r"_(bucket|sum|count)$", "", key[0]) in kept}


@pytest.fixture
def collector(store: Store) -> StoreCollector:
    return StoreCollector(store.url)


@pytest.mark.usefixtures("store")
def test_every_legal_change_is_there_before_it_happens(collector: StoreCollector) -> None:
    """From 0 on: Prometheus sees no increase in a series that begins at 1, and a first rollback would go unseen."""
    samples = scraped(collector)
    edges = {
        (name, str(state), str(edge.target), str(trigger))
        for name, machine in MACHINES.items()
        for state, edges in machine.table.items()
        for edge in edges
        for trigger in edge.triggers
    }
    created = {(name, "", str(machine.initial), "created") for name, machine in MACHINES.items()}
    told = {
        tuple(dict(labels)[part] for part in ("entity", "from", "to", "trigger")): number
        for (name, labels), number in samples.items()
        if name == "state_transitions_total"
    }
    assert told == dict.fromkeys(edges | created, 0)
    assert value(samples, "manual_state_overrides_total", {"action": "rollback-patch"}) == 0
    assert value(samples, "acms_patches_total", {"fate": "rolled_back"}) == 0


def test_states_are_those_of_the_rows(collector: StoreCollector, store: Store) -> None:
    """The gauge comes from the trail, and is what the tables say."""
    rows = Rows(store)
    rows.running(rows.stream())
    rows.task(rows.stream(), queued=True)
    samples = scraped(collector)
    with store.begin(read_only=True) as dao:
        for table, entity in (("tasks", "task"), ("workstreams", "workstream"), ("runs", "run"), ("workers", "worker")):
            query = f"SELECT state, count(*) FROM {table} GROUP BY state"  # noqa: S608 - our own names
            for state, number in dao.connection.exec_driver_sql(query):
                assert value(samples, "entity_state", {"entity": entity, "state": state}) == number
    assert value(samples, "acms_queue_depth", {"state": "queued"}) == 1
    assert value(samples, "acms_queue_depth", {"state": "pending"}) == 2


def test_the_time_in_a_state_is_that_of_the_state_left(
    collector: StoreCollector, store: Store, clock: SetClock
) -> None:
    """Over two reads too; a notice is no change, and ends no stay. An upper bound is part of its bucket."""
    rows = Rows(store)
    stream = rows.stream()
    task = rows.task(stream)
    clock.pass_by(30)
    scraped(collector)
    with store.begin() as dao:
        dao.tasks.note(task, Notice.ANTI_PATTERN_DETECTED, reason="odd")
    clock.pass_by(30)
    with store.begin() as dao:
        dao.tasks.advance(task, TaskTrigger.SCHEDULER_ASSIGNED)
    samples = scraped(collector)
    pending = {"entity": "task", "from": "pending"}
    assert value(samples, "state_transition_duration_seconds_count", pending) == 1
    assert value(samples, "state_transition_duration_seconds_sum", pending) == 60
    assert value(samples, "state_transition_duration_seconds_bucket", {**pending, "le": "15.0"}) == 0
    assert value(samples, "state_transition_duration_seconds_bucket", {**pending, "le": "60.0"}) == 1
    assert changed(samples, "task", "pending", "queued") == 1


def finished(store: Store, rows: Rows, clock: SetClock) -> None:
    """A task of ruff-fix that was completed, one that failed, their gates, their process, and the run's end."""
    stream = rows.stream()
    done, _ = rows.running(stream, tool_id="ruff-fix")
    failed, _ = rows.running(stream)
    with store.begin() as dao:
        process = dao.uet_workers.create(run_id=rows.run_id, worker_type="ruff-fix").id
        dao.uet_workers.advance(process, UetWorkerTrigger.SPAWN_FAILED)
        dao.tool_metrics.record("ruff-fix", success=True, latency_ms=1500)
        spent = dao.budgets.reserve(run_id=rows.run_id, tool_id="ruff-fix", amount=Amount(), hold_sec=60)
        dao.budgets.settle(spent.id, Amount(tool_runs=1))
        dao.tool_metrics.record("ruff-fix", success=False, latency_ms=500)
        dao.tasks.advance(done, TaskTrigger.EXECUTION_COMPLETED, exit_code=0, facts={"expected_exit_codes": [0]})
        dao.tasks.advance(done, TaskTrigger.VALIDATION_PASSED)
        dao.tasks.advance(failed, TaskTrigger.EXECUTION_FAILED, last_error="it broke", facts={"retryable": False})
        for trigger, took in ((TestGateTrigger.EXPECTED_EXIT_CODE, 4.0), (TestGateTrigger.TIMEOUT_EXCEEDED, 900.5)):
            gate = dao.test_gates.create(run_id=rows.run_id, task_id=done, gate_type="UNIT", command=["true"]).id
            dao.test_gates.advance(gate, TestGateTrigger.GATE_STARTED)
            late = trigger is TestGateTrigger.TIMEOUT_EXCEEDED
            said: dict[str, Any] = {"exit_code": 124 if late else 0, "stdout": "", "stderr": "", "timed_out": late}
            dao.test_gates.advance(gate, trigger, **said, duration_sec=took)
        entry = verified_patch(dao, done, b"+x\n", ["a.py"], "b" * 40)
        dao.ledger.advance(entry.id, PatchTrigger.COMMIT_SUCCEEDED, commit_sha="b" * 40)
    clock.pass_by(81.5)
    with store.begin() as dao:
        dao.runs.advance(rows.run_id, RunTrigger.RUN_CRASHED, error="it crashed")


def test_tools_gates_patches_and_what_was_spent(collector: StoreCollector, store: Store, clock: SetClock) -> None:
    """Each with the labels that the reference names."""
    finished(store, Rows(store), clock)
    samples = scraped(collector)
    kind = {"kind": "analysis"}
    assert value(samples, "acms_tasks_total", {"tool": "ruff-fix", "outcome": "completed", **kind}) == 1
    assert value(samples, "acms_tasks_total", {"tool": "none", "outcome": "failed", **kind}) == 1
    assert value(samples, "acms_tool_calls_total", {"tool": "ruff-fix", "outcome": "worked"}) == 1
    assert value(samples, "acms_tool_calls_total", {"tool": "ruff-fix", "outcome": "failed"}) == 1
    assert value(samples, "acms_tool_call_seconds_total", {"tool": "ruff-fix"}) == 2
    assert value(samples, "acms_gate_duration_seconds_sum", {"type": "UNIT", "verdict": "passed"}) == 4
    late = {"type": "UNIT", "verdict": "timed_out"}
    assert value(samples, "acms_gate_duration_seconds_sum", late) == 900.5
    assert value(samples, "acms_gate_duration_seconds_bucket", {**late, "le": "900.0"}) == 0
    assert value(samples, "acms_gate_duration_seconds_bucket", {**late, "le": "+Inf"}) == 1
    assert value(samples, "acms_patches_total", {"fate": "committed"}) == 1
    assert value(samples, "acms_spent_wall_seconds_total", {"mode": "full"}) == 81.5
    assert value(samples, "acms_spent_tool_runs_total", {"mode": "full"}) == 1


def test_a_run_spends_from_its_start_and_who_has_ended_is_forgotten(
    collector: StoreCollector, store: Store, clock: SetClock
) -> None:
    """One that was cancelled while it waited has spent nothing; a long trail doesn't fill the memory."""
    with store.begin() as dao:
        run = dao.runs.create(repo_root="/nowhere", mode="full").id
    clock.pass_by(5)
    with store.begin() as dao:
        dao.runs.advance(run, RunTrigger.USER_CANCELLED)
    assert ("acms_spent_wall_seconds_total", (("mode", "full"),)) not in scraped(collector)
    assert collector._trail._since == {}


def test_what_models_cost_and_what_is_left_of_budgets_is_told(collector: StoreCollector, store: Store) -> None:
    """Tokens and money by tool, calls without a price; limits, use and what is set aside of runs that go on."""
    budget = BudgetSettings(run=BudgetLimits(tokens=1400, usd=2))
    rows = Rows(store)
    with store.begin() as dao:
        dao.runs.change(rows.run_id, config={"budget": budget.model_dump(mode="json")})
        dao.runs.create(repo_root="/other", mode="full", config={"budget": {"run": "of another version"}})
    budgets = Budgets(store, budget)

    def call(tokens: int) -> AbstractContextManager[Reservation]:
        # its time is long, because the collector's clock is that of the machine
        estimate = Estimate(wall_sec=1e9, tool_runs=1, tokens=tokens, usd=Decimal("0.5"))
        return budgets.reserved(run_id=rows.run_id, tool_id="ai-edit", estimate=estimate)

    use = Usage(model="m", requests=1, input_tokens=400, cached_tokens=100, output_tokens=50, cost_usd=Decimal("0.25"))
    for told in (use, use.model_copy(update={"cost_usd": None})):
        with call(600) as held:
            held.settle(told, 1)
    with call(100):
        with pytest.raises(BudgetExceeded), call(600):
            pass
        samples = scraped(collector)
    for kind, tokens in (("input", 800), ("cached", 200), ("output", 100)):
        assert value(samples, "acms_spent_tokens_total", {"tool": "ai-edit", "kind": kind}) == tokens
    assert value(samples, "acms_spent_usd_total", {"tool": "ai-edit"}) == 0.25
    assert value(samples, "acms_unpriced_calls_total", {"tool": "ai-edit"}) == 1
    for name, tokens in (("limit", 1400), ("used", 900), ("reserved", 100)):
        assert value(samples, f"acms_budget_{name}", {"resource": "tokens"}) == tokens
    assert value(samples, "acms_budget_used", {"resource": "usd"}) == 0.75
    assert value(samples, "acms_budget_limit", {"resource": "wall_sec"}) == 0
    assert value(samples, "acms_budget_exceeded_total", {"scope": "run"}) == 1
    assert value(samples, "acms_budget_exceeded_total", {"scope": "task"}) == 0


def test_an_override_is_counted_by_its_action(collector: StoreCollector, store: Store) -> None:
    """Of a run, and of a breaker that belongs to no run; what it changed is counted as always."""
    rows = Rows(store)
    task, _ = rows.running(rows.stream())
    let_fail(ToolBreakers(store, SETTINGS), 3)
    assert value(scraped(collector), "acms_breaker_state", {"tool": "tool", "state": "OPEN"}) == 1
    override(store, "fail-task", task, operator="ada", reason="it hangs")
    override(store, "reset-breaker", "tool", operator="ada", reason="it is mended")
    samples = scraped(collector)
    assert value(samples, "manual_state_overrides_total", {"action": "fail-task"}) == 1
    assert value(samples, "manual_state_overrides_total", {"action": "reset-breaker"}) == 1
    assert changed(samples, "task", "running", "failed") == 1
    assert value(samples, "acms_tasks_total", {"tool": "none", "kind": "analysis", "outcome": "failed"}) == 1
    assert value(samples, "acms_breaker_state", {"tool": "tool", "state": "OPEN"}) == 0
    assert value(samples, "acms_breaker_state", {"tool": "tool", "state": "CLOSED"}) == 1


def test_silence_and_waiting_have_an_age(store: Store, clock: SetClock) -> None:
    """By the clock of the machine, the oldest counts: workers, reviews, and what is stuck by what it may take."""
    rows = Rows(store)
    task, _ = rows.running(rows.stream())
    with store.begin() as dao:
        patch = dao.patches.create(task_id=task, content=b"+x\n", files=["a.py"], lines_added=1, lines_removed=0)
        entry = dao.ledger.create(patch_id=patch.id).id
        flags: dict[str, Any] = dict.fromkeys(("validation_format", "validation_scope", "validation_constraints"), True)
        dao.ledger.advance(entry, PatchTrigger.VALIDATION_PASSED, **flags)
        asked = {"reasons": ("it is large",), "sha256": "0" * 64, "base": "a" * 40, "tree": "b" * 40}
        ask_review(dao, entry, expires_after_sec=3600, **asked)
    past = (system_clock() - clock()).total_seconds()
    clock.pass_by(3600)
    rows.running(rows.stream())
    samples = scraped(StoreCollector(store.url))
    busy = {"type": "slot", "state": "busy"}
    assert value(samples, "acms_workers", busy) == 2
    assert value(samples, "acms_worker_heartbeat_age_seconds", busy) == pytest.approx(past, abs=60)
    assert value(samples, "acms_reviews_waiting") == 1
    assert value(samples, "acms_review_age_seconds") == pytest.approx(past, abs=60)
    assert value(samples, "acms_stuck", {"entity": "run"}) == 1
    assert value(samples, "acms_stuck_ratio", {"entity": "run"}) == pytest.approx(past / 30, rel=0.01)
    assert value(samples, "acms_stuck_ratio", {"entity": "worker"}) == pytest.approx(past / 120, rel=0.01)
    assert value(samples, "acms_stuck_ratio", {"entity": "uet_worker"}) == 0


def test_whoever_counts_counts_the_same(store: Store, clock: SetClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that came late, one that looked after each step, and one that reads pages of three rows."""
    early = StoreCollector(store.url)
    before: Samples = {}
    for _ in range(3):
        rows = Rows(store)
        scraped(early)
        finished(store, rows, clock)
        now = counted_only(scraped(early))
        assert all(now[key] >= number for key, number in before.items())
        before = now
    assert counted_only(scraped(StoreCollector(store.url))) == before
    monkeypatch.setattr(metrics_trail, "PAGE_ROWS", 3)
    assert counted_only(scraped(StoreCollector(store.url))) == before


def test_another_database_in_its_place_is_counted_from_its_beginning(
    collector: StoreCollector, store: Store, tmp_path: Path
) -> None:
    """A backup that was put back has fewer rows: a counter that starts again is understood, a wrong one is not."""
    backup = tmp_path / "backup.db"
    Rows(store)
    with sqlite3.connect(tmp_path / "canonical.db") as file:
        file.execute("VACUUM INTO ?", (str(backup),))
    rows = Rows(store)
    rows.stream()
    assert changed(scraped(collector), "run", "pending", "running") == 2
    store.close()
    for leftover in tmp_path.glob("canonical.db-*"):
        leftover.unlink()
    backup.replace(tmp_path / "canonical.db")
    samples = scraped(collector)
    assert changed(samples, "run", "pending", "running") == 1
    assert changed(samples, "workstream", "", "planned") == 0


def test_a_store_that_is_away_is_told_and_comes_back(
    collector: StoreCollector, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing but the 0, and one line in the log; nothing is made in its place, and nothing is counted twice after."""
    Rows(store)
    before = counted_only(scraped(collector))
    store.close()
    path, aside = tmp_path / "canonical.db", tmp_path / "aside.db"
    path.rename(aside)
    for _ in range(2):
        assert scraped(collector) == {("acms_up", ()): 0}
    assert not path.exists()
    path.write_bytes(b"no database" * 1000)
    assert scraped(collector) == {("acms_up", ()): 0}
    aside.replace(path)
    assert counted_only(scraped(collector)) == before
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "the metrics are away",
        "the metrics are back",
    ]


def test_an_older_schema_is_not_migrated(canonical_url: str) -> None:
    """Whoever only looks changes nothing."""
    migration.downgrade(canonical_url, "008")
    assert scraped(StoreCollector(canonical_url)) == {("acms_up", ()): 0}
    assert migration.current(canonical_url) == "008"


def test_every_measure_is_told_under_the_names_it_says(
    collector: StoreCollector, store: Store, clock: SetClock
) -> None:
    """What the reference names is what is served, labels too; a scrape may ask for some of it by name."""
    finished(store, Rows(store), clock)
    let_fail(ToolBreakers(store, SETTINGS), 1)
    Rows(store).worker()
    samples = scraped(collector)
    assert {name for name, _ in samples} == {name for measure in MEASURES for name in measure.samples}
    for measure in MEASURES:
        own = [labels for name, labels in samples if name in measure.samples]
        assert {frozenset(label for label, _ in labels) - {"le"} for labels in own} == {frozenset(measure.labels)}
    registry = CollectorRegistry()
    registry.register(collector)
    some = registry.restricted_registry(["acms_up"]).collect()
    assert [family.name for family in some] == ["acms_up"]
