"""A plan that was made before: its gaps, workstreams and tasks become rows of this run."""

from __future__ import annotations

from prefect_acms.blocks.config import Mode
from prefect_acms.canonical.gap import GapTrigger
from prefect_acms.tasks.documents import write_document
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.gap_rows import store_gap
from prefect_acms.tasks.plan_rows import store_tasks, store_workstreams
from prefect_acms.tasks.stored_plans import stored_plan


def load_plan(drive: Drive) -> None:
    """In mode execute_only, store the given plan as this run's own; in any other mode it is stored already."""
    if drive.config.mode is not Mode.EXECUTE_ONLY:
        return
    with drive.reading() as dao:
        if dao.workstreams.of_run(drive.run_id):
            # A driver before this one has stored it: the rows count, whatever became of the file or of HEAD.
            return
    plan = stored_plan(drive.config, drive.repository, lambda: drive.store)
    with drive.begin() as dao:
        rows = store_workstreams(dao, drive, plan.workstreams)
        gaps = {gap.fingerprint: store_gap(dao, drive.run_id, gap) for gap in plan.gaps}
        for workstream in plan.workstreams:
            ids = [gaps[fingerprint].id for fingerprint in workstream.gaps]
            dao.gaps.advance_many(ids, GapTrigger.CLUSTERED, workstream_id=rows[workstream.key].id)
            dao.gaps.advance_many(ids, GapTrigger.PLAN_COMPILED)
        store_tasks(dao, drive, plan, {key: row.id for key, row in rows.items()})
    write_document(plan, drive.folder / "plan.json")
