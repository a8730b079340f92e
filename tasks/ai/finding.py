"""Gaps that a model finds, and whether those that it has found are still there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

from pydantic import BaseModel, Field
from pydantic_ai import ToolOutput

from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.tasks.ai.asking import Asker
from prefect_acms.tasks.ai.context import Part, chosen_parts, whole_files
from prefect_acms.tasks.ai.disclosure import Disclosure
from prefect_acms.tasks.ai.prompts import CHECKER, FINDER, data_of, findings, fitted, prompt_of
from prefect_acms.tasks.ai.scanning import SOURCE, ScanAnswer, ScanRequest, identities
from prefect_acms.tasks.gaps import Gap

_LONGEST_TITLE = 200
_NEAR_ENOUGH = 40
"""Lines by which a model may be wrong about the line of a fault whose code it quotes."""


class FaultKind(StrEnum):
    """What sort of fault it is."""

    BUG = "bug"
    SECURITY = "security"
    ERROR_HANDLING = "error-handling"
    CONCURRENCY = "concurrency"
    RESOURCE = "resource"
    PERFORMANCE = "performance"
    DOCUMENTATION = "documentation"
    DESIGN = "design"


class Finding(BaseModel):
    """One fault in one file."""

    path: str = Field(description="path of the file, as it was shown")
    line: int = Field(ge=1, description="line at which the fault begins")
    code: str = Field(description="that line, copied exactly")
    kind: FaultKind
    severity: GapSeverity
    title: str = Field(min_length=1, description="the fault, in one line")
    explanation: str = Field(description="why it is one, and what should be done, in a few sentences")


class Findings(BaseModel):
    """Every fault that is sure, worst first."""

    findings: list[Finding]


class State(BaseModel):
    """Whether a fault is still there."""

    number: int = Field(description="number of the finding")
    still_there: bool
    reason: str = Field(description="what in the code says so, in a sentence")


class States(BaseModel):
    """One state for each finding."""

    states: list[State]


def scan(asker: Asker, disclosure: Disclosure, request: ScanRequest) -> ScanAnswer:
    """Look for faults, or for what has become of known ones; raises what `Asker.ask` raises."""
    if request.known:
        return ScanAnswer(gaps=tuple(_still_there(asker, disclosure, request.known)))
    gaps: dict[str, Gap] = {}
    for parts in whole_files(disclosure, request.files, asker.session.context_tokens):
        for gap in _found(asker, disclosure, parts, request.focus, request.most):
            gaps.setdefault(gap.fingerprint, gap)
    return ScanAnswer(gaps=tuple(gaps.values()))


def _found(asker: Asker, disclosure: Disclosure, parts: Sequence[Part], focus: str, most: int) -> Iterator[Gap]:
    def fault(answer: Findings) -> str | None:
        problems = [
            f"- {one.path}, line {one.line}: {problem}" for one in answer.findings if (problem := _unfit(one, shown))
        ]
        return "\n".join(["some findings can't be found again:", *problems]) if problems else None

    shown = {part.path: part.text.split("\n") for part in parts}
    request = f"Review these files. Look for: {focus}" if focus else "Review these files."
    answer = asker.ask(
        FINDER.format(most=most),
        prompt_of(request, data_of(parts)),
        [ToolOutput(Findings, name="report_findings", description="Report every fault that is sure.")],
        fault,
    )
    yield from (_gap(one, disclosure, shown) for one in answer.findings[:most])


def _unfit(finding: Finding, shown: dict[str, list[str]]) -> str | None:
    if finding.path not in shown:
        return f"no file of that name was shown, only {', '.join(shown)}"
    return (
        None
        if _place(finding, shown[finding.path])
        else "`code` is no line of that file near that line: copy it exactly"
    )


def _place(finding: Finding, lines: Sequence[str]) -> int | None:
    """The line on which the quoted code stands, the nearest to the one that is told."""
    wanted = " ".join(finding.code.strip().partition("\n")[0].split())
    places = [number for number, line in enumerate(lines, 1) if wanted and " ".join(line.split()) == wanted]
    near = [number for number in places if abs(number - finding.line) <= _NEAR_ENOUGH or len(places) == 1]
    return min(near, key=lambda number: abs(number - finding.line), default=None)


def _gap(finding: Finding, disclosure: Disclosure, shown: dict[str, list[str]]) -> Gap:
    line = _place(finding, shown[finding.path]) or finding.line
    rule = f"ai-{finding.kind}"
    file = disclosure.shown(finding.path)
    names = identities(rule, finding.path, file.lines if file else shown[finding.path])
    return Gap(
        source=SOURCE,
        rule_id=rule,
        fingerprint=names[line - 1],
        title=_one_line(finding.title)[:_LONGEST_TITLE],
        description=finding.explanation,
        category=finding.kind.value,
        severity=finding.severity,
        file_paths=(finding.path,),
        start_line=line,
        end_line=line,
    )


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()) or "a fault"


def _still_there(asker: Asker, disclosure: Disclosure, gaps: Sequence[Gap]) -> Iterator[Gap]:
    """Those of the gaps of which the model says so; it is shown their files around where they were."""

    def fault(answer: States) -> str | None:
        missing = sorted(set(range(1, len(gaps) + 1)) - {state.number for state in answer.states})
        return f"there is no state of finding {', '.join(map(str, missing))}" if missing else None

    files = sorted({path for gap in gaps for path in gap.file_paths})
    code = asker.session.context_tokens // 2
    told, left = fitted([findings(gaps)], asker.session.context_tokens - code)
    parts = chosen_parts(disclosure, gaps, files, code + left)
    answer = asker.ask(
        CHECKER,
        prompt_of("Which of these findings are still there?", [*told, *data_of(parts)]),
        [ToolOutput(States, name="report_states", description="Say of each finding whether it is still there.")],
        fault,
    )
    there = {state.number for state in answer.states if state.still_there}
    yield from (gap for number, gap in enumerate(gaps, 1) if number in there)
