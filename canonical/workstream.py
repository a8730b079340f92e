"""The lifecycle of a workstream."""

from __future__ import annotations

from enum import StrEnum

from prefect_acms.canonical.machine import Edge, Facts, Guard, Machine, Severity, given, now
from prefect_acms.canonical.verdicts import (
    patches_kept,
    prerequisites_lost,
    prerequisites_met,
    quarantine_fails_workstream,
)


class WorkstreamState(StrEnum):
    """Where a workstream stands."""

    PLANNED = "planned"
    READY = "ready"
    BLOCKED = "blocked"
    EXECUTING = "executing"
    VALIDATING = "validating"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class WorkstreamTrigger(StrEnum):
    """What moves a workstream."""

    TASKS_CREATED = "tasks_created"
    DEPENDENCY_UNSATISFIED = "dependency_unsatisfied"
    DISABLED = "disabled"
    USER_CANCELLED = "user_cancelled"
    RUN_ENDED = "run_ended"
    DEPENDENCIES_MET = "dependencies_met"
    DEPENDENCY_UNSATISFIABLE = "dependency_unsatisfiable"
    FIRST_TASK_STARTED = "first_task_started"
    ALL_TASKS_COMPLETED = "all_tasks_completed"
    CRITICAL_TASK_FAILED = "critical_task_failed"
    INCOMPLETE = "incomplete"
    QUARANTINED_PATCH = "quarantined_patch"
    VALIDATION_PASSED = "validation_passed"
    VALIDATION_FAILED = "validation_failed"


def _ready(facts: Facts) -> bool:
    return bool(facts["tasks"]) and prerequisites_met(facts["prerequisite_states"])


def _task_running(facts: Facts) -> bool:
    return any(task.state == "running" for task in facts["tasks"])


def _tasks_completed(facts: Facts) -> bool:
    return bool(facts["tasks"]) and all(task.state == "completed" for task in facts["tasks"])


def _merged(facts: Facts) -> bool:
    patches = facts["patches"]
    return (
        bool(facts["merged"])
        and _tasks_completed(facts)
        and patches_kept(patches)
        and not quarantine_fails_workstream(patches)
    )


READY = Guard(
    "all planned tasks exist and every prerequisite is completed or skipped", ("tasks", "prerequisite_states"), _ready
)
UNSATISFIED = Guard(
    "a prerequisite is not completed or skipped",
    ("prerequisite_states",),
    lambda facts: not prerequisites_met(facts["prerequisite_states"]),
)
UNSATISFIABLE = Guard(
    "a prerequisite failed or was cancelled and has no successor",
    ("prerequisite_states",),
    lambda facts: prerequisites_lost(facts["prerequisite_states"]),
)
TASK_RUNNING = Guard("a task is running", ("tasks",), _task_running)
TASKS_COMPLETED = Guard("every task is completed", ("tasks",), _tasks_completed)
MERGED = Guard(
    "every task is completed, every live patch is verified or committed and the branch has been merged",
    ("tasks", "patches", "merged"),
    _merged,
)

_S, _T = WorkstreamState, WorkstreamTrigger
_CANCELLED = Edge.to(_S.CANCELLED, _T.USER_CANCELLED, _T.RUN_ENDED, severity=Severity.WARNING, sets=now("completed_at"))
_SKIPPED = Edge.to(_S.SKIPPED, _T.DISABLED, sets=now("completed_at"))
_ENDED_BADLY = now("completed_at") | given("error")

WORKSTREAM = Machine(
    "workstream",
    WorkstreamState,
    WorkstreamTrigger,
    {
        _S.PLANNED: (
            Edge.to(_S.READY, _T.TASKS_CREATED, guard=READY),
            Edge.to(_S.BLOCKED, _T.DEPENDENCY_UNSATISFIED, guard=UNSATISFIED),
            _SKIPPED,
            _CANCELLED,
        ),
        _S.BLOCKED: (
            Edge.to(_S.READY, _T.DEPENDENCIES_MET, guard=READY),
            _SKIPPED,
            _CANCELLED,
            Edge.to(
                _S.FAILED, _T.DEPENDENCY_UNSATISFIABLE, severity=Severity.ERROR, sets=_ENDED_BADLY, guard=UNSATISFIABLE
            ),
        ),
        _S.READY: (
            Edge.to(_S.EXECUTING, _T.FIRST_TASK_STARTED, sets=now("started_at"), guard=TASK_RUNNING),
            _SKIPPED,
            _CANCELLED,
        ),
        _S.EXECUTING: (
            Edge.to(_S.VALIDATING, _T.ALL_TASKS_COMPLETED, guard=TASKS_COMPLETED),
            Edge.to(
                _S.FAILED,
                _T.CRITICAL_TASK_FAILED,
                _T.INCOMPLETE,
                _T.QUARANTINED_PATCH,
                severity=Severity.ERROR,
                sets=_ENDED_BADLY,
            ),
            _CANCELLED,
        ),
        _S.VALIDATING: (
            Edge.to(_S.COMPLETED, _T.VALIDATION_PASSED, sets=now("completed_at"), guard=MERGED),
            Edge.to(_S.FAILED, _T.VALIDATION_FAILED, severity=Severity.ERROR, sets=_ENDED_BADLY),
            _CANCELLED,
        ),
        _S.COMPLETED: (),
        _S.FAILED: (),
        _S.CANCELLED: (),
        _S.SKIPPED: (),
    },
)
