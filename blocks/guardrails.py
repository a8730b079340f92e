"""What no patch may do, and which patches a person has to see: the settings, each with how a second policy tightens it.

The settings of a run and those of the repository itself are one model. Put together they can only become tighter.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from prefect_acms.blocks.globs import Glob
from prefect_acms.blocks.protection import PROTECTED
from prefect_acms.blocks.section import Section
from prefect_acms.blocks.tool_spec import Tier
from prefect_acms.canonical.test_gate import GateType


class Tightening(StrEnum):
    """What becomes of a setting when a second policy has a word in it."""

    SMALLER = "the smaller value counts"
    BOTH = "what both allow is allowed"
    EITHER = "what either names counts"
    STRICTER = "the stricter value counts"
    EACH = "each list holds on its own"
    OURS = "the run's value counts"


class Operation(StrEnum):
    """What a policy or a pattern can forbid a patch to do to a file."""

    CREATE = "create"
    DELETE = "delete"
    RENAME = "rename"


class Integrity(StrEnum):
    """What becomes of a patch that changes what judges it; the later, the stricter."""

    REVIEW = "review"
    REFUSE = "refuse"


class Untested(StrEnum):
    """What becomes of a patch that no tests can judge; the later, the stricter."""

    ALLOW = "allow"
    REVIEW_AI = "review_ai"
    REVIEW = "review"
    REFUSE = "refuse"


class PatchLimits(Section):
    """What one patch may touch at most."""

    max_files: Annotated[int, Tightening.SMALLER] = Field(default=50, ge=1, description="files a patch")
    max_lines_per_file: Annotated[int, Tightening.SMALLER] = Field(
        default=500, ge=1, description="changed lines a file"
    )
    max_bytes: Annotated[int, Tightening.SMALLER] = Field(default=10 * 1024 * 1024, ge=1, description="bytes a patch")
    allow_binary: Annotated[bool, Tightening.BOTH] = Field(
        default=False, description="whether a patch may hold binary hunks"
    )
    allow_executable: Annotated[bool, Tightening.BOTH] = Field(
        default=False, description="whether a patch may make a file executable"
    )


class ReviewSettings(Section):
    """Which patches wait until a person has approved them, and for how long."""

    always: Annotated[bool, Tightening.EITHER] = Field(default=False, description="every patch waits")
    ai_made: Annotated[bool, Tightening.EITHER] = Field(
        default=True, description="patches wait that a tool made which is not deterministic"
    )
    paths: Annotated[tuple[Glob, ...], Tightening.EACH] = Field(
        default=(), description="patches wait that touch a file which one of these patterns covers"
    )
    tools: Annotated[tuple[str, ...], Tightening.EITHER] = Field(default=(), description="patches of these tools wait")
    tiers: Annotated[tuple[Tier, ...], Tightening.EITHER] = Field(
        default=(), description="patches wait whose tool has one of these safety tiers: low, medium, high"
    )
    max_files: Annotated[int | None, Tightening.SMALLER] = Field(
        default=None, ge=0, description="patches wait that touch more files; none: any number is fine"
    )
    max_lines: Annotated[int | None, Tightening.SMALLER] = Field(
        default=None, ge=0, description="patches wait that change more lines; none: any number is fine"
    )
    expires_after_sec: Annotated[float, Tightening.SMALLER] = Field(
        default=86400,
        gt=0,
        allow_inf_nan=False,
        description="seconds after which a patch that nobody has looked at is dropped",
    )
    suspend_after_sec: Annotated[float | None, Tightening.OURS] = Field(
        default=900,
        gt=0,
        allow_inf_nan=False,
        description="seconds of nothing but waiting after which a deployed run ends its process and goes on after the "
        "answer; none: it waits as long as it takes",
    )
    wait: Annotated[bool, Tightening.OURS] = Field(
        default=True, description="whether the run waits for the answer; without, it ends and the patch is left waiting"
    )


class PathRules(Section):
    """Where patches may go, as one policy says it: a `!` takes back only what the same list has said before."""

    scope: tuple[Glob, ...] = Field(default=(), description="the only files that a patch may change; none: every file")
    protected_paths: tuple[Glob, ...] = Field(default=(), description="files that no patch may change")
    review_paths: tuple[Glob, ...] = Field(default=(), description="files that no patch changes unseen")


class GuardrailSettings(Section):
    """What no patch may do; fails closed."""

    limits: PatchLimits = Field(default=PatchLimits(), description="limits of one patch")
    scope: Annotated[tuple[Glob, ...], Tightening.EACH] = Field(
        default=(),
        description="patterns as in .gitignore of the only files that a patch may change; none: every file",
    )
    protected_paths: Annotated[tuple[Glob, ...], Tightening.EACH] = Field(
        default=PROTECTED,
        description="patterns as in .gitignore of files that no patch may change; none: those of `acms policy show`",
    )
    allowed_tools: Annotated[tuple[str, ...] | None, Tightening.BOTH] = Field(
        default=None, description="the only tools that may be used; none: those that the patterns allow"
    )
    forbidden: Annotated[tuple[Operation, ...], Tightening.EITHER] = Field(
        default=(), description="what no patch may do to a file: create, delete, rename"
    )
    required_checks: Annotated[tuple[GateType, ...], Tightening.EITHER] = Field(
        default=(), description="gates that must be able to judge: LINT, UNIT, INTEGRATION, SECURITY"
    )
    integrity: Annotated[Integrity, Tightening.STRICTER] = Field(
        default=Integrity.REVIEW,
        description="what becomes of a patch that changes tests, their configuration or a linter's: review or refuse",
    )
    unavailable_gates: Annotated[Untested, Tightening.STRICTER] = Field(
        default=Untested.REVIEW_AI,
        description="what becomes of a patch that no tests can judge: allow, review_ai (wait if a tool made it that is "
        "not deterministic), review or refuse",
    )
    review: ReviewSettings = Field(default=ReviewSettings(), description="which patches wait for a person")
    further_paths: Annotated[tuple[PathRules, ...], Tightening.EACH] = Field(
        default=(), description="further rules for paths, each of which holds on its own"
    )

    @property
    def path_rules(self) -> tuple[PathRules, ...]:
        """Every rule for paths, those of this policy first; a patch has to keep to each."""
        ours = PathRules(scope=self.scope, protected_paths=self.protected_paths, review_paths=self.review.paths)
        return ours, *self.further_paths
