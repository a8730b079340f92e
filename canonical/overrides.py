"""What an operator may order by hand; each order needs a name and a reason, and takes legal edges only."""

from __future__ import annotations

from enum import StrEnum


class Override(StrEnum):
    """The orders, by what they are called on the command line and in the trail."""

    COMPLETE_TASK = "complete-task"
    FAIL_TASK = "fail-task"
    RESET_TASK = "reset-task"
    UNBLOCK_TASK = "unblock-task"
    SKIP_WORKSTREAM = "skip-workstream"
    FAIL_WORKSTREAM = "fail-workstream"
    VALIDATE_WORKSTREAM = "validate-workstream"
    ROLLBACK_PATCH = "rollback-patch"
    DROP_PATCH = "drop-patch"
    RESET_BREAKER = "reset-breaker"
    QUARANTINE_RUN = "quarantine-run"
