"""Phase plans, the older form of a plan: a list of steps, read into a plan and written from one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from prefect_acms.blocks.tool_spec import TaskKind
from prefect_acms.canonical.errors import InvalidDocument
from prefect_acms.tasks.clustering import effort_of, priority_of
from prefect_acms.tasks.documents import parse_document, refuse_duplicates
from prefect_acms.tasks.fingerprints import fingerprint
from prefect_acms.tasks.gaps import Gap, RepositoryPath
from prefect_acms.tasks.patterns import PatternIndex
from prefect_acms.tasks.plan_checks import validate_plan
from prefect_acms.tasks.plans import Plan, PlannedTask, Waiting, Workstream, WorkstreamKey

SOURCE = "phase-plan"
WORKSTREAM = "ws-01-phase-plan"

KINDS: Mapping[str, TaskKind] = {
    **dict.fromkeys(("analysis", "analyse", "analyze"), TaskKind.ANALYSIS),
    **dict.fromkeys(("implementation", "implement", "code", "edit", "fix"), TaskKind.IMPLEMENTATION),
    **dict.fromkeys(("test", "testing", "validate", "validation", "verify"), TaskKind.TEST),
}
"""The types of steps, as phase plans spell them; the first of a kind is what is written."""

PATTERNS: Mapping[TaskKind, str] = {
    TaskKind.ANALYSIS: "inspection",
    TaskKind.IMPLEMENTATION: "planned-step",
    TaskKind.TEST: "verification",
}
"""The pattern of a step that names none."""


StepId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/ -]*$", max_length=200)]


class Step(Waiting):
    """One step; the first four keys are the form that all phase plans share, the others are ours."""

    step_id: StepId
    title: str = Field(min_length=1)
    type: str = Field(description="analysis, implementation or test, in any of the usual spellings")
    depends_on: tuple[StepId, ...] = ()
    order_only: tuple[StepId, ...] = Field(default=(), description="those of depends_on that may end badly")
    workstream: WorkstreamKey = Field(default=WORKSTREAM, description="workstream, and so the branch, of the step")
    file_scope: tuple[RepositoryPath, ...] = Field(default=(), description="files that the step may touch")
    pattern_id: str | None = Field(default=None, description="pattern that governs it; none: by its type")
    tool_id: str | None = None

    @field_validator("type")
    @classmethod
    def _known(cls, spelling: str) -> str:
        if spelling.lower() not in KINDS:
            message = f"expected one of {', '.join(KINDS)}"
            raise ValueError(message)
        return spelling

    @property
    def kind(self) -> TaskKind:
        """What the type means to us."""
        return KINDS[self.type.lower()]


class PhasePlan(BaseModel):
    """A phase plan; keys beside the steps are not ours to judge."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    steps: tuple[Step, ...] = Field(min_length=1)


def import_phase_plan(
    document: Mapping[str, Any],
    *,
    repository: str,
    base_commit: str,
    patterns: PatternIndex | None = None,
    path: str = "phase plan",
) -> Plan:
    """The plan that a phase plan describes, a task a step; raises InvalidDocument or CyclicPlan that name the step.

    A phase plan knows no gaps, so each step brings one of its own: that it is still to be done.
    """
    steps = parse_document(PhasePlan, json.dumps(document).encode(), path).steps
    refuse_duplicates([_key(step.step_id) for step in steps], path=path, items="steps", field="step_id")
    _refuse_unknown(steps, path)
    plan = Plan(
        repository=repository,
        base_commit=base_commit,
        gaps=tuple(_gap(step) for step in steps),
        workstreams=_workstreams(steps),
        tasks=tuple(_task(step) for step in steps),
    )
    return validate_plan(plan, patterns or PatternIndex.load(), path)


def export_phase_plan(plan: Plan) -> dict[str, Any]:
    """The plan as a phase plan, a step a task; its gaps stay behind."""
    steps = [
        Step(
            step_id=task.key,
            title=task.description,
            type=task.kind,
            **task.model_dump(
                include={"depends_on", "order_only", "workstream", "file_scope", "pattern_id", "tool_id"}
            ),
        ).model_dump(mode="json")
        for task in plan.tasks
    ]
    return {"steps": steps}


def _refuse_unknown(steps: tuple[Step, ...], path: str) -> None:
    known = {step.step_id for step in steps}
    for position, step in enumerate(steps):
        for need in step.depends_on:
            if need not in known:
                where = f"steps[{position}] ({step.step_id}).depends_on"
                raise InvalidDocument(path=path, where=where, problem=f"there is no step {need!r}")


def _key(step_id: str) -> str:
    """The step's id in the spelling of our keys: lower case, dashes, at most one slash."""
    parts = (re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in step_id.split("/", 1))
    return "/".join(part for part in parts if part)


def _gap(step: Step) -> Gap:
    return Gap(
        source=SOURCE,
        rule_id=step.kind,
        fingerprint=_name(step),
        title=step.title,
        category=SOURCE,
        file_paths=step.file_scope,
    )


def _name(step: Step) -> str:
    return fingerprint(SOURCE, step.step_id, [step.title])


def _task(step: Step) -> PlannedTask:
    return PlannedTask(
        key=_key(step.step_id),
        workstream=step.workstream,
        kind=step.kind,
        description=step.title,
        pattern_id=step.pattern_id or PATTERNS[step.kind],
        tool_id=step.tool_id,
        file_scope=step.file_scope,
        gaps=(_name(step),),
        depends_on=tuple(map(_key, step.depends_on)),
        order_only=tuple(map(_key, step.order_only)),
        required_capabilities=(step.kind,),
    )


def _workstreams(steps: tuple[Step, ...]) -> tuple[Workstream, ...]:
    """The workstreams of the steps; they wait for each other as their steps do."""
    home = {step.step_id: step.workstream for step in steps}
    members: dict[str, list[Step]] = {}
    for step in steps:
        members.setdefault(step.workstream, []).append(step)
    return tuple(_workstream(key, group, home) for key, group in members.items())


def _workstream(key: str, steps: list[Step], home: Mapping[str, str]) -> Workstream:
    files = tuple(sorted({path for step in steps for path in step.file_scope}))
    waits = {home[need] for step in steps for need in step.depends_on} - {key}
    needs = {home[need] for step in steps for need in step.depends_on if need not in step.order_only}
    return Workstream(
        key=key,
        name=f"{len(steps)} steps of a phase plan",
        category=SOURCE,
        priority_score=priority_of([_gap(step) for step in steps]),
        effort=effort_of(len(files), len(steps)),
        file_scope=files,
        gaps=tuple(_name(step) for step in steps),
        depends_on=tuple(sorted(waits)),
        order_only=tuple(sorted(waits - needs)),
    )
