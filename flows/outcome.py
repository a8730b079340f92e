"""What a caller of the pipeline gets back: the end of the run, counted from the store and from git."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from prefect_acms.blocks.config import Mode
from prefect_acms.canonical.run import RunState
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.summary import build_summary


class Outcome(BaseModel):
    """What a caller of the pipeline gets back."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    state: str
    degraded: bool = False
    branch: str | None = None
    found: int = 0
    resolved: int = 0
    deferred: int = 0
    exit_code: int = 0
    folder: str
    error: str | None = None


def outcome_of(drive: Drive) -> Outcome:
    """What became of the run, counted from the store and from git."""
    summary = build_summary(drive.store, drive.run_id, drive.repository)
    run, counts = summary.run, summary.counts
    return Outcome(
        run_id=run.id,
        state=run.state,
        degraded=run.degraded,
        branch=run.branch,
        found=counts.found,
        resolved=counts.resolved,
        deferred=counts.deferred,
        exit_code=exit_code_of(run.state, drive.config.mode, counts.selected - counts.resolved),
        folder=str(drive.folder),
        error=run.error or run.quarantine_reason,
    )


def exit_code_of(state: str, mode: Mode, unresolved: int) -> int:
    """The exit code of the command for a run in that state with so many selected gaps not resolved."""
    if state == RunState.SUCCEEDED:
        changes_something = mode in {Mode.FULL, Mode.EXECUTE_ONLY}
        return 1 if changes_something and unresolved else 0
    return {RunState.QUARANTINED: 3, RunState.CANCELED: 130}.get(RunState(state), 1)
