"""The gates of a run as a question about any commit: is there something new against one that is known?"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

from prefect_acms.tasks.baseline import Baseline
from prefect_acms.tasks.bisection import Answer
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.gate_rows import Subject, judged_tree
from prefect_acms.tasks.preparation import baseline_at, prepared_worktree
from prefect_acms.tasks.regressions import BISECT

BEFORE = "before"
"""Key of the worktree that holds the commit to compare with."""


@dataclass
class GateTest:
    """Says of a commit whether the gates have something against it that they have not against `good`."""

    drive: Drive
    good: str
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The gates that judge."""
        return f"the gates {', '.join(gate.gate_type for gate in self.baseline.judging) or '(there is none)'}"

    @cached_property
    def baseline(self) -> Baseline:
        """What the gates say of the commit to compare with."""
        return baseline_at(self.drive, BEFORE, self.good)

    def __call__(self, commit: str) -> Answer:
        """Judge a commit; where no gate can judge, nothing is known of any."""
        if not self.baseline.judging:
            return Answer.SKIP
        if self.baseline.passed(self.drive.repository.tree_of(commit)) is not None:
            return Answer.GOOD
        worktree, environment = prepared_worktree(self.drive, BISECT, commit)
        worktree.reset(commit)
        # tests that were changed since are judged by those of that commit first
        drive = replace(self.drive, base_commit=self.good)
        touched = self.drive.repository.changed_files(self.good, commit)
        judged = judged_tree(drive, self.baseline, worktree, environment, touched=touched, subject=Subject())
        self.outputs[commit] = judged.objection or ""
        return Answer.GOOD if judged.objection is None else Answer.BAD
