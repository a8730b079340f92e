"""From findings of a SARIF log to gaps: severity, category, identity, the code they are about, the fix they name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.tasks.anchors import CODE, anchor
from prefect_acms.tasks.code_context import CodeContext
from prefect_acms.tasks.fingerprints import Fingerprinter, fingerprint
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.sarif.columns import characters, lines_of, rows_of
from prefect_acms.tasks.sarif.edits import BOM, Edit, edits_of, replacements_of
from prefect_acms.tasks.sarif.fixing import EDITS
from prefect_acms.tasks.sarif.messages import text_of
from prefect_acms.tasks.sarif.places import Places, Tree
from prefect_acms.tasks.sarif.reading import Finding
from prefect_acms.tasks.sources.ruff_rules import family_of

SARIF = "sarif"
"""The source of a gap whose tool is none that this run asks itself."""

ORIGIN = "sarif"
"""Detail of a gap: what its result says that a gap has no field for."""

BY_LEVEL = {
    "error": GapSeverity.HIGH,
    "warning": GapSeverity.MEDIUM,
    "note": GapSeverity.LOW,
    "none": GapSeverity.INFO,
}

BY_SCORE = ((9.0, GapSeverity.CRITICAL), (7.0, GapSeverity.HIGH), (4.0, GapSeverity.MEDIUM), (0.1, GapSeverity.LOW))
"""The least `security-severity` of each severity, as GitHub tells them."""

LONGEST_TITLE, LONGEST_HELP = 300, 2000
MOST_STEPS = 20

_WORD = re.compile(r"[^a-z0-9]+")
_WEAKNESS = re.compile(r"(^|[/:])cwe\b")
_SCANNERS = frozenset({"bandit", "checkov", "gitleaks", "trivy", "trufflehog"})
"""Tools that look for nothing but weaknesses and secrets, and do not always say so."""

RUFF = "ruff"
_CATEGORIES = ("security", "correctness", "reliability", "performance", "maintainability", "style", "formatting")


class Translator:
    """Makes gaps of the findings of one log; `asked` are the sources that the run asks itself.

    A finding of a tool among those becomes a gap of that source, so that it is found again, fixed and proved as if the
    source had told it; every other one is a gap of the source `sarif`.
    """

    def __init__(self, root: Path, asked: Collection[str]) -> None:
        self._root, self._tree = root, Tree(root)
        self._asked = {name.lower(): name for name in asked}
        self._text = cache(self._read)
        self._context = CodeContext(root)
        self._numbered = Fingerprinter()

    def gaps(self, findings: Iterable[Finding], places: Mapping[str, Places]) -> Iterator[tuple[Finding, Gap]]:
        """The gap of each finding that says that something is wrong now; `places` resolve the URIs of each run."""
        found = [finding for finding in findings if finding.is_open]
        shared = Counter(_own_identity(finding) for finding in found)
        for finding in sorted(found, key=_place):
            identity = _own_identity(finding)
            yield finding, self._gap(finding, identity if shared[identity] == 1 else "", places[_run_of(finding.at)])

    def _gap(self, finding: Finding, identity: str, places: Places) -> Gap:
        paths = tuple(dict.fromkeys(place.path for place in finding.places if place.path))
        source = self._asked.get(finding.tool.lower(), SARIF)
        lines = self._lines(finding)
        path = paths[0] if paths else ""
        code = self._code(finding, path) if lines and self._text(path) is not None else []
        rule = _printable(finding.rule_id)
        if source != SARIF or not identity:
            name = self._numbered.next(rule, path, code or [finding.message])
        else:
            name = fingerprint(f"{finding.tool} {rule}", "", [identity])
        edits = self._edits(finding, places)
        return Gap(
            source=source,
            rule_id=rule,
            fingerprint=name,
            title=_cut(finding.message, LONGEST_TITLE),
            description=_description(finding),
            category=_category(finding, source),
            severity=severity_of(finding),
            file_paths=paths,
            start_line=lines[0] if lines else None,
            end_line=lines[1] if lines else None,
            fixable=bool(edits),
            details=_details(finding, self._anchor(path, lines), edits),
        )

    def _code(self, finding: Finding, path: str) -> list[str]:
        """The code at the first place of a finding, as every other source takes it for its fingerprints."""
        region = next(place.region for place in finding.places if place.path)
        if not {"startLine", "startColumn", "endColumn"} <= region.keys():
            first, _ = self._lines(finding) or (1, 1)
            return self._context.of(path, first)
        rows, kind = rows_of(self._text(path) or ""), finding.column_kind
        ends = (
            (region["startLine"], region["startColumn"]),
            (region.get("endLine", region["startLine"]), region["endColumn"]),
        )
        (row, start), (last, end) = (
            (line, characters(rows[line - 1] if line <= len(rows) else "", column - 1, kind)) for line, column in ends
        )
        return self._context.of(path, row, start, (last, max(0, end - 1)))

    def _read(self, path: str) -> str | None:
        """A file of the tree; what a link leads to outside of it is nobody's to tell."""
        if not path or not self._tree.holds(path):
            return None
        try:
            return (self._root / path).read_bytes().decode("utf-8").removeprefix(BOM)
        except (OSError, UnicodeDecodeError):
            return None

    def _lines(self, finding: Finding) -> tuple[int, int] | None:
        place = next((place for place in finding.places if place.path), None)
        return lines_of(place.region, self._text(place.path or "")) if place else None

    def _anchor(self, path: str, lines: tuple[int, int] | None) -> list[str]:
        text = self._text(path)
        return anchor(rows_of(text), *lines) if text is not None and lines else []

    def _edits(self, finding: Finding, places: Places) -> list[Edit]:
        """The edits of the first fix that can be made in the tree as it is; alternatives are alternatives."""
        for fix in finding.result.get("fixes") or ():
            edits: list[Edit] | None = []
            for change in fix["artifactChanges"]:
                path = places.path_of(change["artifactLocation"]) or ""
                text = self._text(path)
                made = None if text is None else replacements_of(change, text, finding.column_kind)
                more = None if text is None or made is None else edits_of(path, text, made)
                edits = None if more is None or edits is None else [*edits, *more]
            if edits:
                return edits
        return []


def severity_of(finding: Finding) -> GapSeverity:
    """How bad it is: by its security severity if it has one, else by its level."""
    score = finding.security_severity
    if score is not None:
        return next((severity for least, severity in BY_SCORE if score >= least), GapSeverity.INFO)
    return BY_LEVEL.get(finding.level, GapSeverity.MEDIUM)


def _own_identity(finding: Finding) -> str:
    """The fingerprints that the tool has given it, in one text; "" where it has given none."""
    if finding.fingerprints:
        return repr(sorted(finding.fingerprints.items()))
    if not finding.partial_fingerprints:
        return ""
    path = finding.places[0].path if finding.places else ""
    return repr((finding.rule_id, path, sorted(finding.partial_fingerprints.items())))


def _place(finding: Finding) -> tuple[Any, ...]:
    place = finding.places[0] if finding.places else None
    region = place.region if place else {}
    where = (place.path or place.uri, region.get("startLine", 0), region.get("startColumn", 0)) if place else ("", 0, 0)
    return *where, finding.rule_id, finding.message


def _run_of(pointer: str) -> str:
    return pointer.rpartition("/results/")[0]


def _category(finding: Finding, source: str) -> str:
    """As the source itself names it, where the run asks it too; else what the log says."""
    if source == RUFF:
        return family_of(finding.rule_id)[0]
    properties = {**(finding.rule.get("properties") or {}), **(finding.result.get("properties") or {})}
    tags = [str(tag).lower() for tag in properties.get("tags") or ()]
    if finding.security_severity is not None or finding.tool.lower() in _SCANNERS or _names_weakness(finding, tags):
        return "security"
    named = next((name for name in _CATEGORIES if name in tags), None)
    said = properties.get("category")
    return named or (_WORD.sub("-", said.lower()).strip("-") if isinstance(said, str) else "") or "uncategorized"


def _names_weakness(finding: Finding, tags: Iterable[str]) -> bool:
    """Whether the log says which weakness of the CWE it is: by a tag, as CodeQL's, or by a taxon of the standard."""
    targets = [relation["target"] for relation in finding.rule.get("relationships") or ()]
    taxa = [*targets, *(finding.result.get("taxa") or ())]
    named = [*tags, *(str((taxon.get("toolComponent") or {}).get("name", "")).lower() for taxon in taxa)]
    return any(_WEAKNESS.search(name) for name in named)


def _description(finding: Finding) -> str:
    """What is known beyond the title, for people and models: the rule, its help, the way of the data, the fix."""
    rule = finding.rule
    texts = [text_of(rule.get(name)) for name in ("shortDescription", "fullDescription", "help")]
    parts = [_cut(text, LONGEST_HELP) for text in dict.fromkeys(texts) if text and text != finding.message]
    for number, flow in enumerate(finding.flows, start=1):
        steps = [f"{place.path or place.uri}:{place.region.get('startLine', '?')}: {place.message}" for place in flow]
        parts.append("\n".join([f"Flow {number}:", *(f"  {step}".rstrip(": ") for step in steps[:MOST_STEPS])]))
    parts += [
        f"Proposed fix: {said}"
        for fix in finding.result.get("fixes") or ()
        if (said := text_of(fix.get("description")))
    ]
    parts += [f"In {place.logical}" for place in finding.places[:1] if place.logical]
    return "\n\n".join([*parts, *([str(rule["helpUri"])] if rule.get("helpUri") else [])])


def _details(finding: Finding, code: list[str], edits: list[Edit]) -> dict[str, JsonValue]:
    place = finding.places[0] if finding.places else None
    told: dict[str, Any] = {
        "tool": finding.tool,
        "tool_version": finding.tool_version,
        "level": finding.level,
        "at": finding.at,
        "region": dict(place.region) if place else {},
        "column_kind": finding.column_kind,
        "security_severity": finding.security_severity,
        "baseline_state": finding.baseline_state,
        "fingerprints": dict(finding.fingerprints),
        "partial_fingerprints": dict(finding.partial_fingerprints),
        "tags": list((finding.rule.get("properties") or {}).get("tags") or ()),
    }
    details: dict[str, JsonValue] = {
        ORIGIN: {name: value for name, value in told.items() if value not in (None, "", {}, [])}
    }
    if code:
        details[CODE] = list[JsonValue](code)
    if edits:
        details[EDITS] = [edit._asdict() for edit in edits]
    return details


def _printable(rule: str) -> str:
    return "-".join(rule.split()) or "unnamed"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
