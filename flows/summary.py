"""Phase 5: derive the end of the run from its workstreams, and tell what it amounted to."""

from __future__ import annotations

from prefect import flow

from prefect_acms.canonical.events import Notice
from prefect_acms.canonical.run import RunState, RunTrigger
from prefect_acms.canonical.verdicts import Child, Verdict, run_verdict
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.tasks.artifacts import publish_end
from prefect_acms.tasks.closing import put_away, write_run_reports
from prefect_acms.tasks.driving import Drive, drive_run, phase
from prefect_acms.tasks.ending import release_workers
from prefect_acms.tasks.gap_rows import is_open
from prefect_acms.tasks.recurring import NEWS, meanwhile_of
from prefect_acms.tasks.reports import write_reports
from prefect_acms.tasks.reports.text import count
from prefect_acms.tasks.selection import KNOWN
from prefect_acms.tasks.summary import build_summary
from prefect_acms.tasks.summary_model import Summary


@flow(name="acms-summary", flow_run_name="summarize {run_id}", persist_result=False)
async def summarize_run(run_id: str, epoch: int | None = None, database_url: str | None = None) -> Summary:
    """End the run as its workstreams say, put its worktrees away, and write the reports into its folder."""
    drive = drive_run(run_id, epoch=epoch, database=database_url)
    with phase(drive, "summary") as artifacts:
        with drive.begin() as dao:
            conclude(dao, drive)
        put_away(drive)
        early = build_summary(drive.store, run_id, drive.repository)
        artifacts["files"] = sorted(path.name for path in write_reports(early, drive.folder))
    # Once more, now that the last phase has ended too: its time belongs into the report.
    summary = write_run_reports(drive)
    await publish_end(drive, summary)
    return summary


def conclude(dao: UnitOfWork, drive: Drive) -> None:
    """Move the run to the state that its workstreams say; a run that has ended stays as it is."""
    run = dao.runs.get(drive.run_id)
    if run.state != RunState.RUNNING:
        return
    release_workers(dao, drive.run_id)
    children = [Child(row.state, row.is_critical) for row in dao.workstreams.of_run(drive.run_id)]
    verdict = run_verdict(children, allow_noncritical_failures=drive.config.execution.allow_noncritical_failures)
    match verdict:
        case Verdict.SUCCEEDED:
            news = _nothing_new(dao, run)
            if news is not None:
                dao.runs.change(drive.run_id, metadata={NEWS: news})
            dao.runs.advance(drive.run_id, RunTrigger.ALL_WORKSTREAMS_COMPLETE, reason=news)
        case Verdict.DEGRADED:
            reason = "something that is not critical failed"
            dao.runs.change(drive.run_id, metadata={"degraded": True})
            dao.runs.note(drive.run_id, Notice.RUN_DEGRADED, reason=reason)
            dao.runs.advance(drive.run_id, RunTrigger.ALL_WORKSTREAMS_COMPLETE, reason=reason)
        case _:
            critical = any(child.is_critical and child.state == "failed" for child in children)
            trigger = RunTrigger.CRITICAL_WORKSTREAM_FAILED if critical else RunTrigger.INCOMPLETE
            dao.runs.advance(drive.run_id, trigger, error=_failures(dao, drive))


def _nothing_new(dao: UnitOfWork, run: RunRow) -> str | None:
    """That a run which was to hold back what is known had nothing else to do, and what became of it meanwhile."""
    gaps = dao.gaps.of_run(run.id)
    if not run.config["discovery"]["remember"] or dao.workstreams.of_run(run.id) or any(map(is_open, gaps)):
        return None
    known = sum((gap.deferred_reason or "").startswith(KNOWN) for gap in gaps)
    held = [f"{count(known, 'gap')} known from earlier runs"] if known else []
    if len(gaps) > known:
        held.append(f"{count(len(gaps) - known, 'gap')} held back by the settings")
    fixed = meanwhile_of(run)
    told = f"nothing new: {', '.join(held) or 'no gap is left'}"
    return f"{told}; {count(len(fixed), 'gap')} fixed by others meanwhile" if fixed else told


def _failures(dao: UnitOfWork, drive: Drive) -> str:
    failed = [row for row in dao.workstreams.of_run(drive.run_id) if row.state in {"failed", "cancelled"}]
    return "; ".join(f"{row.name}: {row.error or row.state}" for row in failed) or "no workstream was completed"
