"""The worker slots of a run, and the workstreams that wait for their turn."""

from __future__ import annotations

from prefect_acms.blocks.tool_spec import TaskKind
from prefect_acms.canonical.verdicts import prerequisites_met
from prefect_acms.canonical.worker import WorkerTrigger
from prefect_acms.canonical.workstream import WorkstreamState, WorkstreamTrigger
from prefect_acms.tasks.driving import Drive

SLOT = "slot"
"""Worker type of one slot of a run's own pool."""


def open_pool(drive: Drive) -> None:
    """Register as many worker slots as tasks may run at a time; each can do whatever some tool of the run can do."""
    capabilities = {kind.value for kind in TaskKind}
    for profile in drive.toolbox:
        capabilities.update(profile.capabilities)
    with drive.begin() as dao:
        for _ in range(drive.config.execution.concurrency):
            worker = dao.workers.create(
                run_id=drive.run_id, worker_type=SLOT, capabilities=sorted(capabilities), current_load=0
            )
            dao.workers.advance(worker.id, WorkerTrigger.REGISTERED)
            dao.workers.beat(worker.id)


def ready_workstreams(drive: Drive, workstream_id: str) -> None:
    """Make a workstream ready whose turn has come; one that is past that stays as it is."""
    with drive.begin() as dao:
        workstream = dao.workstreams.get(workstream_id)
        if workstream.state == WorkstreamState.PLANNED:
            dao.workstreams.advance(workstream_id, WorkstreamTrigger.TASKS_CREATED)
        elif workstream.state == WorkstreamState.BLOCKED:
            states = [row.state for row in dao.workstreams.prerequisites(workstream_id)]
            if prerequisites_met(states):
                dao.workstreams.advance(workstream_id, WorkstreamTrigger.DEPENDENCIES_MET)
