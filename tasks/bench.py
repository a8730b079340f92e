"""Where a task works: its workstream's worktree, its gaps, and the pattern that governs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prefect_acms.blocks.guardrails import GuardrailSettings
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.baseline import Baseline
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.environment import Environment
from prefect_acms.tasks.gap_rows import gap_of
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.gate_rows import Judged, Subject, judged_tree
from prefect_acms.tasks.patterns import Pattern
from prefect_acms.tasks.preparation import prepared_worktree
from prefect_acms.tasks.rescans import Rescanner
from prefect_acms.tasks.tightening import tightened
from prefect_acms.tasks.worktrees import Worktree


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a task works: the worktree of its workstream, its gaps, and the pattern that governs it."""

    drive: Drive
    task: TaskRow
    worktree: Worktree
    environment: Environment
    gaps: tuple[Gap, ...]
    pattern: Pattern

    @classmethod
    def of(cls, drive: Drive, task: TaskRow, commit: str | None = None) -> Bench:
        """Set the bench up, at a commit or where the workstream stands: what has been merged so far, at first."""
        with drive.reading() as dao:
            workstream = dao.workstreams.get(task.workstream_id)
            wanted = set(task.info["gaps"])
            rows = [row for row in dao.gaps.of_workstream(task.workstream_id) if row.fingerprint in wanted]
        branch = drive.repository.ref(f"refs/heads/{workstream.branch}")
        start = commit or branch or drive.result_head()
        worktree, environment = prepared_worktree(drive, workstream.info["key"], start)
        worktree.reset(commit)
        pattern = drive.patterns.get(task.pattern_id or "")
        return cls(drive, task, worktree, environment, tuple(gap_of(row) for row in rows), pattern)

    @property
    def files(self) -> frozenset[str]:
        """The files that the task's gaps are in."""
        return frozenset(path for gap in self.gaps for path in gap.file_paths)

    @property
    def guardrails(self) -> GuardrailSettings:
        """What no patch of the task may do: what holds for the run, tightened by the pattern."""
        return tightened(self.drive.guardrails, self.pattern.policy)

    @property
    def rescanner(self) -> Rescanner:
        """Asks the sources of the task's gaps."""
        return Rescanner.of(self.drive, self.worktree, self.environment, self.gaps)

    def judged(self, baseline: Baseline, touched: Sequence[str], entry_id: str | None = None) -> Judged:
        """Let the gates judge the tree of the bench; `entry_id` is the patch that it is about, if it is one."""
        subject = Subject(self.task.workstream_id, self.task.id, entry_id)
        return judged_tree(self.drive, baseline, self.worktree, self.environment, touched=touched, subject=subject)
