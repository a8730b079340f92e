"""The fix loop of a task: what its tools have made so far, what was said of it, and what follows from that."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from prefect_acms.blocks.fix_loop import FixLoopSettings
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.reports.text import count
from prefect_acms.tasks.tool_requests import Feedback, FeedbackKind, feedback_of

FIX_LOOP = "fix_loop"
"""Under this name a task keeps its attempts."""

FIX_LOOP_POLICY = "policy:fix-loop"
"""The operator of record when a patch is dropped because a later attempt has taken its place."""

LIES_OF_A_TOOL = 2
"""So many successes without ground in one task, and the next tool gets its turn."""

LIES_OF_A_RUN = 3
"""So many, and nothing that the run's tools say is believed any more: the run is quarantined."""


class Said(BaseModel):
    """What keeps the patch of an attempt out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FeedbackKind = Field(description="who said it")
    reason: str = Field(description="in one sentence, for people")
    text: str = Field(description="at length, for the tool")
    signature: str = Field(description="the error, without what differs between two occurrences of it")
    entries: tuple[str, ...] = Field(default=(), description="ledger entries that were tried and put aside")
    is_lie: bool = Field(default=False, description="whether the attempt has claimed a success that was none")
    is_final: bool = Field(default=False, description="whether no other attempt can do better")


class Attempt(BaseModel):
    """One run of a tool in the loop; what was said of it is not known before it was judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool_id: str
    patch_id: str | None = Field(default=None, description="what it has made; none: it did not come to its end")
    sha256: str | None = Field(default=None, description="the stored diff by its hash; none: it has changed nothing")
    exit_code: int = 0
    claim: str | None = Field(default=None, description="what it claims without ground")
    said: Said | None = None


class Step(StrEnum):
    """What is done after an attempt that came to nothing."""

    AGAIN = "again"
    NEXT_TOOL = "next_tool"
    QUARANTINE = "quarantine"
    STOP = "stop"


class Move(NamedTuple):
    """What is done next, and why the tool gets no other turn, where it gets none."""

    step: Step
    because: str = ""
    stricter: bool = False


class FixLoop(BaseModel):
    """The attempts at a task, oldest first; kept with the task, so that any driver can go on with them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts: tuple[Attempt, ...] = ()

    @classmethod
    def of(cls, task: TaskRow) -> FixLoop:
        """What the task keeps of its attempts."""
        return cls.model_validate(task.info.get(FIX_LOOP, {}))

    @property
    def last(self) -> Attempt:
        """The attempt that is judged, or was judged last."""
        return self.attempts[-1]

    @property
    def tried(self) -> tuple[str, ...]:
        """The tools that had a turn."""
        return tuple(dict.fromkeys(attempt.tool_id for attempt in self.attempts))

    @property
    def lies(self) -> int:
        """How often a tool has claimed a success that was none."""
        return sum(attempt.said is not None and attempt.said.is_lie for attempt in self.attempts)

    @property
    def entries(self) -> tuple[str, ...]:
        """The ledger entries of all attempts, in order."""
        return tuple(entry for attempt in self.attempts if attempt.said for entry in attempt.said.entries)

    @property
    def feedback(self) -> tuple[Feedback, ...]:
        """What a tool is told of the attempts before."""
        return tuple(
            feedback_of(attempt.said.kind, number, attempt.said.text)
            for number, attempt in enumerate(self.attempts, 1)
            if attempt.said is not None
        )

    def with_attempt(self, attempt: Attempt) -> FixLoop:
        """The loop with one more attempt."""
        return FixLoop(attempts=(*self.attempts, attempt))

    def with_said(self, said: Said) -> FixLoop:
        """The loop once the last attempt was judged."""
        return FixLoop(attempts=(*self.attempts[:-1], self.last.model_copy(update={"said": said})))

    def same_before(self, window: int) -> Attempt | None:
        """The attempt among the last ones that made the very same change as the last."""
        earlier = self.attempts[-window:-1]
        if self.last.sha256 is None:
            return None
        return next((attempt for attempt in reversed(earlier) if attempt.sha256 == self.last.sha256), None)

    def move(self, settings: FixLoopSettings, *, is_ai: bool) -> Move:
        """What is done after the last attempt, which was judged; a tool that asks no model does the same again."""
        said = self.last.said
        if said is None:
            message = "the last attempt is not judged yet"
            raise ValueError(message)
        if said.is_final:
            return Move(Step.STOP)
        if not is_ai or self.last.patch_id is None:
            return Move(Step.NEXT_TOOL)
        if said.is_lie and self.lies >= LIES_OF_A_RUN:
            return Move(Step.QUARANTINE)
        if said.is_lie and self.lies >= LIES_OF_A_TOOL:
            return Move(Step.NEXT_TOOL, "claims a success that is none once more")
        if because := self._spent(settings):
            return Move(Step.NEXT_TOOL, because)
        return Move(Step.AGAIN, stricter=said.is_lie)

    def _spent(self, settings: FixLoopSettings) -> str | None:
        """Why the tool of the last attempt gets no other turn."""
        own = [attempt for attempt in self.attempts if attempt.tool_id == self.last.tool_id]
        errors = _signatures(own)
        if self.last.sha256 is None and not (self.last.said and self.last.said.is_lie):
            return "proposes no change"
        if self.same_before(settings.window) is not None:
            return f"makes the same change twice within {settings.window} attempts"
        if errors.count(errors[-1]) >= settings.same_error:
            return f"has failed by the same error {settings.same_error} times"
        if len(own) > settings.attempts:
            return f"has used up its {count(settings.attempts, 'further attempt')}"
        return None


def _signatures(attempts: Sequence[Attempt]) -> list[str]:
    return [attempt.said.signature for attempt in attempts if attempt.said is not None]
