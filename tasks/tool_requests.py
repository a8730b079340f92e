"""What a tool that asks a model is to do in one task, as a file that it may read."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from prefect_acms.tasks.gaps import Gap

FeedbackKind = Literal["gate", "apply", "scope", "no_change", "proof", "tests", "refusal"]


class Feedback(BaseModel):
    """What was said about an earlier attempt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FeedbackKind = Field(description="who said it: a gate, the proof, the limits of a patch …")
    attempt: int = Field(ge=1, description="number of the attempt that it is about")
    text: str = Field(description="what was said, without secrets, and bounded")


class ToolRequest(BaseModel):
    """What is to be done, where, and what was said about earlier attempts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: str = Field(description="the task")
    title: str = Field(description="what is to be done, in one line")
    instructions: str = Field(default="", description="how, in our own words or in those of the plan")
    gaps: tuple[Gap, ...] = Field(default=(), description="the gaps to be fixed")
    files: tuple[str, ...] = Field(default=(), description="the files that they are in")
    scope: tuple[str, ...] = Field(default=(), description="patterns of the only files that a patch may touch")
    feedback: tuple[Feedback, ...] = Field(default=(), description="what was said about earlier attempts")
    stricter: bool = Field(default=False, description="whether an attempt has claimed a success that there was not")
    model: str | None = Field(default=None, description="model to be asked, where the tool lets one choose")
    max_output_tokens: int | None = Field(default=None, description="tokens that one answer may have")
    token_budget: int | None = Field(default=None, description="tokens of repository text that a prompt may hold")
