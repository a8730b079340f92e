"""The plan: workstreams and the DAG of their tasks, as a document that a person may edit."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from prefect_acms.blocks.tool_spec import TaskKind
from prefect_acms.tasks.gaps import Fingerprint, Gap, RepositoryPath

__all__ = ["Effort", "Plan", "PlannedTask", "TaskKind", "Workstream", "WorkstreamList"]

_SLUG = r"[a-z0-9]+(-[a-z0-9]+)*"
WorkstreamKey = Annotated[str, Field(pattern=rf"^{_SLUG}$", max_length=100)]
"""Name of a workstream; part of its branch's name and of its worktree's path."""

TaskKey = Annotated[str, Field(pattern=rf"^{_SLUG}(/{_SLUG})?$", max_length=200)]
"""Name of a task, for example `ws-01-style/implementation`."""


class Effort(StrEnum):
    """How much work a workstream is."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Entry(BaseModel):
    """A part of a plan; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Waiting(Entry):
    """Something that waits for others of its kind."""

    @model_validator(mode="after")
    def _order_is_a_dependency(self) -> Self:
        waits, order_only = set(getattr(self, "depends_on", ())), set(getattr(self, "order_only", ()))
        if order_only - waits:
            message = f"order_only names {min(order_only - waits)!r}, which depends_on does not"
            raise ValueError(message)
        return self


class Workstream(Waiting):
    """Gaps that are worked on together, on a branch of their own."""

    key: WorkstreamKey
    name: str = Field(min_length=1, description="one line for people")
    category: str = Field(min_length=1)
    priority_score: float = Field(ge=0, le=10, description="mean severity of its gaps, from 0 to 10")
    effort: Effort = Field(description="by number of files and gaps")
    file_scope: tuple[RepositoryPath, ...] = Field(description="files that it may touch")
    gaps: tuple[Fingerprint, ...] = Field(min_length=1)
    depends_on: tuple[WorkstreamKey, ...] = Field(default=(), description="workstreams that must have ended before")
    order_only: tuple[WorkstreamKey, ...] = Field(
        default=(),
        description="those of depends_on that may end badly: they come first because they touch the same files, "
        "or because a failing test is judged on their result",
    )
    is_critical: bool = False


class PlannedTask(Waiting):
    """One task of the DAG; without a tool_id the router chooses among the tools that the pattern allows."""

    key: TaskKey
    workstream: WorkstreamKey
    kind: TaskKind
    description: str = Field(min_length=1)
    pattern_id: str = Field(min_length=1, description="pattern of the pattern index that governs it")
    tool_id: str | None = None
    file_scope: tuple[RepositoryPath, ...] = Field(description="files that it may touch")
    gaps: tuple[Fingerprint, ...] = Field(min_length=1)
    depends_on: tuple[TaskKey, ...] = Field(default=(), description="tasks that must have ended before")
    order_only: tuple[TaskKey, ...] = Field(default=(), description="those of depends_on that may end badly")
    is_critical: bool = False
    required_capabilities: tuple[str, ...] = ()
    timeout_sec: float = Field(default=1800, gt=0)
    max_retries: int = Field(default=3, ge=0)


class WorkstreamList(Entry):
    """What clustering exports as workstreams.json."""

    version: Literal["1"] = "1"
    workstreams: tuple[Workstream, ...]


class Plan(Entry):
    """Everything that execution needs; no time, no id and no absolute path, so that the same plan is the same bytes."""

    version: Literal["1"] = "1"
    repository: str = Field(min_length=1, description="name of the repository, without its path")
    base_commit: str = Field(min_length=1, description="commit that the plan was made for")
    gaps: tuple[Gap, ...]
    workstreams: tuple[Workstream, ...]
    tasks: tuple[PlannedTask, ...]
