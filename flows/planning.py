"""Phase 3: compile the workstreams into a DAG of tasks; what no tool can fix is deferred with the reason."""

from __future__ import annotations

from prefect import flow

from prefect_acms.blocks.config import Mode
from prefect_acms.canonical.gap import GapTrigger
from prefect_acms.canonical.workstream import WorkstreamTrigger
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.tasks.artifacts import publish_plan
from prefect_acms.tasks.documents import write_document
from prefect_acms.tasks.driving import Drive, drive_run, phase, phase_artifacts
from prefect_acms.tasks.gap_rows import gap_of, is_open
from prefect_acms.tasks.plan_rows import store_tasks
from prefect_acms.tasks.planning import Compiled, compile_plan
from prefect_acms.tasks.plans import Plan, Workstream
from prefect_acms.tasks.preparation import has_tests


@flow(name="acms-planning", flow_run_name="plan {run_id}", persist_result=False)
async def compile_run_plan(run_id: str, epoch: int | None = None, database_url: str | None = None) -> Plan:
    """Compile the run's workstreams into a plan and store it; in mode plan_only its workstreams end as skipped."""
    drive = drive_run(run_id, epoch=epoch, database=database_url)
    with phase(drive, "planning") as artifacts:
        compiled = _compile(drive)
        artifacts["plan"] = compiled.plan.model_dump(mode="json")
        with drive.begin() as dao:
            _store(dao, drive, compiled)
            artifacts.complete(dao)
        write_document(compiled.plan, drive.folder / "plan.json")
        await publish_plan(drive, compiled.plan)
    return compiled.plan


def _compile(drive: Drive) -> Compiled:
    with drive.reading() as dao:
        gaps = [gap_of(row) for row in dao.gaps.of_run(drive.run_id) if is_open(row)]
    return compile_plan(
        [Workstream.model_validate(entry) for entry in phase_artifacts(drive, "clustering")["workstreams"]],
        gaps,
        drive.patterns,
        repository=drive.repository.top.name,
        base_commit=drive.base_commit,
        has_tests=has_tests(drive),
        execution=drive.config.execution,
        guardrails=drive.guardrails,
        max_retries=drive.config.resilience.max_retries,
    )


def _store(dao: UnitOfWork, drive: Drive, compiled: Compiled) -> None:
    ids = {row.fingerprint: row.id for row in dao.gaps.of_run(drive.run_id)}
    for gap, reason in compiled.not_fixable:
        dao.gaps.advance(ids[gap.fingerprint], GapTrigger.NOT_FIXABLE, deferred_reason=reason)
    dao.gaps.advance_many([ids[gap.fingerprint] for gap in compiled.plan.gaps], GapTrigger.PLAN_COMPILED)
    planned = {workstream.key for workstream in compiled.plan.workstreams}
    stored = {row.info["key"]: row.id for row in dao.workstreams.of_run(drive.run_id)}
    only_planned = drive.config.mode is Mode.PLAN_ONLY
    for key, row_id in stored.items():
        if only_planned or key not in planned:
            reason = "plan_only: nothing is executed" if only_planned else "none of its gaps can be fixed by a tool"
            dao.workstreams.advance(row_id, WorkstreamTrigger.DISABLED, reason=reason)
    if not only_planned:
        store_tasks(dao, drive, compiled.plan, stored)
