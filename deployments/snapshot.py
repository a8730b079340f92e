"""A snapshot of a run: read in a few statements, so that it can be taken every second."""

from __future__ import annotations

from collections import Counter

from prefect_acms.canonical.gap import GapState
from prefect_acms.canonical.patch import PatchState
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.patches import PatchRow
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.deployments.records import PatchFate, Snapshot
from prefect_acms.tasks.reviews import review_of
from prefect_acms.tasks.summary_records import listed_run, phase_record, task_record, workstream_record
from prefect_acms.tasks.summary_rows import read_graph


def take_snapshot(dao: UnitOfWork, run_id: str) -> Snapshot:
    """Read where a run stands; raises NotFound."""
    run = dao.runs.get(run_id)
    tasks = dao.tasks.of_run(run_id)
    graph = read_graph(dao, run_id, tasks)
    gaps = dao.gaps.tally(run_id)
    by_workstream, resolved, by_state = Counter[str | None](), Counter[str | None](), Counter[str]()
    for workstream, state, number in gaps:
        by_workstream[workstream] += number
        by_state[state] += number
        if state == GapState.RESOLVED:
            resolved[workstream] += number
    patches = {patch.id: patch for patch in dao.patches.of_run(run_id, contents=False)}
    return Snapshot(
        run=listed_run(run, dao.store.clock()),
        phases=tuple(phase_record(row) for row in dao.phases.of_run(run_id)),
        workstreams=tuple(
            workstream_record(row, graph, gaps=by_workstream[row.id], resolved=resolved[row.id])
            for row in dao.workstreams.of_run(run_id)
        ),
        tasks=tuple(task_record(row, graph) for row in tasks),
        patches=tuple(_fate(entry, patches[entry.patch_id]) for entry in dao.ledger.of_run(run_id)),
        gaps=dict(sorted(by_state.items())),
    )


def _fate(entry: LedgerRow, patch: PatchRow) -> PatchFate:
    review = review_of(entry) if entry.state == PatchState.AWAITING_REVIEW else None
    waits = "; ".join(review.reasons) if review else None
    return PatchFate(
        id=patch.id,
        entry_id=entry.id,
        task_id=entry.task_id,
        workstream_id=entry.workstream_id,
        state=entry.state,
        files=tuple(patch.files),
        lines_added=patch.lines_added,
        lines_removed=patch.lines_removed,
        commit=entry.commit_sha,
        reason=waits or entry.rollback_reason or entry.quarantine_reason or entry.last_error,
        expires_at=review.expires_at if review else None,
    )
