"""Phase 3: compile the workstreams into a DAG of tasks; what no tool can fix is deferred with the reason."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from prefect import flow

from prefect_acms.blocks.config import Mode
from prefect_acms.canonical.events import Notice
from prefect_acms.canonical.gap import GapTrigger
from prefect_acms.canonical.workstream import WorkstreamTrigger
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.tasks.artifacts import publish_plan
from prefect_acms.tasks.documents import write_document
from prefect_acms.tasks.driving import Drive, drive_run, phase, phase_artifacts
from prefect_acms.tasks.gap_rows import gap_of, is_open
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.plan_rows import store_tasks
from prefect_acms.tasks.planning import Compiled, compile_plan
from prefect_acms.tasks.planning_loop import NARROWED, loop_in, most_severe
from prefect_acms.tasks.plans import Plan, Workstream
from prefect_acms.tasks.preparation import has_tests


@flow(name="acms-planning", flow_run_name="plan {run_id}", persist_result=False)
async def compile_run_plan(run_id: str, epoch: int | None = None, database_url: str | None = None) -> Plan:
    """Compile the run's workstreams into a plan and store it; in mode plan_only its workstreams end as skipped."""
    drive = drive_run(run_id, epoch=epoch, database=database_url)
    with phase(drive, "planning") as artifacts:
        compiled, narrowed = _compile(drive)
        if narrowed is not None:
            artifacts[NARROWED] = narrowed
        artifacts["plan"] = compiled.plan.model_dump(mode="json")
        with drive.begin() as dao:
            _store(dao, drive, compiled, narrowed)
            if narrowed is not None:
                dao.runs.note(drive.run_id, Notice.ANTI_PATTERN_DETECTED, reason=narrowed)
            artifacts.complete(dao)
        write_document(compiled.plan, drive.folder / "plan.json")
        await publish_plan(drive, compiled.plan)
    return compiled.plan


def _compile(drive: Drive) -> tuple[Compiled, str | None]:
    """The plan; where plans have led to nothing it holds only the most severe gaps, and the reason comes with it."""
    with drive.reading() as dao:
        gaps = [gap_of(row) for row in dao.gaps.of_run(drive.run_id) if is_open(row)]
    entries = phase_artifacts(drive, "clustering")["workstreams"]
    workstreams = [Workstream.model_validate(entry) for entry in entries]
    compiled = _compiled(drive, workstreams, gaps)
    narrowed = loop_in(drive, compiled.plan) if drive.config.mode is Mode.FULL else None
    if narrowed is None:
        return compiled, None
    kept = most_severe(compiled.plan.gaps, drive.config.fix_loop.gaps_kept)
    fewer = _compiled(drive, _only(workstreams, kept), gaps)
    planned = {gap.fingerprint for gap in fewer.plan.gaps}
    refused = dict.fromkeys((gap for gap in compiled.plan.gaps if gap.fingerprint not in planned), narrowed)
    return Compiled(fewer.plan, (*compiled.not_fixable, *refused.items())), narrowed


def _only(workstreams: Iterable[Workstream], kept: Collection[str]) -> list[Workstream]:
    """The workstreams with these gaps alone; one with none of them is left out."""
    fewer = [
        workstream.model_copy(update={"gaps": tuple(name for name in workstream.gaps if name in kept)})
        for workstream in workstreams
    ]
    return [workstream for workstream in fewer if workstream.gaps]


def _compiled(drive: Drive, workstreams: Sequence[Workstream], gaps: Sequence[Gap]) -> Compiled:
    return compile_plan(
        workstreams,
        gaps,
        drive.patterns,
        repository=drive.repository.top.name,
        base_commit=drive.base_commit,
        has_tests=has_tests(drive),
        execution=drive.config.execution,
        guardrails=drive.guardrails,
        max_retries=drive.config.resilience.max_retries,
    )


def _store(dao: UnitOfWork, drive: Drive, compiled: Compiled, narrowed: str | None) -> None:
    ids = {row.fingerprint: row.id for row in dao.gaps.of_run(drive.run_id)}
    for gap, reason in compiled.not_fixable:
        dao.gaps.advance(ids[gap.fingerprint], GapTrigger.NOT_FIXABLE, deferred_reason=reason)
    dao.gaps.advance_many([ids[gap.fingerprint] for gap in compiled.plan.gaps], GapTrigger.PLAN_COMPILED)
    planned = {workstream.key for workstream in compiled.plan.workstreams}
    stored = {row.info["key"]: row.id for row in dao.workstreams.of_run(drive.run_id)}
    only_planned = drive.config.mode is Mode.PLAN_ONLY
    for key, row_id in stored.items():
        if only_planned or key not in planned:
            reason = (
                "plan_only: nothing is executed"
                if only_planned
                else narrowed or "none of its gaps can be fixed by a tool"
            )
            dao.workstreams.advance(row_id, WorkstreamTrigger.DISABLED, reason=reason)
    if not only_planned:
        store_tasks(dao, drive, compiled.plan, stored)
