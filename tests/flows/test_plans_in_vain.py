"""Runs of the pipeline that lead to no patch: the next plan is cut down, and then none is carried out any more."""

from __future__ import annotations

from pathlib import Path

import pytest
from looping import Robots
from repositories import Committed

from prefect_acms.blocks.config import (
    DiscoverySettings,
    EnvironmentSettings,
    ExecutionSettings,
    GateSettings,
    IsolationMode,
    PipelineConfig,
)
from prefect_acms.blocks.fix_loop import FixLoopSettings
from prefect_acms.dao.store import open_store
from prefect_acms.flows.pipeline import run_pipeline

PATTERN = """
[patterns.modest]
title = "Let a robot try"
sources = ["markers"]
kinds = ["implementation"]
allowed_tools = ["modest"]
"""


@pytest.mark.campaign
@pytest.mark.usefixtures("prefect_server")
def test_the_third_run_that_can_only_lead_to_nothing_ends_in_planning(
    committed: Committed, canonical_url: str, tmp_path: Path
) -> None:
    """The tool says each time that nothing can be done; the reasons are in the deferred gaps, the trail and the run."""
    robots = Robots(tmp_path, modest=[{"exit": 1}])
    patterns = tmp_path / "patterns.toml"
    patterns.write_text(PATTERN)
    config = PipelineConfig(
        repository=committed({"a.py": "A = 1  # FIXME: less\n", "b.py": "B = 1  # TODO: more\n"}),
        database_url=canonical_url,
        discovery=DiscoverySettings(sources=("markers",)),
        environment=EnvironmentSettings(isolation=IsolationMode.OFF),
        gates=GateSettings(lint_enabled=False, security_enabled=False, unit=("true",)),
        execution=ExecutionSettings(tool_files=(patterns,), profiles=robots.profiles),
        fix_loop=FixLoopSettings(gaps_kept=1),
    )
    outcomes = [run_pipeline(config) for _ in range(3)]
    assert [outcome.state for outcome in outcomes] == ["failed", "failed", "failed"]
    with open_store(canonical_url).begin(read_only=True) as dao:
        deferred = [
            sorted(str(gap.deferred_reason).partition(":")[0] for gap in dao.gaps.of_run(outcome.run_id))
            for outcome in outcomes
        ]
        noted = [
            [str(row.reason) for row in dao.transitions.of_run(one.run_id) if row.trigger == "anti_pattern_detected"]
            for one in outcomes
        ]
    assert "AP_PLANNING_LOOP" not in deferred[0]
    assert deferred[1].count("AP_PLANNING_LOOP") == 1
    assert ["almost the same" in "".join(reasons) for reasons in noted] == [False, True, False]
    assert "AP_PLANNING_LOOP: 2 plan(s) of this commit and configuration led to no patch" in str(outcomes[2].error)
    assert [len(asked["gaps"]) for asked in robots.asked("modest")] == [2, 1], "the third run has asked nobody"
