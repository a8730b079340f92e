"""Phase 1: check the base commit out and ask every gap source what could be better."""

from __future__ import annotations

import asyncio
import logging

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from prefect_acms.dao.error_redaction import clean_errors
from prefect_acms.tasks.artifacts import publish_gaps
from prefect_acms.tasks.discovery import DiscoveryResult, discover
from prefect_acms.tasks.documents import report_of, write_document
from prefect_acms.tasks.driving import drive_run, phase
from prefect_acms.tasks.ending import stopping_tools
from prefect_acms.tasks.gap_rows import store_gap
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.meanwhile import fixed_meanwhile
from prefect_acms.tasks.preparation import BASE, prepared_worktree
from prefect_acms.tasks.recurring import MEANWHILE
from prefect_acms.tasks.source_budgets import SourceBudget
from prefect_acms.tasks.sources import Scan

_log = logging.getLogger(__name__)


@flow(name="acms-discovery", flow_run_name="discover {run_id}", persist_result=False)
async def discover_gaps(run_id: str, epoch: int | None = None, database_url: str | None = None) -> tuple[Gap, ...]:
    """Find the gaps of the run's base commit and store them; raises EverySourceFailed if no source worked."""
    drive = drive_run(run_id, epoch=epoch, database=database_url)
    with phase(drive, "discovery") as artifacts:
        with stopping_tools(drive):
            result = await asyncio.to_thread(scan_base.submit(drive.run_id, drive.epoch).result)
        artifacts["sources"] = [outcome.model_dump(mode="json") for outcome in result.sources]
        if result.records:
            artifacts["records"] = result.records
        fixed = await asyncio.to_thread(fixed_meanwhile, drive, result) if drive.config.discovery.remember else ()
        for one in fixed:
            _log.info("%s", one.sentence)
        with drive.begin() as dao:
            if fixed:
                dao.runs.change(run_id, metadata={MEANWHILE: [one.model_dump(mode="json") for one in fixed]})
            for gap in result.gaps:
                store_gap(dao, run_id, gap)
            artifacts.complete(dao)
        write_document(report_of(result.gaps, drive.store.clock()), drive.folder / "gaps.json")
        await publish_gaps(drive, result)
    return result.gaps


@task(name="scan", task_run_name="scan the base commit", cache_policy=NO_CACHE, persist_result=False)
def scan_base(run_id: str, epoch: int) -> DiscoveryResult:
    """Ask the configured sources about the base commit, in a worktree of its own."""
    drive = drive_run(run_id, epoch=epoch)
    worktree, environment = prepared_worktree(drive, BASE, drive.base_commit)
    scan = Scan(
        root=worktree.path,
        environment=environment,
        settings=drive.config.discovery,
        timeout_sec=drive.config.gates.timeout_sec,
        ai=drive.config.ai,
        budget=SourceBudget(drive.budgets, run_id),
        learnt=drive.learnt,
    )
    try:
        with clean_errors(), drive.watching():
            return discover(scan, drive.config.discovery.sources)
    finally:
        # Tests leave things behind, and the gates judge this very tree next.
        worktree.reset()
