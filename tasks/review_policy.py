"""What policy says of a patch that is valid: that it may not go in, or that a person has to see it first, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from prefect_acms.blocks.guardrails import GuardrailSettings, Integrity, ReviewSettings, Untested
from prefect_acms.blocks.tool_spec import Tier
from prefect_acms.canonical.test_gate import GateType
from prefect_acms.tasks.guardrails import covered
from prefect_acms.tasks.reports.text import count

TESTS = frozenset({GateType.UNIT, GateType.INTEGRATION})
"""The gates that see whether the code still does what it did."""

_SHOWN = 5


class Finding(Protocol):
    """What a patch does to the things that judge it, at one place."""

    @property
    def rule(self) -> str:
        """Which of them."""

    @property
    def path(self) -> str:
        """The file."""

    @property
    def line(self) -> int | None:
        """The line in it, where there is one."""

    @property
    def problem(self) -> str:
        """What is done, as a sentence."""


@dataclass(frozen=True, slots=True)
class PatchFacts:
    """What policy has to know about a patch; `judging` are the gates that can judge it."""

    files: tuple[str, ...]
    lines: int
    tool_id: str
    tier: Tier
    ai_made: bool
    judging: frozenset[GateType]
    integrity: Sequence[Finding] = ()


def refusals(guardrails: GuardrailSettings, facts: PatchFacts) -> tuple[str, ...]:
    """Why the patch may not go in whatever a person says, as sentences; none if policy lets it."""
    return tuple(_refusals(guardrails, facts))


def review_reasons(guardrails: GuardrailSettings, facts: PatchFacts) -> tuple[str, ...]:
    """Why a person has to approve the patch, as sentences; none if it may go in as it is."""
    return tuple(_review_reasons(guardrails, facts))


def _refusals(guardrails: GuardrailSettings, facts: PatchFacts) -> Iterator[str]:
    allowed = guardrails.allowed_tools
    if allowed is not None and facts.tool_id not in allowed:
        yield f"the policy allows the tools {', '.join(sorted(allowed)) or 'none'}, not {facts.tool_id}"
    missing = sorted(set(guardrails.required_checks) - facts.judging)
    if missing:
        yield f"the policy requires that {', '.join(missing)} can judge, and not all of them can"
    if guardrails.unavailable_gates is Untested.REFUSE and not facts.judging & TESTS:
        yield "no tests can judge it"
    if guardrails.integrity is Integrity.REFUSE:
        yield from _integrity(facts.integrity)


def _review_reasons(guardrails: GuardrailSettings, facts: PatchFacts) -> Iterator[str]:
    review = guardrails.review
    if review.always:
        yield "the policy wants every patch to be seen"
    yield from _about_tool(review, facts)
    yield from _about_size(review, facts)
    hit = sorted({path for rules in guardrails.path_rules for path in covered(facts.files, rules.review_paths)})
    if hit:
        yield f"it touches {_named(hit)}"
    if guardrails.integrity is Integrity.REVIEW:
        yield from _integrity(facts.integrity)
    wanted = guardrails.unavailable_gates
    if not facts.judging & TESTS and (wanted is Untested.REVIEW or (wanted is Untested.REVIEW_AI and facts.ai_made)):
        yield "no tests can judge it"


def _about_tool(review: ReviewSettings, facts: PatchFacts) -> Iterator[str]:
    if review.ai_made and facts.ai_made:
        yield f"{facts.tool_id}, which made it, is not deterministic"
    if facts.tool_id in review.tools:
        yield f"{facts.tool_id} made it"
    if facts.tier in review.tiers:
        yield f"{facts.tool_id}, which made it, has safety tier {facts.tier}"


def _about_size(review: ReviewSettings, facts: PatchFacts) -> Iterator[str]:
    if review.max_files is not None and len(facts.files) > review.max_files:
        yield f"it touches {count(len(facts.files), 'file')}, {review.max_files} may go in unseen"
    if review.max_lines is not None and facts.lines > review.max_lines:
        yield f"it changes {count(facts.lines, 'line')}, {review.max_lines} may go in unseen"


def _integrity(findings: Sequence[Finding]) -> Iterator[str]:
    for finding in findings:
        place = finding.path if finding.line is None else f"{finding.path}:{finding.line}"
        yield f"it changes what judges it: {finding.rule} at {place}: {finding.problem}"


def _named(paths: Sequence[str]) -> str:
    more = len(paths) - _SHOWN
    return ", ".join(paths[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
