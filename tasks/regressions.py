"""Regressions: which commit of a run broke a thing, found by a command and bisection in a worktree of ours."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from pydantic import BaseModel, ConfigDict, Field

from prefect_acms.canonical.errors import RegressionUnfit
from prefect_acms.canonical.outside_errors import ToolUnavailable
from prefect_acms.canonical.patch import PatchState
from prefect_acms.dao.redaction import ending
from prefect_acms.dao.store import Store
from prefect_acms.tasks.bisection import Answer, bisect
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.orders import require_undriven
from prefect_acms.tasks.preparation import prepared_worktree
from prefect_acms.tasks.processes import ProcessResult
from prefect_acms.tasks.rollback_sites import whole_run
from prefect_acms.tasks.suspects import Suspect, suspect_of
from prefect_acms.tasks.visiting import visited

BISECT = "bisect"
"""Key of the worktree in which commits are tried."""

SKIPPED = 125
"""Exit code by which a test says that a commit can't be tried, as for `git bisect run`."""

MOST_BAD = 127
"""A higher exit code, or a signal, is no answer, as for `git bisect run`: the test itself is broken."""

TIMEOUT_SEC = 900.0

OUTPUT_CHARACTERS = 2_000

_SAID = {Answer.GOOD: "pass", Answer.BAD: "fail"}
_SAYS = {Answer.GOOD: "passes", Answer.BAD: "fails", Answer.SKIP: "can't be tried"}


class Regression(BaseModel):
    """What a bisection has found; without `found` only commits were left that could not be tried: the suspects."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    test: str
    good: str = Field(description="commit at which the test passes")
    bad: str = Field(description="commit at which it fails")
    found: Suspect | None = None
    suspects: tuple[Suspect, ...] = ()
    tried: dict[str, Answer] = Field(description="every commit that was tried, and what it was")
    output: str = Field(default="", description="end of what the test said at the commit that was found")
    rollback_command: str | None = None


class CommitTest(Protocol):
    """What says of a commit whether it is good; it works in a worktree of the run, and keeps what was said."""

    drive: Drive
    outputs: dict[str, str]

    @property
    def name(self) -> str:
        """What it is, as a person would write it."""

    def __call__(self, commit: str) -> Answer:
        """Try a commit; raises RegressionUnfit where there is no answer."""


@dataclass
class CommandTest:
    """A command that says of a commit whether it is good, in a worktree of the run; what it said last is kept."""

    drive: Drive
    argv: tuple[str, ...]
    timeout_sec: float
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The command."""
        return shlex.join(self.argv)

    def __call__(self, commit: str) -> Answer:
        """Try a commit; a test that takes too long is bad, and one that can't be started there tells nothing."""
        worktree, environment = prepared_worktree(self.drive, BISECT, commit)
        worktree.reset(commit)
        try:
            with self.drive.watching():
                done = environment.run(self.argv, cwd=worktree.path, timeout_sec=self.timeout_sec)
        except ToolUnavailable as problem:
            self.outputs[commit] = str(problem)
            return Answer.SKIP
        self.outputs[commit] = _said(self.drive.store, done)
        if done.exit_code == 0:
            return Answer.GOOD
        if done.exit_code == SKIPPED:
            return Answer.SKIP
        if not 0 < done.exit_code <= MOST_BAD:
            said = f"signal {-done.exit_code}" if done.exit_code < 0 else f"exit code {done.exit_code}"
            refuse(self, f"at commit {commit[:10]} it ended with {said}, which says neither good nor bad")
        return Answer.BAD


def refuse(test: CommitTest, problem: str) -> NoReturn:
    """Raise RegressionUnfit."""
    raise RegressionUnfit(run_id=test.drive.run_id, test=test.name, problem=problem)


def find_regression(store: Store, run_id: str, argv: Sequence[str], *, timeout_sec: float = TIMEOUT_SEC) -> Regression:
    """Which commit of a run broke what the command tests; the run is as it was, and so is the user's tree.

    Raises NotFound, RunDriven, and RegressionUnfit when the test does not pass at the run's base commit, does not fail
    at its end, or gives no answer.
    """
    with store.begin(read_only=True) as dao:
        require_undriven(dao, run_id)
        committed = [row for row in dao.ledger.of_run(run_id) if row.state == PatchState.COMMITTED]
    with visited(store, run_id) as drive:
        test = CommandTest(drive, tuple(argv), timeout_sec)
        head = whole_run(drive, committed)
        if head is None or head == drive.base_commit:
            refuse(test, "it has no commits" if not committed else "its branch is gone, and commits of it are")
        return regression_between(test, drive.base_commit, head)


def regression_between(test: CommitTest, good: str, bad: str) -> Regression:
    """Which commit between the two broke the test; raises RegressionUnfit when they are not good and bad."""
    for commit, where, wanted in ((good, "before", Answer.GOOD), (bad, "after", Answer.BAD)):
        answer = test(commit)
        if answer is not wanted:
            needed = f"{where} the run, at commit {commit[:10]}, it has to {_SAID[wanted]}"
            refuse(test, f"{needed}, but there it {_SAYS[answer]}{_end(test, commit)}")
    return searched(test, good, bad)


def searched(test: CommitTest, good: str, bad: str) -> Regression:
    """Which commit broke the test between one that is known to be good and one that is known to be bad."""
    drive = test.drive
    bisection = bisect(drive.repository, good, bad, test)
    with drive.reading() as dao:
        suspects = tuple(suspect_of(dao, drive.repository, drive.run_id, name) for name in bisection.suspects)
    found = suspects[0] if bisection.first_bad is not None else None
    return Regression(
        run_id=drive.run_id,
        test=test.name,
        good=good,
        bad=bad,
        found=found,
        suspects=() if found else suspects,
        tried=dict(bisection.answers),
        output=test.outputs.get(found.commit, "") if found else "",
        rollback_command=rollback_command(found.target) if found and found.target else None,
    )


def rollback_command(target: str, *options: str) -> str:
    """The command that takes something back."""
    return shlex.join(["acms", "rollback", target, *options, "--operator", "NAME", "--reason", "TEXT"])


def _said(store: Store, done: ProcessResult) -> str:
    text = ending(f"{done.stdout}\n{done.stderr}".strip(), OUTPUT_CHARACTERS)
    timed_out = "\nit was stopped, its time was over" if done.timed_out else ""
    return store.scrubber.text(text) + timed_out


def _end(test: CommitTest, commit: str) -> str:
    last = test.outputs.get(commit, "").strip().splitlines()[-1:]
    return f" ({last[0]})" if last else ""
