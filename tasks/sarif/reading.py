"""What a SARIF log says, result by result: looked up, resolved and typed; nothing of the log is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect_acms.tasks.sarif.checking import Log
from prefect_acms.tasks.sarif.columns import UTF16
from prefect_acms.tasks.sarif.messages import plain, text_of
from prefect_acms.tasks.sarif.places import Places, Tree
from prefect_acms.tasks.sarif.rules import Rules

_Object = Mapping[str, Any]

FAIL = "fail"
"""The kind of a result that says that something is wrong; the others say that it is not, or that nobody knows."""

ABSENT = "absent"
"""The state of a result that was there in the run before, and is gone."""

_OPEN = frozenset({"rejected", "underReview"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is: its path in the tree if it has one, the region as it was written, and what is said of it."""

    path: str | None
    uri: str
    region: _Object = field(default_factory=dict)
    message: str = ""
    logical: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a SARIF log; `at` is its JSON pointer in it."""

    at: str
    tool: str
    tool_version: str
    rule_id: str
    rule: _Object
    level: str
    kind: str
    message: str
    places: tuple[Place, ...]
    security_severity: float | None
    fingerprints: Mapping[str, str]
    partial_fingerprints: Mapping[str, str]
    flows: tuple[tuple[Place, ...], ...]
    column_kind: str
    suppressed: bool
    baseline_state: str | None
    result: _Object

    @property
    def is_open(self) -> bool:
        """Whether it says that something is wrong now, and nobody has accepted that."""
        return self.kind == FAIL and not self.suppressed and self.baseline_state != ABSENT


def findings_of(log: Log, root: Path) -> tuple[Finding, ...]:
    """Every result of every run of the log, in its order, as it looks from the top of this tree."""
    tree = Tree(root)
    return tuple(found for number, run in enumerate(log["runs"] or ()) for found in _Run(number, run, tree).findings())


class _Run:
    """One run of a log."""

    def __init__(self, number: int, run: _Object, tree: Tree) -> None:
        self._number = number
        self._run = run
        self._rules = Rules(run)
        self.places = Places(run, tree)

    def findings(self) -> Iterator[Finding]:
        driver = self._run["tool"]["driver"]
        for position, result in enumerate(self._run.get("results") or ()):
            rule = self._rules.of(result)
            name = self._rules.name_of(result, rule)
            kind = result.get("kind", FAIL)
            yield Finding(
                at=f"/runs/{self._number}/results/{position}",
                tool=driver["name"],
                tool_version=str(driver.get("semanticVersion") or driver.get("version") or ""),
                rule_id=name,
                rule=rule,
                level=self._rules.level_of(result, rule) if kind == FAIL else "none",
                kind=kind,
                message=self._said(result.get("message"), rule) or name,
                places=tuple(self._place(location, rule) for location in result.get("locations") or ()),
                security_severity=_score(result) or _score(rule),
                fingerprints=result.get("fingerprints") or {},
                partial_fingerprints=result.get("partialFingerprints") or {},
                flows=tuple(self._flows(result, rule)),
                column_kind=self._run.get("columnKind", UTF16),
                suppressed=_is_suppressed(result),
                baseline_state=result.get("baselineState"),
                result=result,
            )

    def _said(self, message: _Object | None, rule: _Object) -> str:
        strings = self._run["tool"]["driver"].get("globalMessageStrings")
        return plain(text_of(message, rule.get("messageStrings"), strings))

    def _place(self, location: _Object, rule: _Object) -> Place:
        physical = location.get("physicalLocation") or {}
        artifact = physical.get("artifactLocation")
        logical = next((self._logical(one) for one in location.get("logicalLocations") or ()), "")
        return Place(
            path=self.places.path_of(artifact),
            uri=self.places.uri_of(artifact),
            region=physical.get("region") or {},
            message=self._said(location.get("message"), rule),
            logical=logical,
        )

    def _logical(self, location: _Object) -> str:
        known = self._run.get("logicalLocations") or ()
        index = location.get("index", -1)
        merged = {**(known[index] if 0 <= index < len(known) else {}), **location}
        return str(merged.get("fullyQualifiedName") or merged.get("decoratedName") or merged.get("name") or "")

    def _flows(self, result: _Object, rule: _Object) -> Iterator[tuple[Place, ...]]:
        cached = self._run.get("threadFlowLocations") or ()
        for flow in result.get("codeFlows") or ():
            for thread in flow["threadFlows"]:
                steps = []
                for step in thread["locations"]:
                    index = step.get("index", -1)
                    merged = {**(cached[index] if 0 <= index < len(cached) else {}), **step}
                    steps.append(self._place(merged.get("location") or {}, rule))
                yield tuple(steps)


def _score(bearer: _Object) -> float | None:
    """GitHub's `security-severity`, 0.0 to 10.0, where a result or its rule has one."""
    said = (bearer.get("properties") or {}).get("security-severity")
    try:
        score = float(said) if said is not None else None
    except (TypeError, ValueError):
        return None
    return score if score is not None and 0 <= score <= 10 else None  # noqa: PLR2004  the scale of CVSS


def _is_suppressed(result: _Object) -> bool:
    """Whether somebody has accepted it; a suppression that is rejected or under review leaves it open."""
    suppressions = result.get("suppressions") or ()
    return bool(suppressions) and not any(one.get("status") in _OPEN for one in suppressions)
