"""Phase 2: hold back what was not asked for, and group the rest into workstreams."""

from __future__ import annotations

import asyncio

from prefect import flow

from prefect_acms.canonical.gap import GapTrigger
from prefect_acms.tasks.artifacts import publish_workstreams
from prefect_acms.tasks.clustering import cluster
from prefect_acms.tasks.documents import read_report, write_document
from prefect_acms.tasks.driving import drive_run, phase
from prefect_acms.tasks.gap_rows import gap_of, is_open
from prefect_acms.tasks.known_gaps import known_gaps
from prefect_acms.tasks.plan_rows import store_workstreams
from prefect_acms.tasks.plans import Workstream, WorkstreamList
from prefect_acms.tasks.selection import select


@flow(name="acms-clustering", flow_run_name="cluster {run_id}", persist_result=False)
async def cluster_gaps(
    run_id: str, epoch: int | None = None, database_url: str | None = None
) -> tuple[Workstream, ...]:
    """Group the run's gaps into workstreams and store them; what was not asked for or is known is deferred."""
    drive = drive_run(run_id, epoch=epoch, database=database_url)
    settings = drive.config.discovery
    with phase(drive, "clustering") as artifacts:
        with drive.reading() as dao:
            rows = [row for row in dao.gaps.of_run(run_id) if is_open(row)]
        ids = {row.fingerprint: row.id for row in rows}
        baseline = read_report(settings.baseline) if settings.baseline else ()
        gaps = [gap_of(row) for row in rows]
        known = await asyncio.to_thread(known_gaps, drive, gaps) if settings.remember else {}
        present = frozenset(drive.repository.files(drive.base_commit)) if baseline else frozenset()
        selection = select(gaps, settings, baseline, known, is_there=present.__contains__)
        workstreams = cluster(selection.taken, drive.config.clustering)
        artifacts["workstreams"] = [workstream.model_dump(mode="json") for workstream in workstreams]
        with drive.begin() as dao:
            for held in selection.deferred:
                dao.gaps.advance(ids[held.gap.fingerprint], held.trigger, deferred_reason=held.reason)
            stored = store_workstreams(dao, drive, workstreams)
            for workstream in workstreams:
                clustered = [ids[fingerprint] for fingerprint in workstream.gaps]
                dao.gaps.advance_many(clustered, GapTrigger.CLUSTERED, workstream_id=stored[workstream.key].id)
            artifacts.complete(dao)
        write_document(WorkstreamList(workstreams=workstreams), drive.folder / "workstreams.json")
        await publish_workstreams(drive, workstreams)
    return workstreams
