"""What policy says of a patch that is valid: that it may not go in, or that a person has to see it first, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from prefect_acms.blocks.guardrails import GuardrailSettings, Integrity, ReviewSettings, Untested
from prefect_acms.blocks.tool_spec import Tier, ToolSpec
from prefect_acms.canonical.test_gate import GateType
from prefect_acms.tasks.gates import GateCommand
from prefect_acms.tasks.guardrails import covered_in_any_case
from prefect_acms.tasks.integrity import IntegrityFinding, integrity_findings
from prefect_acms.tasks.patches import Validation, validate_patch
from prefect_acms.tasks.policies import POLICY_FILES, policy_changes
from prefect_acms.tasks.reports.text import count
from prefect_acms.tasks.repository import Repository

TESTS = frozenset({GateType.UNIT, GateType.INTEGRATION})
"""The gates that see whether the code still does what it did."""

FACTS = "facts"
"""Under this name a ledger entry keeps the facts by which policy was asked."""

UNTESTED = "no tests can judge it"

_SHOWN = 5


class PatchFacts(BaseModel):
    """What policy has to know about a patch; it is stored with the patch, so that policy can be asked again."""

    model_config = ConfigDict(frozen=True)

    files: tuple[str, ...] = Field(description="the files that it touches")
    lines: int = Field(description="the lines that it adds and removes")
    tool_id: str = Field(description="the tool that made it")
    tier: Tier = Field(description="the safety tier of the tool")
    ai_made: bool = Field(description="whether the tool is not deterministic")
    judging: frozenset[GateType] = Field(description="the gates that can judge it")
    integrity: tuple[IntegrityFinding, ...] = Field(default=(), description="what it does to what judges it")
    policy_files: tuple[str, ...] = Field(default=(), description="files in which it changes the repository's policy")

    @property
    def record(self) -> dict[str, Any]:
        """The facts as they are stored."""
        return {**self.model_dump(mode="json"), "judging": sorted(self.judging)}


class Maker(NamedTuple):
    """Who made a patch, as far as policy wants to know it."""

    tool_id: str
    tier: Tier
    ai_made: bool

    @classmethod
    def of(cls, tool: ToolSpec) -> Maker:
        """A tool."""
        return cls(tool.tool_id, tool.safety_tier, not tool.deterministic)


UNKNOWN_MAKER = Maker("an unknown tool", Tier.HIGH, ai_made=True)
"""Whoever has made a patch of which nobody knows where it comes from."""

SETTINGS = (
    *("policy", "allowed_tools", "required_checks", "unavailable_gates", "integrity"),
    *(f"review.{name}" for name in ("always", "ai_made", "tools", "tiers", "max_files", "max_lines", "paths")),
)
"""The settings of a policy that can have something to say of a valid patch; the first is that it is left alone."""


def validated_under(
    guardrails: GuardrailSettings, content: bytes, *, scope: Sequence[str], repository: Repository | None, base: str
) -> Validation:
    """What is to be said against a patch where these guardrails hold; `scope` is the task's, as of the top."""
    return validate_patch(
        content,
        limits=guardrails.limits,
        protected=guardrails.protected_paths,
        scope=scope,
        forbidden=frozenset(guardrails.forbidden),
        policy=guardrails.path_rules,
        repository=repository,
        base=base,
    )


def facts_of(
    validation: Validation,
    maker: Maker,
    *,
    repository: Repository,
    before: str,
    after: str,
    gates: Iterable[GateCommand],
    judging: Iterable[GateCommand],
) -> PatchFacts:
    """The facts about a valid patch that leads from one tree to another; `gates` are all, `judging` those that can."""
    files = validation.files
    commands = [gate.argv for gate in gates]
    # a folder of that name would be in the policy's way
    touched = {path.partition("/")[0] for path in files} & {*POLICY_FILES}
    return PatchFacts(
        files=files,
        lines=validation.lines_added + validation.lines_removed,
        **maker._asdict(),
        judging=frozenset(gate.gate_type for gate in judging),
        integrity=integrity_findings(repository, before, after, files, gate_commands=commands),
        policy_files=policy_changes(repository, before, after) if touched else (),
    )


class Verdict(StrEnum):
    """What one rule of a policy says of a patch."""

    REFUSED = "refused"
    REVIEW = "review"


class Saying(NamedTuple):
    """What one setting of a policy has against a patch, as a sentence."""

    setting: str
    verdict: Verdict
    reason: str


def sayings(guardrails: GuardrailSettings, facts: PatchFacts) -> tuple[Saying, ...]:
    """Everything that policy has to say of a patch, setting by setting; nothing if it may go in unseen."""
    return (*_refusals(guardrails, facts), *_reviews(guardrails, facts))


def refusals(guardrails: GuardrailSettings, facts: PatchFacts) -> tuple[str, ...]:
    """Why the patch may not go in whatever a person says, as sentences; none if policy lets it."""
    return tuple(saying.reason for saying in _refusals(guardrails, facts))


def review_reasons(guardrails: GuardrailSettings, facts: PatchFacts) -> tuple[str, ...]:
    """Why a person has to approve the patch, as sentences; none if it may go in as it is."""
    return tuple(saying.reason for saying in _reviews(guardrails, facts))


def _refusals(guardrails: GuardrailSettings, facts: PatchFacts) -> Iterator[Saying]:
    def refused(setting: str, reason: str) -> Saying:
        return Saying(setting, Verdict.REFUSED, reason)

    if facts.policy_files:
        yield refused("policy", f"it changes the repository's own policy: {', '.join(facts.policy_files)}")
    allowed = guardrails.allowed_tools
    if allowed is not None and facts.tool_id not in allowed:
        known = ", ".join(sorted(allowed)) or "none"
        yield refused("allowed_tools", f"the policy allows the tools {known}, not {facts.tool_id}")
    missing = sorted(set(guardrails.required_checks) - facts.judging)
    if missing:
        problem = f"the policy requires that {', '.join(missing)} can judge, and not all of them can"
        yield refused("required_checks", problem)
    if guardrails.unavailable_gates is Untested.REFUSE and not facts.judging & TESTS:
        yield refused("unavailable_gates", UNTESTED)
    if guardrails.integrity is Integrity.REFUSE:
        yield from (refused("integrity", reason) for reason in _integrity(facts.integrity))


def _reviews(guardrails: GuardrailSettings, facts: PatchFacts) -> Iterator[Saying]:
    for setting, reason in _review_reasons(guardrails, facts):
        yield Saying(setting, Verdict.REVIEW, reason)


def _review_reasons(guardrails: GuardrailSettings, facts: PatchFacts) -> Iterator[tuple[str, str]]:
    review = guardrails.review
    if review.always:
        yield "review.always", "the policy wants every patch to be seen"
    yield from _about_tool(review, facts)
    yield from _about_size(review, facts)
    hit = sorted(
        {path for rules in guardrails.path_rules for path in covered_in_any_case(facts.files, rules.review_paths)}
    )
    if hit:
        yield "review.paths", f"it touches {_named(hit)}"
    if guardrails.integrity is Integrity.REVIEW:
        yield from (("integrity", reason) for reason in _integrity(facts.integrity))
    by_ai = guardrails.unavailable_gates is Untested.REVIEW_AI and facts.ai_made
    if not facts.judging & TESTS and (by_ai or guardrails.unavailable_gates is Untested.REVIEW):
        yield "unavailable_gates", UNTESTED


def _about_tool(review: ReviewSettings, facts: PatchFacts) -> Iterator[tuple[str, str]]:
    if review.ai_made and facts.ai_made:
        yield "review.ai_made", f"{facts.tool_id}, which made it, is not deterministic"
    if facts.tool_id in review.tools:
        yield "review.tools", f"{facts.tool_id} made it"
    if facts.tier in review.tiers:
        yield "review.tiers", f"{facts.tool_id}, which made it, has safety tier {facts.tier}"


def _about_size(review: ReviewSettings, facts: PatchFacts) -> Iterator[tuple[str, str]]:
    if review.max_files is not None and len(facts.files) > review.max_files:
        problem = f"it touches {count(len(facts.files), 'file')}, {review.max_files} may go in unseen"
        yield "review.max_files", problem
    if review.max_lines is not None and facts.lines > review.max_lines:
        yield "review.max_lines", f"it changes {count(facts.lines, 'line')}, {review.max_lines} may go in unseen"


def _integrity(findings: Iterable[IntegrityFinding]) -> Iterator[str]:
    for found in findings:
        yield f"it changes what judges it: {found}"


def _named(paths: Sequence[str]) -> str:
    more = len(paths) - _SHOWN
    return ", ".join(paths[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
