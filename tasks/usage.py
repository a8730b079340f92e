"""What a tool has used up of a model: requests, tokens and money, as far as it tells."""

from __future__ import annotations

import os
import stat
from decimal import Decimal
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prefect_acms.blocks.tool_spec import ToolSpec
from prefect_acms.tasks.ai.handover import PROGRAM
from prefect_acms.tasks.processes import ProcessResult

LARGEST_FILE = 1 << 18
"""Bytes of a usage file at most; a longer one is none."""

_SIGNALLED = 128
"""A higher exit code names, to a shell and to what isolates, the signal that has ended a program."""


class Usage(BaseModel):
    """Requests, tokens and cost; the cost is None where nobody has told it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = Field(default=None, max_length=200, description="name of the model; several, joined by commas")
    provider: str | None = Field(default=None, max_length=200, description="name of its provider")
    requests: int = Field(default=0, ge=0, le=1 << 53, description="how often it was asked")
    input_tokens: int = Field(
        default=0, ge=0, le=1 << 53, description="tokens that it has read, those of its cache included"
    )
    cached_tokens: int = Field(default=0, ge=0, le=1 << 53, description="tokens of these that came from its cache")
    output_tokens: int = Field(default=0, ge=0, le=1 << 53, description="tokens that it has written")
    cost_usd: Decimal | None = Field(
        default=None, ge=0, max_digits=20, description="US dollars, where the tool tells them"
    )

    @property
    def is_nothing(self) -> bool:
        """Whether no model was asked."""
        return not (self.requests or self.input_tokens or self.output_tokens or self.cost_usd)

    def __add__(self, other: Usage) -> Usage:
        """Both together; what one of them does not tell of its cost, nobody knows of both."""
        if self.is_nothing or other.is_nothing:
            return other if self.is_nothing else self
        known = self.cost_usd is not None and other.cost_usd is not None
        return Usage(
            model=_joined(self.model, other.model),
            provider=_joined(self.provider, other.provider),
            requests=self.requests + other.requests,
            input_tokens=self.input_tokens + other.input_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_usd=(self.cost_usd or Decimal(0)) + (other.cost_usd or Decimal(0)) if known else None,
        )


def was_killed(result: ProcessResult) -> bool:
    """Whether a program did not end by itself, so that a model may have been at work for it, of which nobody knows."""
    return result.timed_out or result.exit_code < 0 or result.exit_code > _SIGNALLED


def usage_of(profile: ToolSpec, result: ProcessResult, usage_file: Path | None = None) -> Usage | None:
    """What a run of a tool has used up: by the file that it has written, else by what it printed; None if unknown."""
    if profile.ai and was_killed(result):
        return None  # what it has told leaves out the request that was cut off
    written = b"" if usage_file is None else _content(usage_file)
    if profile.usage is not None:
        from prefect_acms.tasks.usage_readers import read_printed  # noqa: PLC0415 - they are made of usages

        return read_printed(profile.usage, result, written)
    try:
        told = Usage.model_validate_json(written)
    except ValidationError:
        return None
    return told if PROGRAM in profile.command or not profile.ai else _believed(told)


def _believed(told: Usage) -> Usage | None:
    """What an agent says of itself: that its model has done nothing, or for nothing, is as good as nothing said."""
    if told.is_nothing:
        return None
    return told if told.cost_usd else told.model_copy(update={"cost_usd": None})


def _content(path: Path) -> bytes:
    """What a tool has written to a file; what it put there instead of a file is neither followed nor waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        return file.read(LARGEST_FILE) if stat.S_ISREG(found.st_mode) and found.st_size <= LARGEST_FILE else b""


def _joined(one: str | None, other: str | None) -> str | None:
    names = [name for both in (one, other) if both for name in both.split(", ")]
    return ", ".join(dict.fromkeys(names))[:200] or None
