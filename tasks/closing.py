"""What is left to do for a run that has ended: nothing of its work stays but its branch, its files and its rows."""

from __future__ import annotations

from prefect_acms.dao.outbox import Outbox
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.ending import clear_leavings, end_phases, remove_worktrees
from prefect_acms.tasks.merging import drop_merged_branches
from prefect_acms.tasks.reports import write_reports
from prefect_acms.tasks.summary import build_summary
from prefect_acms.tasks.summary_model import Summary


def put_away(drive: Drive) -> None:
    """Take the run's worktrees away and the branches that have been merged; safe to be done twice."""
    remove_worktrees(drive)
    drop_merged_branches(drive)


def close_run(drive: Drive) -> Summary:
    """Put away what a run that has ended does not need any more, and write its files; safe to be done twice.

    For a run whose driver had no time to do so, or was fenced off.
    """
    put_away(drive)
    clear_leavings(drive)
    with drive.ending() as dao:
        end_phases(dao, drive.run_id)
    with Outbox(drive.store, drive.run_id, drive.folder / "transitions.jsonl"):
        return write_run_reports(drive)


def write_run_reports(drive: Drive) -> Summary:
    """Write the reports of the run as it stands; the summary that they tell."""
    summary = build_summary(drive.store, drive.run_id, drive.repository)
    write_reports(summary, drive.folder)
    return summary
